package fsm

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"pgregory.net/rapid"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

func applyBatches(t testing.TB, m *Machine, batches [][]Entry) []Result {
	t.Helper()
	var all []Result
	for _, batch := range batches {
		results, err := m.Apply(batch)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, results...)
	}
	return all
}

func closeTest(t testing.TB, m *Machine) {
	t.Helper()
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

func TestBatchSplitLeavesNoTrace(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		log := drawLog(rt, t, rapid.IntRange(1, 25).Draw(rt, "entries"))
		one, many := openTest(t, vfs.NewMem()), openTest(t, vfs.NewMem())
		defer closeTest(t, one)
		defer closeTest(t, many)
		results := fmt.Sprint(applyBatches(t, one, [][]Entry{log}))
		if got := fmt.Sprint(applyBatches(t, many, drawSplit(rt, log))); got != results {
			rt.Fatalf("outcomes differ:\n%s\n%s", results, got)
		}
		if a, b := fingerprint(t, one), fingerprint(t, many); a != b {
			rt.Fatalf("states differ:\n%s\n%s", a, b)
		}
		if a, b := one.Checks(), many.Checks(); !slices.Equal(a, b) {
			rt.Fatalf("checks differ: %v, %v", a, b)
		}
	})
}

// TestRestartLeavesNoTrace: what is held in memory (windows, filter, cache) is
// the same when it was read back, so a node that restarted decides as the others.
func TestRestartLeavesNoTrace(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		log := drawLog(rt, t, rapid.IntRange(1, 25).Draw(rt, "entries"))
		fs := vfs.NewMem()
		steady, restarting := openTest(t, vfs.NewMem()), openTest(t, fs)
		defer closeTest(t, steady)
		defer func() { closeTest(t, restarting) }()
		want := applyBatches(t, steady, [][]Entry{log})
		var got []Result
		for _, batch := range drawSplit(rt, log) {
			closeTest(t, restarting)
			restarting = openTest(t, fs)
			got = append(got, applyBatches(t, restarting, [][]Entry{batch})...)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) || fingerprint(t, steady) != fingerprint(t, restarting) {
			rt.Fatalf("a restarted replica answers\n%v\nand others\n%v", got, want)
		}
	})
}

func TestDigestAndCountersFollowEveryCommand(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := openTest(t, vfs.NewMem())
		defer closeTest(t, m)
		for _, e := range drawLog(rt, t, rapid.IntRange(1, 25).Draw(rt, "entries")) {
			applyBatches(t, m, [][]Entry{{e}})
			checkDigest(t, m)
			checkCounters(t, m)
		}
		if t.Failed() {
			rt.FailNow()
		}
	})
}

func TestRejectionLeavesNoTrace(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := openTest(t, vfs.NewMem())
		defer closeTest(t, m)
		for i := range rapid.IntRange(1, 60).Draw(rt, "commands") {
			before := dump(t, m)
			p := drawProposal(rt)
			p.Producer, p.Sequence, p.Acked = record.ID{}, 0, 0 // a window remembers rejections too
			data, err := AppendEnvelope(record.LogTime(i)<<30, [][]byte{encodeUnchecked(t, &p)})
			if err != nil {
				rt.Fatal(err)
			}
			revision := m.Meta().Revision
			o := applyBatches(t, m, [][]Entry{{{Index: uint64(i + 1), Term: 1, Data: data}}})[0][0]
			if o.Kind == 0 && !o.Replayed && m.Meta().Revision != revision+1 {
				rt.Fatalf("accepted %+v and revision went from %d to %d", p.Command, revision, m.Meta().Revision)
			}
			if (o.Kind != 0 || o.Replayed) && (m.Meta().Revision != revision || !equalPairs(before, dump(t, m))) {
				rt.Fatalf("%+v was rejected (%v: %s) and changed the state", p.Command, o.Kind, o.Message)
			}
			if encoded, err := record.Encode(o); err != nil || len(encoded) > MaxOutcomeBytes {
				rt.Fatalf("outcome %+v has %d bytes, %v", o, len(encoded), err)
			}
		}
	})
}

func equalPairs(a, b []pair) bool {
	return slices.EqualFunc(a, b, func(x, y pair) bool {
		return bytes.Equal(x.key, y.key) && bytes.Equal(x.value, y.value)
	})
}

func TestSnapshotAndRestoreKeepEverything(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		log := drawLog(rt, t, rapid.IntRange(1, 25).Draw(rt, "entries"))
		cut := rapid.IntRange(0, len(log)).Draw(rt, "cut")
		from, to := openTest(t, vfs.NewMem()), openTest(t, vfs.NewMem())
		defer closeTest(t, from)
		defer closeTest(t, to)
		applyBatches(t, from, drawSplit(rt, log[:cut]))
		applyBatches(t, to, drawSplit(rt, log[:rapid.IntRange(0, cut).Draw(rt, "behind")]))
		stream := snapshotBytes(t, from)
		if err := to.Restore(bytes.NewReader(stream), Installed{}); err != nil {
			rt.Fatal(err)
		}
		if a, b := fingerprint(t, from), fingerprint(t, to); a != b {
			rt.Fatalf("states differ:\n%s\n%s", a, b)
		}
		if again := snapshotBytes(t, to); !bytes.Equal(stream, again) {
			rt.Fatal("a restored state has another stream")
		}
		// What is in memory was restored too: windows, cache.
		a, b := applyBatches(t, from, [][]Entry{log}), applyBatches(t, to, [][]Entry{log})
		if fmt.Sprint(a) != fmt.Sprint(b) || fingerprint(t, from) != fingerprint(t, to) {
			rt.Fatal("states differ after more entries")
		}
	})
}

// TestCrashLeavesAPrefix takes the disk away before any operation on it, be it
// of Apply, of Pebble's background work or of a restore, with any part of what
// was not synced. What reopens is the state after some entry, not before the
// durable index, and the log leads it to the same end.
func TestCrashLeavesAPrefix(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		log := drawLog(rt, t, rapid.IntRange(2, 25).Draw(rt, "entries"))
		states, stream, at := referenceRun(rt, t, log)
		crashed := drawCrash(rt, t, log, stream, at)

		m := openTest(t, crashed.disk)
		defer closeTest(t, m)
		index := m.Meta().Index
		if index < crashed.durable {
			rt.Fatalf("reopened at index %d, %d was durable", index, crashed.durable)
		}
		if got := fingerprint(t, m); got != states[index] {
			rt.Fatalf("reopened at index %d with another state:\n%s\n%s", index, got, states[index])
		}
		applyBatches(t, m, drawSplit(rt, log))
		if end := log[len(log)-1].Index; fingerprint(t, m) != states[end] {
			rt.Fatalf("the log from index %d on leads to another state", index)
		}
	})
}

// referenceRun applies the log entry by entry; it returns the state after each,
// and a snapshot of the one after the entry in position at.
func referenceRun(rt *rapid.T, t testing.TB, log []Entry) (states map[uint64]string, stream []byte, at int) {
	m := openTest(t, vfs.NewMem())
	defer closeTest(t, m)
	states = map[uint64]string{0: fingerprint(t, m)}
	at = rapid.IntRange(0, len(log)-1).Draw(rt, "snapshot")
	for i, e := range log {
		applyBatches(t, m, [][]Entry{{e}})
		states[e.Index] = fingerprint(t, m)
		if i == at {
			stream = snapshotBytes(t, m)
		}
	}
	return states, stream, at
}

type crash struct {
	disk    *vfs.MemFS
	durable uint64
}

// drawCrash runs a machine over the log, with syncs, flushes and a restore in
// between, and returns its disk as a crash before a drawn operation leaves it.
func drawCrash(rt *rapid.T, t testing.TB, log []Entry, stream []byte, at int) crash {
	disk := vfs.NewCrashableMem()
	cfg := vfs.CrashCloneCfg{
		UnsyncedDataPercent: rapid.SampledFrom([]int{0, 20, 50, 90, 100}).Draw(rt, "unsynced"),
		RNG:                 rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0)),
	}
	last := rapid.Int64Range(1, 300).Draw(rt, "operation")
	var operations atomic.Int64
	var running atomic.Pointer[Machine]
	var once sync.Once
	var result crash
	take := func() {
		once.Do(func() {
			if m := running.Load(); m != nil {
				result.durable = m.DurableIndex()
			}
			result.disk = disk.CrashClone(cfg)
		})
	}
	fs := errorfs.Wrap(disk, errorfs.InjectorFunc(func(errorfs.Op) error {
		if operations.Add(1) == last {
			take()
		}
		return nil
	}))
	m := openTest(t, fs)
	running.Store(m)
	restoreAt := rapid.IntRange(0, len(log)).Draw(rt, "restore at")
	for i, e := range log {
		if i == restoreAt && i <= at {
			if err := m.Restore(bytes.NewReader(stream), Installed{}); err != nil {
				rt.Fatal(err)
			}
		}
		applyBatches(t, m, [][]Entry{{e}})
		switch rapid.IntRange(0, 5).Draw(rt, "then") {
		case 0:
			if err := m.Sync(); err != nil {
				rt.Fatal(err)
			}
		case 1:
			if err := m.current.db.Flush(); err != nil {
				rt.Fatal(err)
			}
		}
	}
	take() // fewer operations than drawn
	closeTest(t, m)
	return result
}

// TestEachSequenceIsAppliedOnce compares windows with a model that remembers
// everything.
func TestEachSequenceIsAppliedOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		fs := vfs.NewMem()
		m := openTest(t, fs)
		defer func() { closeTest(t, m) }()
		accepted(t, m, &OpenProducer{ID: testID(1), Node: "a"})
		first := make(map[uint64]Outcome)
		var floor uint64
		for range rapid.IntRange(1, 80).Draw(rt, "steps") {
			if rapid.IntRange(0, 19).Draw(rt, "reopen") == 0 {
				closeTest(t, m)
				m = openTest(t, fs)
			}
			acked := rapid.Uint64Range(0, floor+3).Draw(rt, "acked")
			seq := rapid.Uint64Range(acked+1, acked+8).Draw(rt, "sequence")
			if rapid.IntRange(0, 19).Draw(rt, "far") == 0 {
				seq += MaxUnacknowledged
			}
			before := m.Meta().Revision
			o := applyAll(t, m, Proposal{
				Actor: testActor, Producer: testID(1), Sequence: seq, Acked: acked,
				Command: &RegisterEntry{Entry: record.Entry{Type: record.TypeTool, Key: fmt.Sprint(seq % 10)}},
			})[0]
			floor = max(floor, acked)
			known, repeated := first[seq]
			switch {
			case seq <= floor:
				if o.Kind != fault.OutcomeUnknown || m.Meta().Revision != before {
					rt.Fatalf("sequence %d at floor %d: %+v", seq, floor, o)
				}
			case seq > floor+MaxUnacknowledged:
				if o.Kind != fault.Overloaded || m.Meta().Revision != before {
					rt.Fatalf("sequence %d at floor %d: %+v", seq, floor, o)
				}
			case repeated:
				known.Replayed = true
				if fmt.Sprint(o) != fmt.Sprint(known) || m.Meta().Revision != before {
					rt.Fatalf("sequence %d was answered %+v, and now %+v", seq, known, o)
				}
			default:
				if o.Replayed {
					rt.Fatalf("sequence %d is new and was answered %+v", seq, o)
				}
				first[seq] = o
			}
			checkDigest(t, m)
			if w := m.state.windows[testID(1)]; len(w.packs) > len(w.outcomes)+1 {
				rt.Fatalf("%d packs for %d outcomes", len(w.packs), len(w.outcomes))
			}
		}
	})
}
