package logstoretest

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode/logstore"
)

func emptyStoreHasNothing(t *testing.T, place Place) {
	o := open(t, place, 0)
	o.holds(t, nil)
	if _, err := o.Get([]byte("absent")); err == nil || err.Error() != "not found" {
		t.Errorf("absent key: %v, raft expects the text %q", err, "not found")
	}
	if _, err := o.GetUint64([]byte("absent")); err == nil || err.Error() != "not found" {
		t.Errorf("absent number: %v, raft expects the text %q", err, "not found")
	}
	o.healthy(t)
}

func logIsMonotonic(t *testing.T, place Place) {
	var s raft.LogStore = open(t, place, 0).Store
	if m, ok := s.(raft.MonotonicLogStore); !ok || !m.IsMonotonic() {
		t.Error("raft does not see a monotonic log: it would not wipe it when it installs a snapshot")
	}
}

func entriesComeBackAsTheyWere(t *testing.T, place Place) {
	want := run(1, 6, 1)
	want[1].Type = raft.LogNoop
	want[1].Data = nil
	want[2].Type = raft.LogConfiguration
	want[3].Type = raft.LogBarrier
	want[4].Data = bytes.Repeat([]byte{0, 0xff, 0xc1}, 1000)
	o := open(t, place, 0)
	o.store(t, want[:1])
	if err := o.StoreLog(want[1]); err != nil {
		t.Fatal(err)
	}
	o.store(t, want[2:])
	o.holds(t, want)
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, place, 0).holds(t, want)
}

func emptyLogStartsAnywhere(t *testing.T, place Place) {
	o := open(t, place, 0)
	o.store(t, run(1000, 1010, 3))
	o.store(t, run(1011, 1011, 4))
	o.holds(t, append(run(1000, 1010, 3), entry(1011, 4)))
	o.healthy(t)
}

func gapIsRefused(t *testing.T, place Place) {
	stored := run(1, 3, 1)
	for name, batch := range map[string][]*raft.Log{
		"ahead":    run(5, 6, 1),
		"again":    run(3, 4, 1),
		"in batch": {entry(4, 1), entry(6, 1)},
		"backward": {entry(4, 1), entry(3, 1)},
	} {
		o := open(t, place, 0)
		if last, _ := o.LastIndex(); last == 0 {
			o.store(t, stored)
		}
		if err := o.StoreLogs(batch); fault.Of(err) != fault.Integrity {
			t.Errorf("%s: %v, want an integrity error", name, err)
		}
		o.holds(t, stored)
		o.ended(t, fault.Integrity)
		if err := o.Close(); err != nil {
			t.Fatal(err)
		}
	}
	open(t, place, 0).holds(t, stored)
}

func suffixDeleteMakesRoom(t *testing.T, place Place) {
	o := open(t, place, 0)
	o.store(t, run(1, 10, 1))
	o.remove(t, 6, 10)
	want := run(1, 5, 1)
	o.holds(t, want)
	o.store(t, run(6, 7, 2))
	want = append(want, run(6, 7, 2)...)
	o.holds(t, want)
	o.remove(t, 7, 99) // a range may end beyond the log
	o.holds(t, want[:6])
	o.remove(t, 7, 7) // or be empty
	o.holds(t, want[:6])
	o.healthy(t)
}

func prefixDeleteStopsAtTheFloor(t *testing.T, place Place) {
	o := open(t, place, 6)
	o.store(t, run(1, 10, 1))
	o.remove(t, 1, 4)
	o.holds(t, run(5, 10, 1))
	o.remove(t, 1, 9)
	o.holds(t, run(7, 10, 1))
	o.remove(t, 7, 9) // wholly above the floor
	o.holds(t, run(7, 10, 1))
	o.store(t, run(11, 11, 1))
	o.holds(t, run(7, 11, 1))
	o.healthy(t)
}

func middleDeleteIsRefused(t *testing.T, place Place) {
	o := open(t, place, 100)
	o.store(t, run(1, 10, 1))
	if err := o.DeleteRange(4, 6); fault.Of(err) != fault.Integrity {
		t.Errorf("delete of a middle: %v, want an integrity error", err)
	}
	o.holds(t, run(1, 10, 1))
	o.ended(t, fault.Integrity)
}

func wipePassesTheFloor(t *testing.T, place Place) {
	o := open(t, place, 2)
	o.store(t, run(1, 10, 1))
	o.remove(t, 1, 10)
	o.holds(t, nil)
	o.store(t, run(500, 501, 2)) // after a snapshot at 499
	o.holds(t, run(500, 501, 2))
	o.healthy(t)
}

func deletesAreShort(t *testing.T, place Place) {
	const n = 3*logstore.MaxDelete + 7
	for name, c := range map[string]struct {
		first, last uint64
		left        []*raft.Log
	}{
		"prefix": {1, n - 1, run(n, n, 1)},
		"suffix": {2, n, run(1, 1, 1)},
		"wipe":   {1, n, nil},
	} {
		var deleted uint64
		f := &faulty{deletes: func(first, last uint64) error {
			size := last - first + 1
			if size > logstore.MaxDelete {
				t.Errorf("%s: one transaction deletes %d entries, want at most %d", name, size, logstore.MaxDelete)
			}
			deleted += size
			return nil
		}}
		o := open(t, place, n, over(f))
		o.store(t, run(1, n, 1))
		o.remove(t, c.first, c.last)
		o.holds(t, c.left)
		if want := c.last - c.first + 1; deleted != want {
			t.Errorf("%s: deleted %d entries, want %d", name, deleted, want)
		}
		o.remove(t, 1, n) // for the next case
		o.healthy(t)
		if err := o.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// interruptedDeleteLeavesNoGap ends a delete of three transactions, as a crash
// does, after the first.
func interruptedDeleteLeavesNoGap(t *testing.T, place Place) {
	const n = 3 * logstore.MaxDelete
	for name, c := range map[string]struct {
		first, last uint64
		left        []*raft.Log
	}{
		"prefix": {1, n - 1, run(logstore.MaxDelete+1, n, 1)},
		"suffix": {2, n, run(1, n-logstore.MaxDelete, 1)},
		"wipe":   {1, n, run(logstore.MaxDelete+1, n, 1)},
	} {
		transactions := 0
		o := open(t, place, n, over(&faulty{deletes: func(uint64, uint64) error {
			if transactions++; transactions > 1 {
				return errNoSpace
			}
			return nil
		}}))
		o.store(t, run(1, n, 1))
		if err := o.DeleteRange(c.first, c.last); !errors.Is(err, errNoSpace) {
			t.Errorf("%s: %v, want the disk's error", name, err)
		}
		if err := o.Close(); err != nil {
			t.Fatal(err)
		}
		o = open(t, place, n)
		o.holds(t, c.left)
		o.remove(t, 1, n) // for the next case
		if err := o.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func storeSurvivesReopening(t *testing.T, place Place) {
	steps := []struct {
		name string
		do   func(*opened)
		want []*raft.Log
	}{
		{"append", func(o *opened) { o.store(t, run(1, 10, 1)) }, run(1, 10, 1)},
		{"append more", func(o *opened) { o.store(t, run(11, 20, 2)) }, append(run(1, 10, 1), run(11, 20, 2)...)},
		{"cut the end", func(o *opened) { o.remove(t, 11, 20) }, run(1, 10, 1)},
		{"cut the front", func(o *opened) { o.remove(t, 1, 5) }, run(6, 10, 1)},
		{"wipe", func(o *opened) { o.remove(t, 6, 10) }, nil},
		{"begin again", func(o *opened) { o.store(t, run(77, 78, 3)) }, run(77, 78, 3)},
	}
	for _, s := range steps {
		o := open(t, place, 5)
		s.do(o)
		o.holds(t, s.want)
		o.healthy(t)
		if err := o.Close(); err != nil {
			t.Fatalf("%s: close: %v", s.name, err)
		}
		o = open(t, place, 5)
		o.holds(t, s.want)
		if err := o.Close(); err != nil {
			t.Fatalf("%s: close: %v", s.name, err)
		}
	}
}

func stableStoreKeepsKeys(t *testing.T, place Place) {
	o := open(t, place, 0)
	set := func(key, value string) {
		t.Helper()
		if err := o.Set([]byte(key), []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	set("candidate", "a")
	set("candidate", "b")
	for term := range uint64(4) {
		if err := o.SetUint64([]byte("term"), term+1<<40); err != nil {
			t.Fatal(err)
		}
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	o = open(t, place, 0)
	if got, err := o.Get([]byte("candidate")); err != nil || string(got) != "b" {
		t.Errorf("candidate = %q, %v, want b", got, err)
	}
	if got, err := o.GetUint64([]byte("term")); err != nil || got != 3+1<<40 {
		t.Errorf("term = %d, %v, want %d", got, err, uint64(3+1<<40))
	}
	o.holds(t, nil) // the log is another thing
	o.healthy(t)
}

func largeEntriesFit(t *testing.T, place Place) {
	want := run(1, 4, 1)
	random := rand.NewChaCha8([32]byte{1})
	for _, l := range want {
		l.Data = make([]byte, 1<<20)
		_, _ = random.Read(l.Data)
	}
	o := open(t, place, 0)
	o.store(t, want)
	o.holds(t, want)
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, place, 0).holds(t, want)
}

func fullDiskIsTheEnd(t *testing.T, place Place) {
	f := new(faulty)
	o := open(t, place, 0, over(f))
	o.store(t, run(1, 3, 1))
	f.storeLogs = func(logstore.Base, []*raft.Log) error { return errNoSpace }
	if err := o.StoreLogs(run(4, 5, 1)); err == nil {
		t.Error("store on a full disk succeeded")
	}
	f.storeLogs = nil // space again: too late for this process
	o.holds(t, run(1, 3, 1))
	o.ended(t, fault.Unavailable)
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	o = open(t, place, 0)
	o.holds(t, run(1, 3, 1))
	o.store(t, run(4, 5, 1))
	o.healthy(t)
}

func tornWriteLeavesAPrefix(t *testing.T, place Place) {
	f := new(faulty)
	o := open(t, place, 0, over(f))
	o.store(t, run(1, 3, 1))
	f.storeLogs = func(b logstore.Base, logs []*raft.Log) error {
		if err := b.StoreLogs(logs[:len(logs)/2]); err != nil {
			return err
		}
		return errNoSpace
	}
	if err := o.StoreLogs(run(4, 9, 1)); err == nil {
		t.Error("torn store succeeded")
	}
	o.ended(t, fault.Unavailable)
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	o = open(t, place, 0)
	o.holds(t, run(1, 6, 1))
	o.store(t, run(7, 7, 2))
	o.healthy(t)
}

func failedVoteIsTheEnd(t *testing.T, place Place) {
	f := new(faulty)
	o := open(t, place, 0, over(f))
	o.store(t, run(1, 3, 1))
	f.set = func() error { return errNoSpace }
	if err := o.SetUint64([]byte("LastVoteTerm"), 2); err == nil {
		t.Error("vote on a full disk succeeded")
	}
	f.set = nil
	o.ended(t, fault.Unavailable)
}

// flip stores entry index with one bit of its data changed.
func flip(index uint64) func(logstore.Base, []*raft.Log) error {
	return func(b logstore.Base, logs []*raft.Log) error {
		damaged := slices.Clone(logs)
		for i, l := range logs {
			if l.Index == index {
				c := *l
				c.Data = bytes.Clone(l.Data)
				c.Data[len(c.Data)/2] ^= 0x10
				damaged[i] = &c
			}
		}
		return b.StoreLogs(damaged)
	}
}

func damagedEntryIsNotRead(t *testing.T, place Place) {
	o := open(t, place, 0, over(&faulty{storeLogs: flip(2)}))
	o.store(t, run(1, 3, 1))
	o.holds(t, run(1, 3, 1)) // from memory, undamaged
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	o = open(t, place, 0)
	var l raft.Log
	if err := o.GetLog(1, &l); err != nil {
		t.Errorf("entry beside the damaged one: %v", err)
	}
	for range 2 {
		if err := o.GetLog(2, &l); fault.Of(err) != fault.Integrity {
			t.Errorf("damaged entry: %v, want an integrity error", err)
		}
	}
	o.ended(t, fault.Integrity)
}

func damagedArrivalIsNotStored(t *testing.T, place Place) {
	leader := open(t, place, 0)
	logs := run(1, 3, 1)
	leader.store(t, logs)
	leader.remove(t, 1, 3)
	if err := leader.Close(); err != nil {
		t.Fatal(err)
	}
	damages := map[string]func(*raft.Log){
		"data":    func(l *raft.Log) { l.Data = append(bytes.Clone(l.Data), 0) },
		"term":    func(l *raft.Log) { l.Term++ },
		"index":   func(l *raft.Log) { l.Index++ },
		"type":    func(l *raft.Log) { l.Type = raft.LogConfiguration },
		"sum":     func(l *raft.Log) { l.Extensions = bytes.Clone(l.Extensions); l.Extensions[4] ^= 1 },
		"version": func(l *raft.Log) { l.Extensions = bytes.Clone(l.Extensions); l.Extensions[0] = 200 },
		"short":   func(l *raft.Log) { l.Extensions = l.Extensions[:3] },
	}
	for name, damage := range damages {
		follower := open(t, place, 0)
		arrived := *logs[2]
		damage(&arrived)
		if err := follower.StoreLogs([]*raft.Log{logs[0], logs[1], &arrived}); fault.Of(err) != fault.Integrity {
			t.Errorf("damaged %s: %v, want an integrity error", name, err)
		}
		follower.holds(t, nil)
		follower.ended(t, fault.Integrity)
		if err := follower.Close(); err != nil {
			t.Fatal(err)
		}
	}
	follower := open(t, place, 0)
	follower.store(t, logs)
	follower.holds(t, logs)
}

func readersRunBesideWriters(t *testing.T, place Place) {
	const last = 400
	o := open(t, place, last)
	o.store(t, run(1, 20, 1))
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 3 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				index, _ := o.LastIndex()
				var l raft.Log
				switch err := o.GetLog(index, &l); {
				case err != nil:
					t.Errorf("newest entry %d: %v", index, err)
					return
				case l.Index != index:
					t.Errorf("asked for entry %d, got %d", index, l.Index)
					return
				}
			}
		})
	}
	wg.Go(func() { // compaction, as raft's snapshot goroutine does it
		for cut := uint64(1); cut < 15; cut++ {
			if err := o.DeleteRange(cut, cut); err != nil {
				t.Errorf("cut %d: %v", cut, err)
			}
		}
	})
	for i := uint64(21); i <= last; i += 20 {
		o.store(t, run(i, i+19, 1))
	}
	close(stop)
	wg.Wait()
	o.holds(t, run(15, last, 1))
	o.healthy(t)
}

func tailAndEntries(t *testing.T, place Place) {
	o := open(t, place, 100)
	if tail, err := o.Tail(); err != nil || tail != (logstore.Tail{}) {
		t.Errorf("tail of an empty log = %v, %v", tail, err)
	}
	for range o.Entries(0) { //nolint:errcheck // its error is one of the pairs
		t.Error("an empty log has entries")
	}
	o.store(t, run(1, 10, 1))
	o.store(t, run(11, 12, 4))
	o.remove(t, 1, 3)
	if err := o.SetUint64([]byte("CurrentTerm"), 6); err != nil {
		t.Fatal(err)
	}
	want := logstore.Tail{FirstIndex: 4, LastIndex: 12, LastTerm: 4, CurrentTerm: 6}
	if tail, err := o.Tail(); err != nil || tail != want {
		t.Errorf("tail = %v, %v, want %v", tail, err, want)
	}
	for from, first := range map[uint64]uint64{0: 4, 4: 4, 9: 9, 12: 12, 13: 13} {
		next := first
		for l, err := range o.Entries(from) {
			if err != nil || l.Index != next {
				t.Fatalf("entries from %d: got %d, %v, want %d", from, l.Index, err, next)
			}
			next++
		}
		if next != 13 {
			t.Errorf("entries from %d end at %d, want 12", from, next-1)
		}
	}
	o.healthy(t)
}

func closedStoreSaysSo(t *testing.T, place Place) {
	o := open(t, place, 0)
	o.store(t, run(1, 2, 1))
	for range 2 {
		if err := o.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
	}
	_, err := o.LastIndex()
	if fault.Of(err) != fault.Unavailable {
		t.Errorf("read after close: %v, want an error that says so", err)
	}
	if err := o.StoreLogs(run(3, 3, 1)); fault.Of(err) != fault.Unavailable {
		t.Errorf("write after close: %v, want an error that says so", err)
	}
	o.healthy(t) // closing is no failure
}

// randomHistories plays random operations and restarts against a plain slice.
func randomHistories(t *testing.T, place Place) {
	const seed, steps, floor = 7, 250, 1 << 30
	r := rand.New(rand.NewPCG(seed, seed))
	var model []*raft.Log
	next, term := uint64(1), uint64(1)
	o := open(t, place, floor)
	for step := range steps {
		n := uint64(len(model))
		switch op := r.IntN(10); {
		case op < 5 || n == 0: // append
			if n == 0 {
				next += r.Uint64N(50)
			}
			batch := run(next, next+r.Uint64N(20), term)
			o.store(t, batch)
			model = append(model, batch...)
			next += uint64(len(batch))
		case op < 6: // conflict
			keep := r.Uint64N(n)
			o.remove(t, model[keep].Index, model[n-1].Index)
			next, model = model[keep].Index, model[:keep:keep]
			term++
		case op < 8 && n > 1: // compaction
			cut := 1 + r.Uint64N(n-1)
			o.remove(t, model[0].Index, model[cut-1].Index)
			model = model[cut:]
		case op == 8 && r.IntN(5) == 0: // wipe
			o.remove(t, model[0].Index, model[n-1].Index)
			model = nil
		default: // restart
			if err := o.Close(); err != nil {
				t.Fatalf("step %d: close: %v", step, err)
			}
			o = open(t, place, floor)
		}
		o.holds(t, model)
	}
	o.healthy(t)
}
