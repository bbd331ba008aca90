package upstream

import (
	"context"
	"errors"
	"sync"
	"time"
)

// errTimeout is the cause of a call's context when its clock ran out.
var errTimeout = errors.New("the time of the call was up")

// A clock ends a call that takes too long: timeout after it last showed a sign
// of life, and at the end of longest in any case. It stands still while the
// upstream waits for an answer of ours: people take their time.
type clock struct {
	cancel  context.CancelCauseFunc
	timer   *time.Timer
	timeout time.Duration
	end     time.Time

	mu     sync.Mutex
	paused int
}

func startClock(ctx context.Context, timeout, longest time.Duration) (context.Context, *clock) {
	ctx, cancel := context.WithCancelCause(ctx)
	c := &clock{cancel: cancel, timeout: timeout, end: time.Now().Add(max(longest, timeout))}
	c.timer = time.AfterFunc(timeout, func() { cancel(errTimeout) })
	return ctx, c
}

func (c *clock) stop() {
	c.timer.Stop()
	c.cancel(nil)
}

// alive starts the time anew.
func (c *clock) alive() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.set()
}

func (c *clock) pause() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.paused++
	c.set()
}

func (c *clock) resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.paused--
	c.set()
}

// set is called with mu held. A timer that has fired is not wound again: the
// call is over.
func (c *clock) set() {
	if !c.timer.Stop() {
		return
	}
	left := time.Until(c.end)
	if c.paused == 0 {
		left = min(left, c.timeout)
	}
	c.timer.Reset(left)
}
