package recovery

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/wal"
)

var (
	cluster  = record.ID{7}
	timeline = record.Timeline{Number: 1, Salt: 0xabcd}
	alice    = record.Principal{Issuer: "test", Subject: "alice"}
	target   = Target{Dir: "recovered", Configuration: []byte("one voter")}
)

// A survivor is a stopped node in memory: its log, and its state, which has
// applied part of it.
type survivor struct {
	fs      *vfs.MemFS
	entries []wal.Entry
	torn    error // what reading the log ends with
}

// newSurvivor writes a log of one cluster with that many registered tools, and a
// state that has applied its first entries.
func newSurvivor(t *testing.T, tools, applied int) *survivor {
	t.Helper()
	s := &survivor{fs: vfs.NewMem()}
	s.add(t, &fsm.EpochStart{Node: "n1", Process: record.ID{1}, Supports: fsm.MaxVersion})
	s.add(t, &fsm.InitCluster{ID: cluster, Name: "test", Timeline: timeline})
	s.entries = append(s.entries, wal.Entry{Index: uint64(len(s.entries) + 1), Term: 1, Kind: wal.Configuration, Data: []byte("three voters")})
	for i := range tools {
		s.add(t, &fsm.RegisterEntry{Entry: record.Entry{Type: record.TypeTool, Key: fmt.Sprint("t", i), Principal: alice}})
	}
	if applied > 0 {
		s.apply(t, applied)
	}
	return s
}

// add appends a command, in an entry of its own.
func (s *survivor) add(t *testing.T, c fsm.Command) {
	t.Helper()
	index := uint64(len(s.entries) + 1)
	e := fsm.Envelope{Time: record.LogTime(1000 * index), Proposals: []fsm.Proposal{{Actor: alice, Command: c}}}
	data, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	s.entries = append(s.entries, wal.Entry{Index: index, Term: 1, Kind: wal.Commands, LogTime: e.Time, Data: data})
}

func (s *survivor) apply(t *testing.T, n int) {
	t.Helper()
	m := s.open(t, "state")
	for _, e := range s.entries[:n] {
		if e.Kind != wal.Commands {
			continue
		}
		if _, err := m.Apply([]fsm.Entry{{Index: e.Index, Term: e.Term, Data: e.Data}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(m.Sync(), m.Close()); err != nil {
		t.Fatal(err)
	}
}

func (s *survivor) open(t *testing.T, dir string) *fsm.Machine {
	t.Helper()
	m, err := fsm.Open(dir, fsm.Options{FS: s.fs})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (s *survivor) position() Position {
	last := s.entries[len(s.entries)-1]
	return Position{Term: last.Term, Index: last.Index}
}

func (s *survivor) plan(ctx context.Context) (*Plan, error) {
	return NewPlan(ctx, Survivor{State: "state", FS: s.fs, Log: s.position(), Entries: s.read})
}

func (s *survivor) mustPlan(t *testing.T) *Plan {
	t.Helper()
	p, err := s.plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (s *survivor) read(from uint64) iter.Seq2[wal.Entry, error] {
	return func(yield func(wal.Entry, error) bool) {
		for _, e := range s.entries {
			if e.Index >= from && !yield(e, nil) {
				return
			}
		}
		if s.torn != nil {
			yield(wal.Entry{}, s.torn)
		}
	}
}

// names lists what lies beside the state.
func (s *survivor) names(t *testing.T) []string {
	t.Helper()
	list, err := s.fs.List("")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(list)
	return list
}

// tools counts what is registered in the state in dir.
func (s *survivor) tools(t *testing.T, dir string) (n int, meta fsm.Meta) {
	t.Helper()
	m := s.open(t, dir)
	view, err := m.View()
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range view.Entries(0, record.TypeTool, "", "") {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	view.Close()
	meta = m.Meta()
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	return n, meta
}

// Whatever part of the log is in the state already, all of it is in the
// recovered one: also of a node whose state was never made durable.
func TestRecoveryBringsBackTheWholeLog(t *testing.T) {
	const tools = 100
	for _, applied := range []int{0, 1, 2, 3, 50, tools + 3} {
		t.Run(fmt.Sprint("applied=", applied), func(t *testing.T) {
			s := newSurvivor(t, tools, applied)
			p := s.mustPlan(t)
			if p.Cluster != "test" || p.ClusterID != cluster || p.From != timeline || p.To.Number != 2 {
				t.Errorf("plan = %+v", p)
			}
			done, err := p.Run(t.Context(), target)
			if err != nil {
				t.Fatal(err)
			}
			got, meta := s.tools(t, target.Dir)
			if got != tools || done.Rejected != 0 || done.State != s.position() {
				t.Errorf("%d tools are back of %d; result %+v", got, tools, done)
			}
			if meta.ClusterID != cluster || meta.ClusterName != "test" || meta.Timeline != p.To || done.Timeline != p.To ||
				string(meta.Configuration) != "one voter" || meta.ConfigurationIndex != meta.Index || meta.Digest != done.Digest {
				t.Errorf("meta = %+v, result %+v", meta, done)
			}
			if left := s.names(t); !slices.Equal(left, []string{"recovered", "state"}) {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

func TestPlanSaysWhatTheSurvivorHolds(t *testing.T) {
	s := newSurvivor(t, 10, 5)
	p := s.mustPlan(t)
	if want := (Position{1, 5}); p.State != want {
		t.Errorf("state at %v, want %v", p.State, want)
	}
	if want := (Position{1, 13}); p.Last != want {
		t.Errorf("last is %v, want %v", p.Last, want)
	}
	if p.Entries != 8 || p.Commands != 8 || p.LogTime != 5000 || p.LastTime != 13000 {
		t.Errorf("plan = %+v", p)
	}
	if text := p.Last.String(); text != "term 1, index 13" {
		t.Errorf("last is shown as %q", text)
	}
	if again := s.mustPlan(t); again.To == p.To {
		t.Error("two recoveries would share a timeline")
	}
}

// A log that was cut behind a snapshot may end before the state does.
func TestPlanCountsTheStateWhenItGoesFurtherThanTheLog(t *testing.T) {
	s := newSurvivor(t, 10, 13)
	s.entries = s.entries[:7]
	if p := s.mustPlan(t); p.Last != (Position{1, 13}) || p.Entries != 0 || p.LastTime != 13000 {
		t.Errorf("plan = %+v", p)
	}
}

func TestPositionsAreOrderedByTermFirst(t *testing.T) {
	for _, c := range []struct {
		a, b Position
		want int
	}{
		{Position{2, 5}, Position{1, 9}, 1},
		{Position{1, 5}, Position{1, 9}, -1},
		{Position{3, 3}, Position{3, 3}, 0},
	} {
		if got := c.a.Compare(c.b); got != c.want {
			t.Errorf("%v against %v is %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

func TestPlanChangesNothing(t *testing.T) {
	s := newSurvivor(t, 10, 5)
	before, meta := s.tools(t, "state")
	s.mustPlan(t)
	if names := s.names(t); !slices.Equal(names, []string{"state"}) {
		t.Errorf("a plan has written %q", names)
	}
	if after, now := s.tools(t, "state"); after != before || now.Index != meta.Index || now.Timeline != timeline || now.Digest != meta.Digest {
		t.Errorf("a plan has changed the state from %+v to %+v", meta, now)
	}
}

// What cannot be read is never left out: it may have been acknowledged.
func TestDamagedTailIsRefusedAndNothingIsWritten(t *testing.T) {
	undecodable := func(s *survivor) { s.entries[12].Data = s.entries[12].Data[:len(s.entries[12].Data)-1] }
	for name, c := range map[string]struct {
		damage func(s *survivor)
		words  string
		kind   fault.Kind
	}{
		"torn":     {func(s *survivor) { s.torn = fault.New(fault.Integrity, "entry 14 is damaged on disk") }, "entry 14 is damaged on disk", fault.Integrity},
		"cut":      {undecodable, "entry 13 of the log", fault.Invalid},
		"reversed": {func(s *survivor) { s.entries[12].Index = 11 }, "entry 11 of the log follows entry 12", fault.Integrity},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSurvivor(t, 10, 5)
			whole := s.mustPlan(t)
			c.damage(s)
			for what, try := range map[string]func() error{
				"plan": func() error { _, err := s.plan(t.Context()); return err },
				"run":  func() error { _, err := whole.Run(t.Context(), target); return err },
			} {
				if err := try(); fault.Of(err) != c.kind || !strings.Contains(err.Error(), c.words) {
					t.Errorf("%s = %v, want %v and %q", what, err, c.kind, c.words)
				}
			}
			if names := s.names(t); !slices.Equal(names, []string{"state"}) {
				t.Errorf("left behind: %q", names)
			}
		})
	}
}

func TestRecoveryRefusesWhatIsNoClusterAndWhatExists(t *testing.T) {
	s := newSurvivor(t, 0, 0)
	s.entries = s.entries[:1]
	if _, err := s.plan(t.Context()); fault.Of(err) != fault.Invalid || !strings.Contains(err.Error(), "belongs to a cluster") {
		t.Errorf("plan without a cluster = %v", err)
	}
	s = newSurvivor(t, 1, 4)
	if _, err := s.mustPlan(t).Run(t.Context(), Target{Dir: "state"}); fault.Of(err) != fault.Conflict {
		t.Errorf("run into a directory that exists = %v", err)
	}
}

func TestRecoveryEndsWithItsContext(t *testing.T) {
	s := newSurvivor(t, 10, 5)
	p := s.mustPlan(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.plan(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("plan = %v", err)
	}
	if _, err := p.Run(ctx, target); !errors.Is(err, context.Canceled) {
		t.Errorf("run = %v", err)
	}
	if names := s.names(t); !slices.Equal(names, []string{"state"}) {
		t.Errorf("left behind: %q", names)
	}
}
