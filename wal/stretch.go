package wal

import (
	"cmp"
	"slices"

	"github.com/mcpraft/mcpraft/fsm/record"
)

// A Stretch is a part of a timeline every point of which can be restored: from a
// backup at First, and the segments up to Last.
type Stretch struct {
	Timeline    record.Timeline
	First, Last uint64         // indexes, both included; equal for a backup alone
	From        record.LogTime // of the point First
	Until       record.LogTime // the point Last is not older: when the last segment begins, to the millisecond
}

// Covers reports whether the point at index can be restored.
func (s Stretch) Covers(index uint64) bool { return s.First <= index && index <= s.Last }

// Stretches says what of a timeline can be restored from these bases (of this
// timeline, and good) and the segments of c, in the order of the log. It is pure.
func (c Chain) Stretches(bases []Base) []Stretch {
	bases = slices.SortedFunc(slices.Values(bases), func(a, b Base) int { return cmp.Compare(a.Index, b.Index) })
	var list []Stretch
	for _, b := range bases {
		s := c.from(b)
		if n := len(list); n > 0 && list[n-1].Covers(b.Index) {
			list[n-1].extend(s)
			continue
		}
		list = append(list, s)
	}
	return list
}

// from is what can be restored from b alone. A backup may stand at the end of one
// run and in front of the next.
func (c Chain) from(b Base) Stretch {
	s := Stretch{Timeline: c.Timeline, First: b.Index, Last: b.Index, From: b.LogTime, Until: b.LogTime}
	for _, run := range c.Runs {
		if run.Follows(b.Index) && run.Last() > s.Last {
			s.Last, s.Until = run.Last(), max(s.Until, run[len(run)-1].FirstTime)
		}
	}
	return s
}

// extend adds to s a stretch that begins in it.
func (s *Stretch) extend(t Stretch) {
	if t.Last >= s.Last {
		s.Last, s.Until = t.Last, max(s.Until, t.Until)
	}
}
