package sim

import (
	"time"

	"github.com/mcpraft/mcpraft/test/model"
)

// checkLimit bounds the search for an explanation of one key's history, in real
// time.
const checkLimit = time.Minute

// check looks for contradictions in what was seen. It runs when the bubble has
// ended: porcupine's limits are of real time.
func (r *report) check() {
	entries := r.entries.All()
	for _, o := range entries {
		if o.Unknown() && o.In.Op == model.Unregister {
			r.evidence.Unsure[o.Key] = true
		}
	}
	for _, contradiction := range r.evidence.Check() {
		r.failf("%s", contradiction)
	}
	model.Resolve(entries, r.evidence.Seen())
	for _, v := range model.CheckEntries(entries, checkLimit) {
		r.failf("entry %v", &v)
	}
	rules := model.SessionRules{TTL: sessionTTL, Tombstone: tombstoneTTL, Housekeeping: true}
	for _, v := range model.CheckSessions(r.sessions.All(), rules, checkLimit) {
		r.failf("session %v", &v)
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
	return all, unknown, len(r.evidence.Refused)
}
