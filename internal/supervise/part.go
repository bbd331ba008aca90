package supervise

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"
)

// A State is what a part is doing.
type State string

const (
	Waiting State = "waiting" // not started, or about to be started again
	Running State = "running"
	Stopped State = "stopped" // asked to and done, or, if it is temporary, ended
	Failed  State = "failed"  // ended with an error and not started again yet
	Stuck   State = "stuck"   // asked to stop, and did not in time
)

// A part is one leaf or subtree of a supervisor.
type part struct {
	owner    *Supervisor
	name     string
	run      func(context.Context) error
	lifetime Lifetime
	timeout  time.Duration // to stop
	child    *Supervisor   // nil for a leaf
	group    *Group        // nil unless the part is one

	mu       sync.Mutex
	state    State
	since    time.Time // of state
	restarts int
	last     error              // newest failure
	cancel   context.CancelFunc // of this life
	done     chan struct{}      // closed when this life is over; nil before the first
	below    error              // what is stuck below this part
}

// set changes the state; err is the failure that led to it, if one did.
func (p *part) set(state State, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state, p.since = state, time.Now()
	if err != nil {
		p.last = err
	}
}

// begin makes the part count as running and returns its life: a function that
// works until the part fails, or until it has stopped as it was asked to.
func (p *part) begin(ctx context.Context) func() error {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	p.mu.Lock()
	p.cancel, p.done = cancel, done
	p.mu.Unlock()
	p.set(Running, nil)
	return func() error {
		defer close(done)
		defer cancel()
		return p.judge(ctx, contain(ctx, p.run))
	}
}

// judge says what it means that run has returned err: nil if that is no failure.
func (p *part) judge(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		p.set(Stopped, p.atStop(err))
		return nil //nolint:nilerr // it was told to stop
	case err == nil && p.lifetime == Temporary:
		p.set(Stopped, nil)
		return nil
	case err == nil:
		err = errEnded
	}
	p.set(Failed, err)
	return err
}

// atStop keeps the two errors that matter of a part that was asked to stop.
func (p *part) atStop(err error) error {
	switch {
	case isPanic(err):
		p.owner.report(p.name, err, false)
		return err
	case errors.Is(err, ErrStuck):
		p.mu.Lock()
		defer p.mu.Unlock()
		p.below = err
		return err
	default:
		return nil
	}
}

// contain turns a panic of run into an error.
func contain(ctx context.Context, run func(context.Context) error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &Panic{Value: v, Stack: debug.Stack()}
		}
	}()
	return run(ctx)
}

func isPanic(err error) bool {
	_, ok := errors.AsType[*Panic](err)
	return ok
}

// restarted makes a permanent part wait for its next life.
func (p *part) restarted() {
	if p.lifetime == Temporary {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.restarts++
	p.state, p.since = Waiting, time.Now()
}

// finished reports whether the part is temporary and has had its life.
func (p *part) finished() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lifetime == Temporary && p.state != Waiting
}

// stop ends the parts in reverse order, each when the one after it has returned. A
// part that does not return in time is left behind; the error names them all.
func stop(parts []*part) error {
	var errs []error
	for _, p := range slices.Backward(parts) {
		errs = append(errs, p.stop())
	}
	return errors.Join(errs...)
}

func (p *part) stop() error {
	p.mu.Lock()
	cancel, done := p.cancel, p.done
	p.mu.Unlock()
	if done == nil {
		return nil
	}
	cancel()
	late := time.NewTimer(p.timeout)
	defer late.Stop()
	select {
	case <-done:
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.below
	case <-late.C:
		p.set(Stuck, nil)
		return fmt.Errorf("%s %w (%v)", p.name, ErrStuck, p.timeout)
	}
}
