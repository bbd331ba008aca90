package wal

import (
	"cmp"
	"slices"

	"github.com/mcpraft/mcpraft/fsm/record"
)

// A Base is a backup that a recovery can begin with.
type Base struct {
	Index   uint64
	LogTime record.LogTime
}

// Retain says what the promise costs that every point since a log time can be
// restored, as far as it can be restored now: which of bases (of this timeline, and
// good) it needs, and which segments nobody needs any more. It is pure.
//
// A point in a run is restored from a base in front of it and the segments between.
// So each run needs its newest base that is not behind the promise, or if all are,
// its oldest; what lies wholly in front of that base is not needed. A run without a
// base is kept as long as it may lie behind the promise: a base for it may be
// elsewhere. Orphans are not needed once the chain has gone on.
func (c Chain) Retain(bases []Base, since record.LogTime) (needed []Base, expired []Ref) {
	for i, run := range c.Runs {
		base, ok := run.base(bases, since)
		if ok {
			needed = append(needed, base)
			expired = append(expired, run.before(base.Index)...)
		} else if i+1 < len(c.Runs) && c.Runs[i+1][0].FirstTime < since {
			expired = append(expired, run...)
		}
	}
	if len(c.Runs) > 0 {
		tip := c.Runs[len(c.Runs)-1]
		for _, r := range c.Orphans {
			if r.Sequence < tip[len(tip)-1].Sequence {
				expired = append(expired, r)
			}
		}
	}
	slices.SortFunc(needed, func(a, b Base) int { return cmp.Compare(a.Index, b.Index) })
	return slices.Compact(needed), expired
}

// base is the base that points of the run since then are restored from.
func (r Run) base(bases []Base, since record.LogTime) (best Base, ok bool) {
	for _, b := range bases {
		if !r.Follows(b.Index) {
			continue
		}
		// The newest up to since; of those behind it, the oldest.
		older, newer := b.LogTime <= since && b.Index > best.Index, best.LogTime > since && b.Index < best.Index
		if !ok || older || newer {
			best, ok = b, true
		}
	}
	return best, ok
}

// Follows reports whether a recovery can go on from index with this run, be it for
// no entry at all.
func (r Run) Follows(index uint64) bool { return index+1 >= r.First() && index <= r.Last() }

// before is the segments that lie wholly at or in front of index.
func (r Run) before(index uint64) []Ref {
	n := 0
	for n < len(r) && r[n].Last <= index {
		n++
	}
	return slices.Clip(r[:n])
}
