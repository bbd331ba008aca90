package upstream

import (
	"context"
	"sync"
)

// A flight lets one of several callers do a piece of work for all of them. The
// work runs on the goroutine and under the context of whoever came first. If it
// fails because that one's context has ended, which says nothing to the others,
// the next one takes over.
type flight[T any] struct {
	mu      sync.Mutex
	running *attempt[T]
}

type attempt[T any] struct {
	done      chan struct{} // closed when what follows is set
	value     T
	err       error
	abandoned bool
}

func (f *flight[T]) do(ctx context.Context, work func() (T, error)) (T, error) {
	for {
		f.mu.Lock()
		a := f.running
		if a == nil {
			a = &attempt[T]{done: make(chan struct{})}
			f.running = a
			f.mu.Unlock()
			return f.lead(ctx, a, work)
		}
		f.mu.Unlock()
		select {
		case <-a.done:
		case <-ctx.Done():
			var none T
			return none, context.Cause(ctx)
		}
		if !a.abandoned {
			return a.value, a.err
		}
	}
}

func (f *flight[T]) lead(ctx context.Context, a *attempt[T], work func() (T, error)) (T, error) {
	a.value, a.err = work()
	a.abandoned = a.err != nil && ctx.Err() != nil
	f.mu.Lock()
	f.running = nil
	f.mu.Unlock()
	close(a.done)
	return a.value, a.err
}
