package archive

import (
	"context"
	"sync"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/raftnode"
)

// maxLagScan bounds the entries that one look at the lag reads.
const maxLagScan = 10_000

// A Lag is what would be lost now if every node were.
type Lag struct {
	Entries uint64         // applied and not archived, the cluster's own upkeep included
	Since   record.LogTime // of the oldest change that is not archived; 0: there is none
	Bytes   int64          // that the log takes on this node, archived or not
}

// Age is for how long the oldest change waits; 0: none does. It is what would be
// lost, in time.
func (l Lag) Age(now time.Time) time.Duration {
	if l.Since == 0 {
		return 0
	}
	return max(now.Sub(l.Since.Time()), 0)
}

// Lag is measured on this node's replica and log, and asks nobody.
func (a *Archiver) Lag(ctx context.Context) (Lag, error) {
	at, err := a.place(ctx)
	if err != nil {
		return Lag{}, err
	}
	return a.lag(at)
}

func (a *Archiver) lag(at place) (Lag, error) {
	span, err := a.c.Log.LogRange()
	if err != nil {
		return Lag{}, err
	}
	from := max(at.Last+1, span.First) // what this node does not have, it cannot look into
	lag := Lag{Bytes: a.c.Log.LogBytes()}
	if span.Applied <= at.Last {
		return lag, nil
	}
	lag.Entries = span.Applied - at.Last
	lag.Since, err = a.scan.oldest(a.c.Log, from, span)
	return lag, err
}

// lagScan remembers how far the log was looked through for the oldest change that is
// not archived, so that each look reads only what is new.
type lagScan struct {
	mu    sync.Mutex
	from  uint64 // where the search began
	next  uint64 // where it goes on
	since record.LogTime
}

func (s *lagScan) oldest(log Log, from uint64, span raftnode.LogRange) (record.LogTime, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if from != s.from {
		s.from, s.next, s.since = from, from, 0
	}
	to := min(span.Applied, s.next+maxLagScan)
	if s.since != 0 || s.next > to {
		return s.since, nil
	}
	for e, err := range log.Entries(s.next, to) {
		if err != nil {
			return 0, err
		}
		if s.next = e.Index + 1; matters(e) {
			s.since = e.LogTime
			return s.since, nil
		}
	}
	s.next = to + 1
	return 0, nil
}
