package sim

import (
	"cmp"
	"slices"
	"time"

	"github.com/mcpraft/mcpraft/raftnode"
	"github.com/mcpraft/mcpraft/test/model"
)

// checkLimit bounds the search for an explanation of one key's history, in real
// time.
const checkLimit = time.Minute

// check looks for contradictions in what was seen. It runs when the bubble has
// ended: porcupine's limits are of real time.
func (r *report) check() {
	r.checkRevisions()
	r.checkOrder()
	r.checkFreshness()
	r.checkAgreement()
	entries := r.entries.All()
	model.Resolve(entries, r.seen())
	for _, v := range model.CheckEntries(entries, checkLimit) {
		r.failf("entry %v", &v)
	}
	rules := model.SessionRules{TTL: sessionTTL, Tombstone: tombstoneTTL, Housekeeping: true}
	for _, v := range model.CheckSessions(r.sessions.All(), rules, checkLimit) {
		r.failf("session %v", &v)
	}
}

// seen is the revision of every value that somebody has seen.
func (r *report) seen() map[string]uint64 {
	seen := make(map[string]uint64)
	for _, v := range r.views {
		if v.found {
			seen[v.value] = v.revision
		}
	}
	return seen
}

// checkRevisions: a request is applied once or not at all, and no two changes
// have one revision.
func (r *report) checkRevisions() {
	of := make(map[string]uint64) // revision of each value
	see := func(by, value string, revision uint64) {
		if r.refused[value] {
			r.failf("%s: %s at revision %d was never applied, as its client was told", by, value, revision)
		}
		if had, ok := of[value]; ok && had != revision {
			r.failf("%s: %s was applied twice, at revisions %d and %d", by, value, had, revision)
		}
		of[value] = revision
	}
	at := make(map[uint64]write)
	for _, w := range r.writes {
		if other, ok := at[w.revision]; ok {
			r.failf("revision %d was given twice: %+v and %+v", w.revision, other, w)
		}
		at[w.revision] = w
		if w.timeline != r.writes[0].timeline {
			r.failf("timeline %v of %+v, before it was %v", w.timeline, w, r.writes[0].timeline)
		}
		if w.value != "" {
			see(w.client, w.value, w.revision)
		}
	}
	for _, v := range r.views {
		if v.found {
			see(v.client, v.value, v.revision)
		}
	}
}

// checkOrder: revisions, indexes and log times of changes grow together. Changes
// of one entry share its index and its time.
func (r *report) checkOrder() {
	firsts := slices.DeleteFunc(slices.Clone(r.writes), func(w write) bool { return w.replayed })
	slices.SortFunc(firsts, func(a, b write) int { return cmp.Compare(a.revision, b.revision) })
	for i := 1; i < len(firsts); i++ {
		a, b := firsts[i-1], firsts[i]
		if a.index > b.index || a.index == b.index && a.time != b.time || a.index < b.index && a.time >= b.time {
			r.failf("revisions %d and %d are of indexes %d and %d and log times %d and %d", a.revision, b.revision, a.index, b.index, a.time, b.time)
		}
	}
}

// checkFreshness: a view holds every write that was acknowledged before the
// moment that its staleness counts from, and not less than was asked for.
func (r *report) checkFreshness() {
	slices.SortFunc(r.writes, func(a, b write) int { return cmp.Compare(a.returned, b.returned) })
	newest := make([]write, len(r.writes)) // of those that returned until then
	for i, w := range r.writes {
		if newest[i] = w; i > 0 && newest[i-1].index > w.index {
			newest[i] = newest[i-1]
		}
	}
	for _, v := range r.views {
		if v.info.Index < v.minIndex {
			r.failf("%v read of %s on %s at index %d, at least %d was asked for", v.info.Mode, v.client, v.node, v.info.Index, v.minIndex)
		}
		if v.limit > 0 && v.info.Staleness > v.limit {
			r.failf("%v read of %s on %s is up to %v stale, at most %v was asked for", v.info.Mode, v.client, v.node, v.info.Staleness, v.limit)
		}
		known := r.before(&v)
		if known > 0 && newest[known-1].index > v.info.Index {
			w := newest[known-1]
			r.failf("%v read of %s on %s at index %d, called at %v, says it is at most %v stale; the write at index %d was acknowledged to %s at %v",
				v.info.Mode, v.client, v.node, v.info.Index, v.began, v.info.Staleness, w.index, w.client, w.ended)
		}
	}
}

// before is how many writes, in the order of their returns, v must reflect.
func (r *report) before(v *view) int {
	n, _ := slices.BinarySearchFunc(r.writes, *v, func(w write, v view) int {
		if v.info.Mode == raftnode.Linearizable {
			return cmp.Compare(w.returned, v.call)
		}
		// At the same instant of virtual time the order is not known.
		if w.ended < v.began-min(v.info.Staleness, time.Hour) {
			return -1
		}
		return 1
	})
	return n
}

// checkAgreement: two views of one index are equal, whoever had them, and a view
// holds what the index of a write says.
func (r *report) checkAgreement() {
	type place struct {
		key   string
		index uint64
	}
	views := make(map[place]view)
	removed := r.perhapsRemoved()
	writes := make(map[string][]write)
	for _, w := range r.writes {
		writes[w.key] = append(writes[w.key], w)
	}
	for _, v := range r.views {
		if v.key == "" {
			continue
		}
		at := place{v.key, v.info.Index}
		if o, ok := views[at]; ok && (o.found != v.found || o.value != v.value || o.revision != v.revision) {
			r.failf("%s at index %d is %q @%d on %s and %q @%d on %s", v.key, v.info.Index, o.value, o.revision, o.node, v.value, v.revision, v.node)
		}
		views[at] = v
		r.compare(&v, writes[v.key])
		if newest := newestAt(writes[v.key], v.info.Index); !v.found && newest.value != "" && !removed[v.key] {
			r.failf("%s at index %d on %s does not exist; the write of index %d made it %q", v.key, v.info.Index, v.node, newest.index, newest.value)
		}
	}
}

// perhapsRemoved is the keys of removals of which nobody knows whether, or by
// which entry of the log, they were done.
func (r *report) perhapsRemoved() map[string]bool {
	keys := make(map[string]bool)
	for _, w := range r.writes {
		if w.replayed && w.value == "" {
			keys[w.key] = true
		}
	}
	for _, o := range r.entries.All() {
		if o.Unknown() && o.In.Op == model.Unregister {
			keys[o.Key] = true
		}
	}
	return keys
}

// newestAt is the last of the writes that a state at index holds for certain.
func newestAt(writes []write, index uint64) (newest write) {
	for _, w := range writes {
		if w.index <= index && w.revision > newest.revision {
			newest = w
		}
	}
	return newest
}

// compare checks a view against the acknowledged writes of its key: it shows the
// newest one that its index holds, or one that nobody knows of, and none later.
func (r *report) compare(v *view, writes []write) {
	if !v.found {
		return
	}
	for _, w := range writes {
		switch {
		case w.index <= v.info.Index && v.revision < w.revision:
			r.failf("%s at index %d on %s is %q @%d; the write of index %d made it %q @%d", v.key, v.info.Index, v.node, v.value, v.revision, w.index, w.value, w.revision)
		case w.index > v.info.Index && !w.replayed && v.revision >= w.revision:
			r.failf("%s at index %d on %s is %q @%d; revision %d was given at index %d", v.key, v.info.Index, v.node, v.value, v.revision, w.revision, w.index)
		}
	}
}

// checkTally: the counter was raised once for each accepted request, and at most
// once for each that nobody knows of.
func (r *report) checkTally(number int, clients []*client) {
	var sum tally
	for _, c := range clients {
		sum.accepted += c.tallied.accepted
		sum.unknown += c.tallied.unknown
	}
	if number < sum.accepted || number > sum.accepted+sum.unknown {
		r.failf("the tally is %d after %d accepted raises and %d of unknown outcome", number, sum.accepted, sum.unknown)
	}
}

// operations is how much was asked and answered, for the summary of a seed.
func (r *report) operations() (all, unknown, refused int) {
	for _, o := range r.entries.All() {
		all++
		if o.Unknown() {
			unknown++
		}
	}
	for _, o := range r.sessions.All() {
		all++
		if o.Unknown() {
			unknown++
		}
	}
	return all, unknown, len(r.refused)
}
