// Package logstoretest is the contract of a log store: what raft relies on and
// what mcpraft adds. Every base that a chain is put around is held to it: the
// bbolt file of a real node, and the one on vfs that simulations use.
package logstoretest

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode/logstore"
)

// A Place is where one store lives. It opens the store, again after each Close:
// what was written is there.
type Place func() (logstore.Base, error)

// Run holds chains around the bases of newPlace to the contract. newPlace is
// called once per claim and gives an empty place.
func Run(t *testing.T, newPlace func(t *testing.T) Place) {
	claims := []struct {
		name  string
		check func(*testing.T, Place)
	}{
		{"EmptyStoreHasNothing", emptyStoreHasNothing},
		{"LogIsMonotonic", logIsMonotonic},
		{"EntriesComeBackAsTheyWere", entriesComeBackAsTheyWere},
		{"EmptyLogStartsAnywhere", emptyLogStartsAnywhere},
		{"GapIsRefused", gapIsRefused},
		{"SuffixDeleteMakesRoomForOtherEntries", suffixDeleteMakesRoom},
		{"PrefixDeleteStopsAtTheFloor", prefixDeleteStopsAtTheFloor},
		{"MiddleDeleteIsRefused", middleDeleteIsRefused},
		{"WipePassesTheFloor", wipePassesTheFloor},
		{"DeletesAreCutIntoShortTransactions", deletesAreShort},
		{"InterruptedDeleteLeavesNoGap", interruptedDeleteLeavesNoGap},
		{"StoreSurvivesReopening", storeSurvivesReopening},
		{"StableStoreKeepsKeys", stableStoreKeepsKeys},
		{"LargeEntriesFit", largeEntriesFit},
		{"FullDiskIsTheEnd", fullDiskIsTheEnd},
		{"TornWriteLeavesAPrefix", tornWriteLeavesAPrefix},
		{"FailedVoteIsTheEnd", failedVoteIsTheEnd},
		{"DamagedEntryIsNotRead", damagedEntryIsNotRead},
		{"DamagedArrivalIsNotStored", damagedArrivalIsNotStored},
		{"ReadersRunBesideWriters", readersRunBesideWriters},
		{"TailAndEntriesTellTheWholeLog", tailAndEntries},
		{"ClosedStoreSaysSo", closedStoreSaysSo},
		{"RandomHistoriesMatchAModel", randomHistories},
	}
	for _, c := range claims {
		t.Run(c.name, func(t *testing.T) { c.check(t, newPlace(t)) })
	}
}

// opened is a chain under test and what it told Fatal.
type opened struct {
	*logstore.Store
	mu     sync.Mutex
	fatals []error
}

// cacheBytes is small, so that the claims meet entries in memory and on disk.
const cacheBytes = 4 << 10

// open puts a chain around the base of place, changed by the given wrappers. It
// is closed with the test.
func open(t *testing.T, place Place, floor uint64, wrap ...func(logstore.Base) logstore.Base) *opened {
	t.Helper()
	base, err := place()
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	for _, w := range wrap {
		base = w(base)
	}
	o := new(opened)
	o.Store = logstore.Chain(base, logstore.Options{
		Path:       "log under test",
		Deadline:   time.Minute,
		CacheBytes: cacheBytes,
		Floor:      func() uint64 { return floor },
		Fatal: func(err error) {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.fatals = append(o.fatals, err)
		},
	})
	t.Cleanup(func() { _ = o.Close() })
	return o
}

// healthy fails the test when the store met a failure.
func (o *opened) healthy(t *testing.T) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.fatals) > 0 {
		t.Fatalf("fatal: %v", o.fatals)
	}
}

// ended fails the test unless Fatal was told once, of this kind and with a
// hint, and nothing is written any more.
func (o *opened) ended(t *testing.T, kind fault.Kind) {
	t.Helper()
	o.mu.Lock()
	fatals := o.fatals
	o.mu.Unlock()
	if len(fatals) != 1 {
		t.Fatalf("fatal was called %d times, want once: %v", len(fatals), fatals)
	}
	first := fatals[0]
	if e := fault.As(first); e.Kind != kind || e.Hint == "" {
		t.Errorf("fatal error is %v with hint %q, want kind %v and a hint", first, e.Hint, kind)
	}
	last, err := o.LastIndex()
	if err != nil {
		t.Errorf("last index after a failure: %v", err)
	}
	writes := map[string]error{
		"StoreLogs":   o.StoreLogs(run(last+1, last+1, 9)),
		"DeleteRange": o.DeleteRange(last, last),
		"Set":         o.Set([]byte("k"), []byte("v")),
		"SetUint64":   o.SetUint64([]byte("k"), 1),
	}
	for name, err := range writes {
		if err != first && !(name == "DeleteRange" && last == 0) { //nolint:errorlint // the same error, not one like it
			t.Errorf("%s after the failure = %v, want the same error %v", name, err, first)
		}
	}
	if o.Err() != first { //nolint:errorlint // the same error
		t.Errorf("Err = %v, want %v", o.Err(), first)
	}
}

// entry is the entry that the tests store at an index in a term.
func entry(index, term uint64) *raft.Log {
	return &raft.Log{
		Index: index, Term: term, Type: raft.LogCommand,
		Data:       fmt.Appendf(nil, "entry %d of term %d", index, term),
		AppendedAt: time.Unix(1_700_000_000, int64(index)).UTC(),
	}
}

// run is the entries first to last.
func run(first, last, term uint64) []*raft.Log {
	var logs []*raft.Log
	for i := first; i <= last; i++ {
		logs = append(logs, entry(i, term))
	}
	return logs
}

func (o *opened) store(t *testing.T, logs []*raft.Log) {
	t.Helper()
	if err := o.StoreLogs(logs); err != nil {
		t.Fatalf("store: %v", err)
	}
}

func (o *opened) remove(t *testing.T, first, last uint64) {
	t.Helper()
	if err := o.DeleteRange(first, last); err != nil {
		t.Fatalf("delete %d to %d: %v", first, last, err)
	}
}

// holds fails the test unless the log is exactly the entries of want.
func (o *opened) holds(t *testing.T, want []*raft.Log) {
	t.Helper()
	var first, last uint64
	if n := len(want); n > 0 {
		first, last = want[0].Index, want[n-1].Index
	}
	gotFirst, err := o.FirstIndex()
	if err != nil {
		t.Fatalf("first index: %v", err)
	}
	gotLast, err := o.LastIndex()
	if err != nil {
		t.Fatalf("last index: %v", err)
	}
	if gotFirst != first || gotLast != last {
		t.Fatalf("log is %d to %d, want %d to %d", gotFirst, gotLast, first, last)
	}
	for _, w := range want {
		var l raft.Log
		if err := o.GetLog(w.Index, &l); err != nil {
			t.Fatalf("entry %d: %v", w.Index, err)
		}
		same(t, &l, w)
	}
	for _, index := range []uint64{first - 1, last + 1} {
		var l raft.Log
		if err := o.GetLog(index, &l); err != raft.ErrLogNotFound { //nolint:errorlint // raft compares with ==
			t.Fatalf("entry %d outside of the log: %v, want raft.ErrLogNotFound itself", index, err)
		}
	}
}

func same(t *testing.T, got, want *raft.Log) {
	t.Helper()
	if got.Index != want.Index || got.Term != want.Term || got.Type != want.Type ||
		!bytes.Equal(got.Data, want.Data) || !got.AppendedAt.Equal(want.AppendedAt) {
		t.Fatalf("entry %d is %+v, want %+v", want.Index, got, want)
	}
	if len(got.Extensions) == 0 {
		t.Fatalf("entry %d carries no checksum", want.Index)
	}
}

// faulty is a base with injected faults; nil functions change nothing.
type faulty struct {
	logstore.Base
	storeLogs func(logstore.Base, []*raft.Log) error
	set       func() error
	deletes   func(first, last uint64) error
}

func (f *faulty) StoreLogs(logs []*raft.Log) error {
	if f.storeLogs != nil {
		return f.storeLogs(f.Base, logs)
	}
	return f.Base.StoreLogs(logs)
}

func (f *faulty) SetUint64(key []byte, value uint64) error {
	if f.set != nil {
		return f.set()
	}
	return f.Base.SetUint64(key, value)
}

func (f *faulty) DeleteRange(first, last uint64) error {
	if f.deletes != nil {
		if err := f.deletes(first, last); err != nil {
			return err
		}
	}
	return f.Base.DeleteRange(first, last)
}

// over makes a wrapper that puts f over a base.
func over(f *faulty) func(logstore.Base) logstore.Base {
	return func(b logstore.Base) logstore.Base {
		f.Base = b
		return f
	}
}

var errNoSpace = errors.New("no space left on device")
