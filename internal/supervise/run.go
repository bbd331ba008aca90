package supervise

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/thejerf/suture/v4"
)

// Run starts the tree and keeps it running until ctx ends; it then stops the parts
// and returns nil. An error says why it gave up: the caller should log it and end
// the process. Run may be called again after it returned, unless the error is
// ErrStuck.
func (s *Supervisor) Run(ctx context.Context) error { return s.run(ctx) }

func (s *Supervisor) run(ctx context.Context) error {
	s.begin()
	// The parts must not see the end of ctx before it is their turn.
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	tree := suture.New(s.name, suture.Spec{
		EventHook:         func(suture.Event) {}, // we log, with more to say
		PassThroughPanics: true,                  // parts contain their own
		FailureThreshold:  math.MaxFloat64,       // no pause: we give up instead
		Timeout:           s.timeout(),           // longer than we wait before it
	})
	for _, u := range s.units() {
		tree.Add(u)
	}
	served := tree.ServeBackground(base)
	select {
	case <-ctx.Done():
	case <-s.over:
	}
	err := s.end()
	cancel()
	<-served //nolint:errcheck // parts report what they fail of
	return err
}

func (s *Supervisor) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running {
		panic("supervise: " + s.name + " runs already")
	}
	s.running, s.since, s.stopping = true, time.Now(), false
	s.gaveUp, s.over, s.restarts = nil, make(chan struct{}), nil
	for _, p := range s.parts {
		p.set(Waiting, nil)
	}
}

// end stops the parts and says why the run is over.
func (s *Supervisor) end() error {
	s.mu.Lock()
	s.stopping = true
	s.mu.Unlock()
	stuck := stop(s.parts)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running, s.since = false, time.Now()
	if stuck != nil && !errors.Is(s.gaveUp, ErrStuck) {
		s.gaveUp = errors.Join(s.gaveUp, stuck)
	}
	if s.gaveUp != nil {
		return fmt.Errorf("supervisor %s gave up: %w", s.name, s.gaveUp)
	}
	return nil
}

// giveUp ends this run, unless it is ending, for the reason err.
func (s *Supervisor) giveUp(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gaveUp == nil && !s.stopping {
		s.gaveUp = err
		close(s.over)
	}
}

// start begins a life of p, or returns nil if p is not to be started any more.
func (s *Supervisor) start(ctx context.Context, p *part) func() error {
	s.mu.Lock() // so that whoever sets stopping sees every part that was started
	defer s.mu.Unlock()
	if s.stopping || s.gaveUp != nil || p.finished() {
		return nil
	}
	return p.begin(ctx)
}

// mayRestart counts a restart and reports whether it is within the intensity.
func (s *Supervisor) mayRestart() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping || s.gaveUp != nil {
		return false
	}
	now := time.Now()
	s.restarts = slices.DeleteFunc(s.restarts, func(t time.Time) bool { return now.Sub(t) > restartSpan })
	if len(s.restarts) >= maxRestarts {
		return false
	}
	s.restarts = append(s.restarts, now)
	return true
}

// A unit is what suture restarts as one: a single part with OneForOne, all parts
// with OneForAll.
type unit struct {
	s     *Supervisor
	parts []*part
}

func (s *Supervisor) units() []*unit {
	if s.strategy == OneForAll {
		return []*unit{{s, s.parts}}
	}
	var units []*unit
	for _, p := range s.parts {
		units = append(units, &unit{s, []*part{p}})
	}
	return units
}

// String keeps suture from printing the unit with everything below it.
func (u *unit) String() string { return u.s.name }

// Serve is one life of the unit. suture calls it again if it returns an error that
// is not ErrDoNotRestart.
func (u *unit) Serve(ctx context.Context) error {
	failed, err := u.live(ctx)
	if failed == nil {
		return suture.ErrDoNotRestart
	}
	stuck := stop(u.parts)
	restart := stuck == nil && !errors.Is(err, ErrStuck) && u.s.mayRestart()
	u.s.report(failed.name, err, restart)
	switch {
	case restart:
		for _, p := range u.parts {
			p.restarted()
		}
		return err
	case stuck != nil:
		u.s.giveUp(stuck)
	case errors.Is(err, ErrStuck):
		u.s.giveUp(err)
	default:
		u.s.giveUp(fmt.Errorf("more than %d restarts in %v, last of %s: %w", maxRestarts, restartSpan, failed.name, err))
	}
	return suture.ErrDoNotRestart
}

// live starts the parts and returns the first permanent one that fails; nil when
// all have ended otherwise or ctx ends, which is after they were stopped.
func (u *unit) live(ctx context.Context) (*part, error) {
	type end struct {
		p   *part
		err error
	}
	ends := make(chan end, len(u.parts))
	alive := 0
	for _, p := range u.parts {
		if life := u.s.start(ctx, p); life != nil {
			alive++
			go func() { ends <- end{p, life()} }() // stop waits for it
		}
	}
	for ; alive > 0; alive-- {
		select {
		case e := <-ends:
			if e.err != nil && e.p.lifetime == Permanent {
				return e.p, e.err
			}
			u.s.report(e.p.name, e.err, false)
		case <-ctx.Done():
			return nil, nil
		}
	}
	return nil, nil
}

// report logs and counts the failure of the part of that name.
func (s *Supervisor) report(name string, err error, restarts bool) {
	if err == nil {
		return
	}
	f := Failure{Path: s.path(name), Err: err, Restarts: restarts}
	attrs := []any{"part", f.Path, "error", err, "restarts", restarts}
	if panicked, ok := errors.AsType[*Panic](err); ok {
		attrs = append(attrs, "stack", string(panicked.Stack))
	}
	s.o.Logger.Error("a part of the process failed", attrs...)
	if s.o.Failed != nil {
		s.o.Failed(f)
	}
}
