package raftnode

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
)

const (
	freshInterval = 250 * time.Millisecond // between background points
	maxPoints     = 64                     // waiting for their index to be applied
)

// freshness knows how old this replica is at most. A point says that the state
// at its index was the newest at its moment, confirmed by a quorum; the age of
// the newest point whose index is applied bounds the staleness of a read. A
// deposed leader cannot make points, so no allowance for its lease is needed.
type freshness struct {
	mu     sync.Mutex
	newest point   // with an index that was applied when we last looked
	ahead  []point // by time; their index was not applied yet
}

// add notes a confirmed point.
func (f *freshness) add(p point) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.ahead) == maxPoints {
		// Far behind: keep every other, the oldest ones are applied soonest.
		for i := range maxPoints / 2 {
			f.ahead[i] = f.ahead[2*i]
		}
		f.ahead = f.ahead[:maxPoints/2]
	}
	f.ahead = append(f.ahead, p)
}

// staleness is the age of a state at index applied; math.MaxInt64 when nothing
// is known.
func (f *freshness) staleness(applied uint64) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	kept := f.ahead[:0]
	for _, p := range f.ahead {
		if p.index > applied {
			kept = append(kept, p)
		} else if p.at.After(f.newest.at) {
			f.newest = p
		}
	}
	f.ahead = kept
	if f.newest.at.IsZero() {
		return math.MaxInt64
	}
	return time.Since(f.newest.at)
}

// keepFresh makes a point every freshInterval, and looks whether the state
// machine waits for its disk. It never appends to the log.
func (n *Node) keepFresh(ctx context.Context) {
	for sleep(ctx, freshInterval) == nil {
		n.stalled.Store(n.fsm.Stats().Stalled)
		n.refresh(ctx)
	}
}

func (n *Node) refresh(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, termTimeout)
	defer cancel()
	at := time.Now()
	index, err := n.readIndex(ctx, true)
	if err != nil {
		return // the age of the newest point says it
	}
	n.freshness.add(point{at: at, index: index})
	n.metrics.staleness.Set(n.freshness.staleness(n.fsm.Meta().Index).Seconds())
}

// bounded is the staleness of this replica if it is at most limit. When it is
// not, one confirmation is tried.
func (n *Node) bounded(ctx context.Context, limit time.Duration) (time.Duration, error) {
	if s := n.freshness.staleness(n.fsm.Meta().Index); s <= limit {
		return s, nil
	}
	try, cancel := context.WithTimeout(ctx, max(termTimeout, min(limit, confirmTimeout)))
	defer cancel()
	p, err := n.confirm.point(try)
	if err == nil {
		err = n.machine.waits.wait(try, p.index)
	}
	if err == nil {
		n.freshness.add(p)
	}
	s := n.freshness.staleness(n.fsm.Meta().Index)
	if s <= limit {
		return s, nil
	}
	if s == math.MaxInt64 {
		return 0, fault.New(fault.Stale, "this replica has not heard from a leader since it started; at most %v was asked for", limit).
			WithHint("ask another node, or allow more staleness").After(retryNoLeader)
	}
	return 0, fault.New(fault.Stale, "this replica may be %v behind; at most %v was asked for", s.Round(time.Millisecond), limit).
		WithHint("ask another node, or allow more staleness").
		WithDetail("staleness_ms", itoa(s.Milliseconds())).After(retryNoLeader)
}
