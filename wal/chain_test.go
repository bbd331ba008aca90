package wal

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/blob/blobtest"
	"github.com/mcpraft/mcpraft/internal/fault"
)

func TestNamesRoundTrip(t *testing.T) {
	ref := Ref{
		Cluster: testCluster, Timeline: testTimeline, Sequence: 12, First: 88120, Last: 88999,
		FirstTime: record.LogTimeAt(testTime.Time()), Tag: Tag{1}, Previous: Tag{2},
	}
	const want = "v1/c1000000000000000000000000000000/wal/1-5f3a90c1/0000000012_00000000000000088120-00000000000000088999_20260512T140210.123Z_0200000000000000_0100000000000000.seg"
	if got := ref.Name(); got != want {
		t.Errorf("name is %s, want %s", got, want)
	}
	if got, ok := ParseName(want); !ok || got != ref {
		t.Errorf("parsed as %+v, %v", got, ok)
	}
	ref.Last = ref.First // one index, named twice
	if got, ok := ParseName(ref.Name()); !ok || got != ref {
		t.Errorf("%s is parsed as %+v, %v", ref.Name(), got, ok)
	}
	for _, bad := range []string{
		"", "v1", strings.Replace(want, "v1", "v2", 1), want + "x", want[1:], strings.Replace(want, "_0200", "_x200", 1), strings.Replace(want, "0000000012_", "12_", 1),
		strings.Replace(want, "88999", "88000", 1), strings.Replace(want, "0000000012", "0000000000", 1), strings.Replace(want, "/wal/", "/log/", 1), strings.Replace(want, "T14", "T25", 1),
	} {
		if ref, ok := ParseName(bad); ok {
			t.Errorf("%s is parsed as %+v", bad, ref)
		}
	}
}

func FuzzParseName(f *testing.F) {
	f.Add(Ref{Cluster: testCluster, Timeline: testTimeline, Sequence: 1, First: 1, Last: 2, FirstTime: 1 << 40}.Name())
	f.Fuzz(func(t *testing.T, name string) {
		if ref, ok := ParseName(name); ok && ref.Name() != name {
			t.Errorf("%q is the name %q", name, ref.Name())
		}
	})
}

// ref is segment number seq, called tag, behind previous; 10 indexes each unless
// the script says otherwise.
func ref(seq uint64, tag, previous byte) Ref {
	r := Ref{Cluster: testCluster, Timeline: testTimeline, Sequence: seq, First: seq*10 - 9, Last: seq * 10, FirstTime: record.LogTime(seq*10) << 16, Tag: Tag{tag}}
	if previous > 0 {
		r.Previous = Tag{previous}
	}
	return r
}

// show writes a chain as "1 2 | 3: 1 gap; orphans 2'", by tags.
func show(c Chain) string {
	var parts []string
	for _, run := range c.Runs {
		var tags []string
		for _, r := range run {
			tags = append(tags, string(r.Tag[0]))
		}
		parts = append(parts, strings.Join(tags, ""))
	}
	var text strings.Builder
	text.WriteString(strings.Join(parts, " "))
	for _, g := range c.Gaps {
		fmt.Fprintf(&text, "; gap %d-%d", g.First, g.Last)
		if g.Recorded {
			text.WriteString(" recorded")
		}
	}
	for _, o := range c.Orphans {
		text.WriteString("; orphan " + string(o.Tag[0]))
	}
	return text.String()
}

func TestChainsAreLinkedByHash(t *testing.T) {
	a, b, c, d, e := ref(1, 'a', 0), ref(2, 'b', 'a'), ref(3, 'c', 'b'), ref(4, 'd', 'c'), ref(5, 'e', 'd')
	shifted := func(r Ref, by uint64) Ref {
		r.First += by
		r.Last += by
		return r
	}
	shorter := func(r Ref) Ref {
		r.Last -= 5
		return r
	}
	for name, test := range map[string]struct {
		refs []Ref
		want string
	}{
		"nothing":                           {nil, ""},
		"whole":                             {[]Ref{a, b, c}, "abc"},
		"in any order":                      {[]Ref{c, a, b}, "abc"},
		"listed twice":                      {[]Ref{a, a, b, b}, "ab"},
		"pruned":                            {[]Ref{c, d}, "cd; gap 1-20"},
		"one is missing":                    {[]Ref{a, b, d, e}, "ab de; gap 21-30"},
		"an orphan in the middle":           {[]Ref{a, b, ref(2, 'x', 'a'), c}, "abc; orphan x"},
		"an orphan at the tip, equal":       {[]Ref{a, ref(2, 'x', 'a'), b}, "ab; orphan x"},
		"an orphan at the tip, shorter":     {[]Ref{a, shorter(ref(2, '0', 'a')), b}, "ab; orphan 0"},
		"two first ones":                    {[]Ref{a, b, ref(1, 'x', 0)}, "ab; orphan x"},
		"an orphan of a missing one":        {[]Ref{a, b, ref(4, 'x', 'z'), d, c}, "abcd; orphan x"},
		"the orphan is what is left":        {[]Ref{a, ref(2, 'x', 'a'), c}, "ax c; gap 21-20"},
		"a recorded gap":                    {[]Ref{a, b, shifted(c, 100), shifted(d, 100)}, "ab cd; gap 21-120 recorded"},
		"a follower that goes back":         {[]Ref{a, b, {Cluster: testCluster, Timeline: testTimeline, Sequence: 3, First: 15, Last: 30, Tag: Tag{'c'}, Previous: Tag{'b'}}}, "ab; orphan c"},
		"a follower with another sequence":  {[]Ref{a, b, ref(4, 'x', 'b')}, "ab x; gap 21-30"},
		"the longer history wins":           {[]Ref{a, b, ref(2, 'x', 'a'), ref(3, 'y', 'x'), ref(4, 'z', 'y'), c}, "axyz; orphan b; orphan c"},
		"a segment of the past, far behind": {[]Ref{c, d, e, ref(4, 'x', 'w')}, "cde; gap 1-20; orphan x"},
	} {
		chains := Chains(test.refs)
		got := ""
		if len(chains) > 0 {
			got = show(chains[0])
		}
		if got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

func TestTimelinesAreApart(t *testing.T) {
	later := ref(1, 'x', 0)
	later.Timeline.Number = 2
	chains := Chains([]Ref{later, ref(1, 'a', 0)})
	if len(chains) != 2 || chains[0].Timeline != testTimeline || chains[1].Timeline.Number != 2 || len(chains[0].Gaps)+len(chains[1].Gaps) != 0 {
		t.Errorf("chains are %+v", chains)
	}
}

func TestListReadsNames(t *testing.T) {
	m := blobtest.NewMemory()
	want := []Ref{ref(1, 'a', 0), ref(2, 'b', 'a')}
	for i := range want {
		want[i].Size = int64(i)
		m.Set(want[i].Name(), make([]byte, i))
	}
	m.Set(Folder(testCluster)+"notes.txt", []byte("x"))
	m.Set(Folder(record.ID{9})+"other", []byte("x"))
	if got, err := List(t.Context(), m, testCluster); err != nil || !slices.Equal(got, want) {
		t.Errorf("List = %v, %v", got, err)
	}
	m.Inject(blobtest.Fault{Op: blobtest.List, After: 1, Err: blobtest.ErrBusy})
	if _, err := List(t.Context(), m, testCluster); fault.Of(err) != fault.Overloaded {
		t.Errorf("List = %v", err)
	}
}

// history is a random archive of one timeline: a chain with recorded gaps, orphans
// and missing segments.
func history(r *rapid.T) []Ref {
	var refs []Ref
	tag, previous, last := byte(0), Tag{}, uint64(0)
	for seq := uint64(1); seq <= rapid.Uint64Range(1, 20).Draw(r, "segments"); seq++ {
		if rapid.IntRange(0, 9).Draw(r, "recorded gap") == 0 {
			last += 5
		}
		s := Ref{Cluster: testCluster, Timeline: testTimeline, Sequence: seq, First: last + 1, Last: last + rapid.Uint64Range(1, 9).Draw(r, "indexes"), Previous: previous}
		s.FirstTime = timeOf(s.First)
		for range rapid.IntRange(1, 2).Draw(r, "uploads") {
			tag++
			s.Tag = Tag{tag, 1}
			refs = append(refs, s)
		}
		previous, last = s.Tag, s.Last
	}
	return slices.DeleteFunc(refs, func(Ref) bool { return rapid.IntRange(0, 9).Draw(r, "missing") == 0 })
}

// timeOf is the log time of an index: some indexes share a millisecond.
func timeOf(index uint64) record.LogTime {
	return record.LogTime(index/3)<<16 | record.LogTime(index%3)
}

func TestEveryChainIsOne(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		refs := history(r)
		if len(refs) == 0 {
			return
		}
		c := Chains(refs)[0]
		seen := map[Ref]bool{}
		var before *Ref
		for _, run := range c.Runs {
			for i, s := range run {
				if i > 0 && (s.Previous != run[i-1].Tag || s.First != run[i-1].Last+1) {
					r.Fatalf("%v does not follow %v", s, run[i-1])
				}
				if before != nil && (s.Sequence <= before.Sequence || s.First <= before.Last) {
					r.Fatalf("%v is not behind %v", s, before)
				}
				seen[s], before = true, &run[i]
			}
		}
		for _, s := range c.Orphans {
			if seen[s] {
				r.Fatalf("%v is an orphan and in a run", s)
			}
			seen[s] = true
		}
		if len(seen) != len(refs) {
			r.Fatalf("%d of %d segments are accounted for", len(seen), len(refs))
		}
		// Every sequence that is there at all is covered: forks are of equal content.
		covered := map[uint64]bool{}
		for _, run := range c.Runs {
			for _, s := range run {
				covered[s.Sequence] = true
			}
		}
		for _, s := range refs {
			if !covered[s.Sequence] {
				r.Fatalf("segment %d is there and in no run: %s", s.Sequence, show(c))
			}
		}
	})
}

// restorable is every index that can be restored from these bases and segments.
func restorable(c Chain, bases []Base) map[uint64]bool {
	points := map[uint64]bool{}
	for _, run := range c.Runs {
		for _, b := range bases {
			if !run.Follows(b.Index) {
				continue
			}
			for index := max(b.Index, 1); index <= run.Last(); index++ {
				points[index] = true
			}
		}
	}
	return points
}

// What could be restored since the promised time still can be, and nothing that
// expires is needed for it.
func TestRetainKeepsThePromise(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		refs := history(r)
		if len(refs) == 0 {
			return
		}
		c := Chains(refs)[0]
		var bases []Base
		for range rapid.IntRange(0, 6).Draw(r, "bases") {
			index := rapid.Uint64Range(0, 120).Draw(r, "base")
			bases = append(bases, Base{index, timeOf(index)})
		}
		since := timeOf(rapid.Uint64Range(0, 120).Draw(r, "since"))
		before := restorable(c, bases)
		needed, expired := c.Retain(bases, since)
		kept := slices.DeleteFunc(slices.Clone(refs), func(s Ref) bool { return slices.Contains(expired, s) })
		after := map[uint64]bool{}
		if len(kept) > 0 {
			after = restorable(Chains(kept)[0], needed)
		}
		for index := range maps.Keys(before) {
			if timeOf(index) >= since && !after[index] && !isBase(needed, index) {
				r.Fatalf("index %d could be restored and cannot be any more: %s, bases %v, since %v: needed %v, expired %v", index, show(c), bases, since, needed, expired)
			}
		}
		// It does not keep for ever: what lies in front of every needed base goes.
		for _, run := range c.Runs {
			for _, b := range needed {
				for _, s := range run {
					if run.Follows(b.Index) && s.Last <= b.Index && b.LogTime <= since && !slices.Contains(expired, s) {
						r.Fatalf("%v is kept in front of the base at %d", s, b.Index)
					}
				}
			}
		}
	})
}

// isBase reports whether a base is at index, which is then restored without
// segments.
func isBase(bases []Base, index uint64) bool {
	return slices.ContainsFunc(bases, func(b Base) bool { return b.Index == index })
}

func TestRetainNamesBasesAndSegments(t *testing.T) {
	a, b, c, d, e := ref(1, 'a', 0), ref(2, 'b', 'a'), ref(3, 'c', 'b'), ref(4, 'd', 'c'), ref(5, 'e', 'd')
	base := func(index uint64) Base { return Base{index, record.LogTime(index) << 16} }
	for name, test := range map[string]struct {
		refs    []Ref
		bases   []Base
		since   uint64
		needed  []Base
		expired []Ref
	}{
		"the newest base before the window": {[]Ref{a, b, c, d}, []Base{base(5), base(15), base(25)}, 20, []Base{base(15)}, []Ref{a}},
		"a base at the edge":                {[]Ref{a, b, c, d}, []Base{base(20), base(25)}, 20, []Base{base(20)}, []Ref{a, b}},
		"only newer bases":                  {[]Ref{a, b, c, d}, []Base{base(35), base(25)}, 20, []Base{base(25)}, []Ref{a, b}},
		"none":                              {[]Ref{a, b}, nil, 20, nil, nil},
		"each side of a gap":                {[]Ref{a, b, d, e}, []Base{base(5), base(30), base(45)}, 12, []Base{base(5), base(30)}, nil},
		"a run of the past without a base":  {[]Ref{a, b, d, e}, []Base{base(45)}, 46, []Base{base(45)}, []Ref{a, b, d}},
		"an orphan behind the tip":          {[]Ref{a, ref(1, 'x', 0), b, ref(2, 'y', 'a')}, []Base{base(0)}, 0, []Base{base(0)}, []Ref{ref(1, 'x', 0)}},
	} {
		needed, expired := Chains(test.refs)[0].Retain(test.bases, record.LogTime(test.since)<<16)
		if !slices.Equal(needed, test.needed) || !slices.Equal(expired, test.expired) {
			t.Errorf("%s: needed %v, expired %v, want %v, %v", name, needed, expired, test.needed, test.expired)
		}
	}
}

// A stretch is what can be restored, no more and no less.
func TestStretchesAreWhatCanBeRestored(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		refs := history(r)
		if len(refs) == 0 {
			return
		}
		c := Chains(refs)[0]
		var bases []Base
		want := map[uint64]bool{}
		for range rapid.IntRange(0, 6).Draw(r, "bases") {
			index := rapid.Uint64Range(0, 120).Draw(r, "base")
			bases = append(bases, Base{index, timeOf(index)})
			want[index] = true
		}
		maps.Copy(want, restorable(c, bases))
		got, last := map[uint64]bool{}, Stretch{}
		for _, s := range c.Stretches(bases) {
			if s.First > s.Last || s.From > s.Until || last.Timeline == s.Timeline && last.Last >= s.First {
				r.Fatalf("%+v behind %+v", s, last)
			}
			for index := s.First; index <= s.Last; index++ {
				got[index] = true
			}
			last = s
		}
		for index := range uint64(300) {
			if got[index] != want[index] {
				r.Fatalf("index %d: %v, want %v, of %s with %v", index, got[index], want[index], show(c), bases)
			}
		}
	})
}

// A segment may cover a single index; its name says the same number twice.
func TestTheNameOfASegmentOfOneIndexIsRead(t *testing.T) {
	r := Ref{Cluster: record.ID{1}, Timeline: record.Timeline{Number: 1, Salt: 2}, Sequence: 405, First: 405, Last: 405, Tag: Tag{1}, Previous: Tag{2}}
	if got, ok := ParseName(r.Name()); !ok || got != r {
		t.Errorf("%s is read as %+v, %v", r.Name(), got, ok)
	}
}
