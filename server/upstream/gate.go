package upstream

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

// What a pool is when its record says nothing.
const (
	DefaultPoolSize     = 256 // connections kept
	DefaultPoolOverflow = 256 // further ones, closed on return
	DefaultPoolWait     = 5 * time.Second
	DefaultKeepAlive    = 90 * time.Second
)

// maxWaiting is how many calls may wait for a place, per upstream.
const maxWaiting = 4096

// A gate lets as many calls through to an upstream as its pool has connections.
// What belongs to a call that is inside (answers to the upstream's requests,
// cancellations) never waits here: the call would wait for itself.
type gate struct {
	slots     *semaphore.Weighted // fair: first come, first served
	size      int
	overflow  int
	keepAlive time.Duration
	wait      time.Duration

	inside  atomic.Int64
	waiting atomic.Int64
	refused atomic.Uint64
}

func newGate(p record.Pool) *gate {
	g := &gate{size: int(p.Size), overflow: int(p.MaxOverflow), keepAlive: milliseconds(p.KeepAlive), wait: milliseconds(p.Timeout)}
	if p.Size == 0 {
		g.size = DefaultPoolSize
		if p.MaxOverflow == 0 {
			g.overflow = DefaultPoolOverflow
		}
	}
	if g.keepAlive == 0 {
		g.keepAlive = DefaultKeepAlive
	}
	if g.wait == 0 {
		g.wait = DefaultPoolWait
	}
	g.slots = semaphore.NewWeighted(int64(g.size + g.overflow))
	return g
}

func milliseconds(n uint64) time.Duration { return time.Duration(n) * time.Millisecond }

var errFull = errors.New("no place in the pool")

// enter waits for a place, at most the pool's timeout. After nil the caller
// must leave.
func (g *gate) enter(ctx context.Context, alias string) error {
	if !g.slots.TryAcquire(1) {
		if err := g.queue(ctx, alias); err != nil {
			return err
		}
	}
	g.inside.Add(1)
	return nil
}

func (g *gate) queue(ctx context.Context, alias string) error {
	if g.waiting.Add(1) > maxWaiting {
		g.waiting.Add(-1)
		return g.full(alias, 0)
	}
	defer g.waiting.Add(-1)
	wait, cancel := context.WithTimeoutCause(ctx, g.wait, errFull)
	defer cancel()
	err := g.slots.Acquire(wait, 1)
	if err != nil && context.Cause(wait) == errFull {
		return g.full(alias, g.wait)
	}
	return err
}

func (g *gate) full(alias string, waited time.Duration) error {
	g.refused.Add(1)
	return fault.New(fault.Overloaded, "upstream %q: all %d places of its pool stayed taken for %v", alias, g.size+g.overflow, waited).
		WithHint("try again, or raise pool.size or pool.max_overflow of the upstream").
		WithDetail("upstream", alias).After(time.Second)
}

func (g *gate) leave() {
	g.inside.Add(-1)
	g.slots.Release(1)
}
