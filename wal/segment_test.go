package wal

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/blob"
	"github.com/mcpraft/mcpraft/internal/blob/blobtest"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/seal"
)

var rewrite = flag.Bool("rewrite", false, "rewrite golden files")

var (
	testCluster  = record.ID{0xc1}
	testTimeline = record.Timeline{Number: 1, Salt: 0x5f3a90c1}
	testTime     = record.LogTimeAt(time.Date(2026, 5, 12, 14, 2, 10, 123e6, time.UTC)) + 7
)

func testHeader() Header {
	return Header{Cluster: testCluster, Timeline: testTimeline, Sequence: 2, First: 10, FirstTime: testTime, Previous: [32]byte{1, 2, 3}}
}

// testEntries has holes, a change of term and both kinds.
func testEntries() []Entry {
	return []Entry{
		{Index: 10, Term: 3, Kind: Commands, LogTime: testTime, Data: []byte("first")},
		{Index: 12, Term: 3, Kind: Commands, LogTime: testTime + 1, Data: []byte("")},
		{Index: 13, Term: 5, Kind: Configuration, Data: []byte("members")},
		{Index: 20, Term: 5, Kind: Commands, LogTime: testTime + 1<<16, Data: bytes.Repeat([]byte("last"), 100)},
	}
}

func write(t testing.TB, p seal.Policy, h Header, entries []Entry, last uint64) ([]byte, Segment) {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, p, h)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := w.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	s, err := w.Finish(last)
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), s
}

func read(object []byte, ring seal.Ring) ([]Entry, *Reader, error) {
	r, err := NewReader(bytes.NewReader(object), ring)
	if err != nil {
		return nil, nil, err
	}
	var entries []Entry
	for e, err := range r.Entries() {
		if err != nil {
			return entries, r, err
		}
		entries = append(entries, e)
	}
	return entries, r, nil
}

// same compares entries; no data and empty data are the same.
func same(a, b []Entry) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		x, y := a[i], b[i]
		if !bytes.Equal(x.Data, y.Data) {
			return false
		}
		x.Data, y.Data = nil, nil
		if !reflect.DeepEqual(x, y) {
			return false
		}
	}
	return true
}

// policies are sealed in all ways that matter here.
func policies(t testing.TB) map[string]seal.Policy {
	t.Helper()
	key, err := seal.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return map[string]seal.Policy{
		"plain":  {},
		"sealed": {Compression: seal.Zstd, Cipher: seal.AESGCM, Ring: seal.NewRing(key)},
	}
}

func TestSegmentRoundTrips(t *testing.T) {
	for name, p := range policies(t) {
		object, s := write(t, p, testHeader(), testEntries(), 25)
		entries, r, err := read(object, p.Ring)
		if err != nil || !same(entries, testEntries()) {
			t.Fatalf("%s: %v, %v", name, entries, err)
		}
		if r.Header() != testHeader() || r.Footer() != s.Footer || r.Hash() != s.Hash || s.Size != int64(len(object)) {
			t.Errorf("%s: %+v %+v, want %+v", name, r.Header(), r.Footer(), s)
		}
		if f := r.Footer(); f.Last != 25 || f.LastTime != testTime+1<<16 || f.Count != 4 {
			t.Errorf("%s: footer is %+v", name, f)
		}
		h, err := ReadHeader(bytes.NewReader(object[:HeaderBytes]))
		if err != nil || h != testHeader() {
			t.Errorf("%s: header is %+v, %v", name, h, err)
		}
	}
}

func TestRandomSegmentsRoundTrip(t *testing.T) {
	all := policies(t)
	rapid.Check(t, func(r *rapid.T) {
		h := testHeader()
		h.First = rapid.Uint64Range(1, 1<<62).Draw(r, "first")
		index, term, last := h.First-1, uint64(0), h.First
		var entries []Entry
		for range rapid.IntRange(0, 50).Draw(r, "entries") {
			index += rapid.Uint64Range(1, 1000).Draw(r, "index")
			term += rapid.Uint64Range(0, 3).Draw(r, "term")
			last = index
			entries = append(entries, Entry{
				Index: index, Term: term, Kind: rapid.SampledFrom([]Kind{Commands, Configuration}).Draw(r, "kind"),
				LogTime: record.LogTime(rapid.Uint64().Draw(r, "time")), Data: rapid.SliceOfN(rapid.Byte(), 0, 500).Draw(r, "data"),
			})
		}
		last += rapid.Uint64Range(0, 10).Draw(r, "behind")
		p := all[rapid.SampledFrom([]string{"plain", "sealed"}).Draw(r, "policy")]
		object, s := write(t, p, h, entries, last)
		got, reader, err := read(object, p.Ring)
		if err != nil || !same(got, entries) || reader.Footer() != s.Footer {
			r.Fatalf("%d entries came back as %d, %v", len(entries), len(got), err)
		}
	})
}

// The same entries have the same digest, however they are sealed: two uploads of
// one part of the log can be told to be equal.
func TestDigestIsOfTheEntries(t *testing.T) {
	all := policies(t)
	_, a := write(t, all["plain"], testHeader(), testEntries(), 20)
	other := testHeader()
	other.Previous = [32]byte{9}
	_, b := write(t, all["sealed"], other, testEntries(), 22)
	if a.Footer.Digest != b.Footer.Digest || a.Hash == b.Hash {
		t.Errorf("digests %x and %x, hashes %x and %x", a.Footer.Digest, b.Footer.Digest, a.Hash, b.Hash)
	}
	changed := testEntries()
	changed[0].LogTime++
	if _, c := write(t, all["plain"], testHeader(), changed, 20); c.Footer.Digest == a.Footer.Digest {
		t.Error("another log time has the same digest")
	}
}

func TestWriterRefusesWhatIsOutOfOrder(t *testing.T) {
	for name, e := range map[string]Entry{
		"before the first": {Index: 9, Term: 3, Kind: Commands},
		"the same index":   {Index: 12, Term: 3, Kind: Commands},
		"an earlier term":  {Index: 13, Term: 2, Kind: Commands},
		"no kind":          {Index: 13, Term: 3},
		"unknown kind":     {Index: 13, Term: 3, Kind: 3},
		"too large":        {Index: 13, Term: 3, Kind: Commands, Data: make([]byte, MaxEntryBytes+1)},
	} {
		var b bytes.Buffer
		w, err := NewWriter(&b, seal.Policy{}, testHeader())
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Append(Entry{Index: 12, Term: 3, Kind: Commands}); err != nil {
			t.Fatal(err)
		}
		if err := w.Append(e); fault.Of(err) != fault.Invalid && fault.Of(err) != fault.TooLarge {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := w.Finish(11); fault.Of(err) != fault.Invalid {
			t.Errorf("%s: ends before its last entry: %v", name, err)
		}
		if _, err := w.Finish(12); err != nil {
			t.Errorf("%s: the segment did not survive: %v", name, err)
		}
		if entries, _, err := read(b.Bytes(), seal.Ring{}); err != nil || len(entries) != 1 {
			t.Errorf("%s: %d entries, %v", name, len(entries), err)
		}
	}
}

func TestHeadersAreChecked(t *testing.T) {
	for name, change := range map[string]func(*Header){
		"no cluster":               func(h *Header) { h.Cluster = record.ID{} },
		"no timeline":              func(h *Header) { h.Timeline = record.Timeline{} },
		"no sequence":              func(h *Header) { h.Sequence = 0 },
		"no index":                 func(h *Header) { h.First = 0 },
		"the first has a previous": func(h *Header) { h.Sequence = 1 },
		"a later one has none":     func(h *Header) { h.Previous = [32]byte{} },
	} {
		h := testHeader()
		change(&h)
		if _, err := NewWriter(io.Discard, seal.Policy{}, h); fault.Of(err) != fault.Invalid {
			t.Errorf("%s: NewWriter = %v", name, err)
		}
		if _, err := ReadHeader(bytes.NewReader(h.encode())); fault.Of(err) != fault.Integrity {
			t.Errorf("%s: ReadHeader = %v", name, err)
		}
	}
}

// refused fails the test unless the object is refused, and what was read before is
// a beginning of what was written.
func refused(t *testing.T, p seal.Policy, object []byte, format string, args ...any) {
	t.Helper()
	entries, _, err := read(object, p.Ring)
	switch fault.Of(err) {
	case fault.Integrity, fault.Unsupported, fault.Forbidden:
	default:
		t.Errorf("%s: error is %v", fmt.Sprintf(format, args...), err)
	}
	if !same(entries, testEntries()[:len(entries)]) {
		t.Errorf("%s: other entries were read", fmt.Sprintf(format, args...))
	}
}

func TestEveryFlippedBitAndEveryCutIsAnError(t *testing.T) {
	for name, p := range policies(t) {
		object, _ := write(t, p, testHeader(), testEntries(), 20)
		for bit := range 8 * len(object) {
			object[bit/8] ^= 1 << (bit % 8)
			refused(t, p, object, "%s: bit %d", name, bit)
			object[bit/8] ^= 1 << (bit % 8)
		}
		for n := range object {
			refused(t, p, object[:n], "%s: cut to %d of %d", name, n, len(object))
		}
		refused(t, p, append(bytes.Clone(object), 0), "%s: a byte follows", name)
		other := testHeader()
		other.Sequence = 3
		foreign, _ := write(t, p, other, testEntries(), 20)
		refused(t, p, append(bytes.Clone(object[:HeaderBytes]), foreign[HeaderBytes:]...), "%s: the header of another", name)
	}
}

// stored is a store with one segment in it.
func stored(t *testing.T, p seal.Policy) (*blobtest.Memory, Ref) {
	t.Helper()
	object, s := write(t, p, testHeader(), testEntries(), 20)
	m := blobtest.NewMemory()
	m.Set(s.Ref().Name(), object)
	return m, s.Ref()
}

func readStored(t *testing.T, s blob.Store, ring seal.Ring, ref Ref) (last uint64, err error) {
	t.Helper()
	o, err := Open(t.Context(), s, ring, ref)
	if err != nil {
		return 0, err
	}
	defer o.Close()
	for e, err := range o.Entries() {
		if err != nil {
			return last, err
		}
		last = e.Index
	}
	return last, nil
}

func TestOpenVerifiesTheName(t *testing.T) {
	p := policies(t)["sealed"]
	m, ref := stored(t, p)
	if last, err := readStored(t, m, p.Ring, ref); err != nil || last != 20 {
		t.Fatalf("last entry is %d, %v", last, err)
	}
	for name, change := range map[string]func(*Ref){
		"timeline": func(r *Ref) { r.Timeline.Salt++ },
		"cluster":  func(r *Ref) { r.Cluster[5]++ },
		"sequence": func(r *Ref) { r.Sequence++ },
		"first":    func(r *Ref) { r.First++ },
		"last":     func(r *Ref) { r.Last++ },
		"previous": func(r *Ref) { r.Previous[0]++ },
		"tag":      func(r *Ref) { r.Tag[7]++ },
	} {
		renamed := ref
		change(&renamed)
		m.Set(renamed.Name(), m.Bytes(ref.Name()))
		if _, err := readStored(t, m, p.Ring, renamed); fault.Of(err) != fault.Integrity {
			t.Errorf("under a name with another %s: %v", name, err)
		}
	}
}

// resealed is a segment with these bytes behind a good header.
func resealed(t testing.TB, plain []byte) []byte {
	t.Helper()
	var object bytes.Buffer
	object.Write(testHeader().encode())
	w, err := seal.Policy{}.NewWriter(&object, testHeader().context())
	if err == nil {
		_, err = w.Write(plain)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return object.Bytes()
}

// plaintext is what is sealed in a segment of these entries.
func plaintext(t testing.TB, entries []Entry) []byte {
	t.Helper()
	object, _ := write(t, seal.Policy{}, testHeader(), entries, 20)
	r, err := seal.Ring{}.NewReader(bytes.NewReader(object[HeaderBytes:]), testHeader().context())
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

// A defect of the writer, or a forger, cannot make the footer disagree.
func TestFooterMustBeTrue(t *testing.T) {
	plain := plaintext(t, testEntries())
	if _, _, err := read(resealed(t, plain), seal.Ring{}); err != nil {
		t.Fatal(err)
	}
	for i := len(plain) - footerBytes; i < len(plain); i++ {
		changed := bytes.Clone(plain)
		changed[i] ^= 0x80
		if i < len(plain)-footerBytes+8 {
			// Behind the last entry any last index is possible; in front of it none is.
			changed = bytes.Clone(plain)
			copy(changed[len(plain)-footerBytes:], make([]byte, 8))
		}
		if _, _, err := read(resealed(t, changed), seal.Ring{}); fault.Of(err) != fault.Integrity {
			t.Errorf("byte %d of the footer: %v", i-len(plain)+footerBytes, err)
		}
	}
	if _, _, err := read(resealed(t, append(plain, 0)), seal.Ring{}); fault.Of(err) != fault.Integrity {
		t.Errorf("a byte behind the footer: %v", err)
	}
}

// No flipped bit of a stored segment looks like a missing key or a later version.
func TestEveryFlippedBitInAStoreIsDamage(t *testing.T) {
	for name, p := range policies(t) {
		m, ref := stored(t, p)
		object := m.Bytes(ref.Name())
		for bit := range 8 * len(object) {
			object[bit/8] ^= 1 << (bit % 8)
			m.Set(ref.Name(), object)
			if _, err := readStored(t, m, p.Ring, ref); fault.Of(err) != fault.Integrity || !strings.Contains(err.Error(), "lost") {
				t.Errorf("%s: bit %d: %v", name, bit, err)
			}
			object[bit/8] ^= 1 << (bit % 8)
		}
	}
}

func TestDamageSaysWhatItCosts(t *testing.T) {
	m, ref := stored(t, seal.Policy{})
	object := m.Bytes(ref.Name())
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"missing":      {nil, "is missing in memory; indexes 10 to 20 are lost"},
		"cut":          {object[:len(object)/2], "indexes 10 to 20 are lost"},
		"no header":    {object[:20], "indexes 10 to 20 are lost"},
		"flipped":      {append(append(bytes.Clone(object[:HeaderBytes+5]), 'x'), object[HeaderBytes+6:]...), "indexes 10 to 20 are lost"},
		"bytes follow": {append(bytes.Clone(object), 'x'), "lost"},
	} {
		m.Set(ref.Name(), c.data)
		_, err := readStored(t, m, seal.Ring{}, ref)
		if fault.Of(err) != fault.Integrity || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "segment 2 of timeline 1-5f3a90c1") {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

// A long segment that is damaged near its end gives everything before.
func TestDamageCostsOnlyWhatFollows(t *testing.T) {
	h := testHeader()
	var entries []Entry
	for i := range uint64(1000) {
		entries = append(entries, Entry{Index: 10 + i, Term: 1, Kind: Commands, LogTime: testTime + record.LogTime(i), Data: bytes.Repeat([]byte{byte(i)}, 1000)})
	}
	object, s := write(t, seal.Policy{}, h, entries, 1009)
	object[len(object)*3/4] ^= 1
	m := blobtest.NewMemory()
	m.Set(s.Ref().Name(), object)
	last, err := readStored(t, m, seal.Ring{}, s.Ref())
	e, ok := errors.AsType[*fault.Error](err)
	if !ok || e.Kind != fault.Integrity || last < 600 || last > 760 {
		t.Fatalf("last entry is %d, %v", last, err)
	}
	if want := fmt.Sprintf("indexes %d to 1009 are lost", last+1); !strings.Contains(e.Message, want) {
		t.Errorf("message is %q, want %s", e.Message, want)
	}
	if want := fmt.Sprintf("--to-index %d", last); !strings.Contains(e.Hint, want) {
		t.Errorf("hint is %q, want %s", e.Hint, want)
	}
}

func TestBrokenConnectionIsNotDamage(t *testing.T) {
	p := policies(t)["sealed"]
	for _, after := range []int64{1, 50, 100, 300, 500} {
		m, ref := stored(t, p)
		m.Inject(blobtest.Fault{Op: blobtest.Get, After: after, Err: blobtest.ErrBroken})
		if _, err := readStored(t, m, p.Ring, ref); fault.Of(err) != fault.Unreachable {
			t.Errorf("broken after %d bytes: %v", after, err)
		}
	}
}

func TestMissingKeyIsNotDamage(t *testing.T) {
	p := policies(t)["sealed"]
	m, ref := stored(t, p)
	if _, err := readStored(t, m, seal.Ring{}, ref); fault.Of(err) != fault.Forbidden {
		t.Errorf("without a key: %v", err)
	}
}

func TestOldSegmentsOpen(t *testing.T) {
	path := filepath.Join("testdata", "golden", "segment.hex")
	if *rewrite {
		object, _ := write(t, seal.Policy{}, testHeader(), testEntries(), 20)
		var lines strings.Builder
		for text := hex.EncodeToString(object); text != ""; {
			n := min(len(text), 64)
			lines.WriteString(text[:n] + "\n")
			text = text[n:]
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(lines.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	object, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		t.Fatal(err)
	}
	entries, r, err := read(object, seal.Ring{})
	if err != nil || !same(entries, testEntries()) || r.Header() != testHeader() {
		t.Errorf("%v %v, %v", r.Header(), entries, err)
	}
	if !bytes.Equal(object[:HeaderBytes], testHeader().encode()) {
		t.Errorf("the header is written as %x, it was %x", testHeader().encode(), object[:HeaderBytes])
	}
}

// Whatever stands behind a good header: no panic, entries in order, and what reads
// to its end is written again as the same.
func FuzzReader(f *testing.F) {
	for _, entries := range [][]Entry{nil, testEntries()} {
		f.Add(plaintext(f, entries))
	}
	f.Fuzz(func(t *testing.T, plain []byte) {
		entries, r, err := read(resealed(t, plain), seal.Ring{})
		if err != nil {
			return
		}
		_, s := write(t, seal.Policy{}, testHeader(), entries, r.Footer().Last)
		// Uvarints have longer forms, so only the values must be the same.
		got, want := s.Footer, r.Footer()
		got.Digest, want.Digest = [32]byte{}, [32]byte{}
		if got != want {
			t.Errorf("%+v was written again as %+v", want, got)
		}
	})
}

func FuzzReadHeader(f *testing.F) {
	f.Add(testHeader().encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := ReadHeader(bytes.NewReader(b)); err == nil && !bytes.Equal(h.encode(), b[:HeaderBytes]) {
			t.Errorf("%x is written as %x", b, h.encode())
		}
	})
}
