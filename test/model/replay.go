package model

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// A Write is one accepted change, as its client was told.
type Write struct {
	Client, Node string
	Key          string // of an entry; empty: of something else
	Value        string // empty: the entry was removed
	Ended        time.Duration
	Returned     int64
	Index        uint64 // of the log entry that answered
	Replayed     bool   // which was not the one that made the change, but a later one
	Revision     uint64
	Time         uint64 // log time; only its order counts
	Timeline     string
}

// A View is one read in any mode, of one entry or, with an empty Key, of
// something else.
type View struct {
	Client, Node, Key string
	Call              int64
	Began             time.Duration
	MinIndex          uint64        // asked for
	Limit             time.Duration // of staleness, asked for; 0: none was
	Linearizable      bool
	Index             uint64        // answered
	Staleness         time.Duration // answered: at most so old; negative: not known

	Found    bool
	Value    string
	Revision uint64
}

// Evidence is everything that clients were told about registry entries, ready to
// be replayed in the order of the log: what an index says must be what a read at
// that index sees, on whatever node. It is a check of its own beside porcupine,
// over the whole store at once.
type Evidence struct {
	Writes  []Write
	Views   []View
	Refused map[string]bool // values of requests that were certainly not applied
	Unsure  map[string]bool // keys of removals of which nobody knows whether they were done
	Coarse  bool            // log times are so coarse that those of two entries can be equal

	failf func(format string, args ...any)
}

// maxContradictions bounds what Check returns.
const maxContradictions = 50

// Check returns what contradicts itself, one sentence each.
func (e *Evidence) Check() []string {
	var found []string
	e.failf = func(format string, args ...any) {
		if len(found) < maxContradictions {
			found = append(found, fmt.Sprintf(format, args...))
		}
	}
	e.checkRevisions()
	e.checkOrder()
	e.checkFreshness()
	e.checkAgreement()
	return found
}

// Seen is the revision of every value that somebody has seen.
func (e *Evidence) Seen() map[string]uint64 {
	seen := make(map[string]uint64)
	for _, v := range e.Views {
		if v.Found {
			seen[v.Value] = v.Revision
		}
	}
	return seen
}

// checkRevisions: a request is applied once or not at all, and no two changes
// have one revision.
func (e *Evidence) checkRevisions() {
	of := make(map[string]uint64) // revision of each value
	see := func(by, value string, revision uint64) {
		if e.Refused[value] {
			e.failf("%s: %s at revision %d was never applied, as its client was told", by, value, revision)
		}
		if had, ok := of[value]; ok && had != revision {
			e.failf("%s: %s was applied twice, at revisions %d and %d", by, value, had, revision)
		}
		of[value] = revision
	}
	at := make(map[uint64]Write)
	for _, w := range e.Writes {
		if other, ok := at[w.Revision]; ok && (!w.Replayed || other.Value != w.Value) {
			e.failf("revision %d was given twice: %+v and %+v", w.Revision, other, w)
		}
		at[w.Revision] = w
		if w.Timeline != e.Writes[0].Timeline {
			e.failf("timeline %v of %+v, before it was %v", w.Timeline, w, e.Writes[0].Timeline)
		}
		if w.Value != "" {
			see(w.Client, w.Value, w.Revision)
		}
	}
	for _, v := range e.Views {
		if v.Found {
			see(v.Client, v.Value, v.Revision)
		}
	}
}

// checkOrder: revisions, indexes and log times of changes grow together. Changes
// of one entry of the log share its index and its time.
func (e *Evidence) checkOrder() {
	firsts := slices.DeleteFunc(slices.Clone(e.Writes), func(w Write) bool { return w.Replayed })
	slices.SortFunc(firsts, func(a, b Write) int { return cmp.Compare(a.Revision, b.Revision) })
	for i := 1; i < len(firsts); i++ {
		a, b := firsts[i-1], firsts[i]
		late := a.Time >= b.Time
		if e.Coarse {
			late = a.Time > b.Time
		}
		if a.Index > b.Index || a.Index == b.Index && a.Time != b.Time || a.Index < b.Index && late {
			e.failf("revisions %d and %d are of indexes %d and %d and log times %d and %d", a.Revision, b.Revision, a.Index, b.Index, a.Time, b.Time)
		}
	}
}

// checkFreshness: a view holds every write that was acknowledged before the
// moment that its staleness counts from, and not less than was asked for.
func (e *Evidence) checkFreshness() {
	writes := slices.Clone(e.Writes)
	slices.SortFunc(writes, func(a, b Write) int { return cmp.Compare(a.Returned, b.Returned) })
	newest := make([]Write, len(writes)) // of those that returned until then
	for i, w := range writes {
		if newest[i] = w; i > 0 && newest[i-1].Index > w.Index {
			newest[i] = newest[i-1]
		}
	}
	for _, v := range e.Views {
		if v.Index < v.MinIndex {
			e.failf("read of %s on %s at index %d, at least %d was asked for", v.Client, v.Node, v.Index, v.MinIndex)
		}
		if v.Limit > 0 && (v.Staleness > v.Limit || v.Staleness < 0) {
			e.failf("read of %s on %s is up to %v stale, at most %v was asked for", v.Client, v.Node, v.Staleness, v.Limit)
		}
		known := before(writes, &v)
		if known > 0 && newest[known-1].Index > v.Index {
			w := newest[known-1]
			e.failf("read (linearizable: %v) of %s on %s at index %d, called at %v, says it is at most %v stale; the write at index %d was acknowledged to %s at %v",
				v.Linearizable, v.Client, v.Node, v.Index, v.Began, v.Staleness, w.Index, w.Client, w.Ended)
		}
	}
}

// before is how many writes, in the order of their returns, v must reflect.
func before(writes []Write, v *View) int {
	if !v.Linearizable && v.Staleness < 0 {
		return 0
	}
	n, _ := slices.BinarySearchFunc(writes, *v, func(w Write, v View) int {
		if v.Linearizable {
			return cmp.Compare(w.Returned, v.Call)
		}
		// At the same instant of virtual time the order is not known.
		if w.Ended < v.Began-min(v.Staleness, time.Hour) {
			return -1
		}
		return 1
	})
	return n
}

// checkAgreement: two views of one index are equal, whoever had them, and a view
// holds what the index of a write says.
func (e *Evidence) checkAgreement() {
	type place struct {
		key   string
		index uint64
	}
	views := make(map[place]View)
	removed := e.perhapsRemoved()
	writes := make(map[string][]Write)
	for _, w := range e.Writes {
		writes[w.Key] = append(writes[w.Key], w)
	}
	for _, v := range e.Views {
		if v.Key == "" {
			continue
		}
		at := place{v.Key, v.Index}
		if o, ok := views[at]; ok && (o.Found != v.Found || o.Value != v.Value || o.Revision != v.Revision) {
			e.failf("%s at index %d is %q @%d on %s and %q @%d on %s", v.Key, v.Index, o.Value, o.Revision, o.Node, v.Value, v.Revision, v.Node)
		}
		views[at] = v
		e.compare(&v, writes[v.Key])
		if newest := newestAt(writes[v.Key], v.Index); !v.Found && newest.Value != "" && !removed[v.Key] {
			e.failf("%s at index %d on %s does not exist; the write of index %d made it %q", v.Key, v.Index, v.Node, newest.Index, newest.Value)
		}
	}
}

// perhapsRemoved is the keys of removals of which nobody knows whether, or by
// which entry of the log, they were done.
func (e *Evidence) perhapsRemoved() map[string]bool {
	keys := make(map[string]bool)
	for key := range e.Unsure {
		keys[key] = true
	}
	for _, w := range e.Writes {
		if w.Replayed && w.Value == "" {
			keys[w.Key] = true
		}
	}
	return keys
}

// newestAt is the last of the writes that a state at index holds for certain.
func newestAt(writes []Write, index uint64) (newest Write) {
	for _, w := range writes {
		if w.Index <= index && w.Revision > newest.Revision {
			newest = w
		}
	}
	return newest
}

// compare checks a view against the acknowledged writes of its key: it shows the
// newest one that its index holds, or one that nobody knows of, and none later.
func (e *Evidence) compare(v *View, writes []Write) {
	if !v.Found {
		return
	}
	for _, w := range writes {
		switch {
		case w.Index <= v.Index && v.Revision < w.Revision:
			e.failf("%s at index %d on %s is %q @%d; the write of index %d made it %q @%d", v.Key, v.Index, v.Node, v.Value, v.Revision, w.Index, w.Value, w.Revision)
		case w.Index > v.Index && !w.Replayed && v.Revision >= w.Revision:
			e.failf("%s at index %d on %s is %q @%d; revision %d was given at index %d", v.Key, v.Index, v.Node, v.Value, v.Revision, w.Revision, w.Index)
		}
	}
}
