// Package supervise keeps the long-lived parts of the process running. A
// [Supervisor] starts its parts, restarts one that fails, and stops them all in
// reverse order; supervisors form a tree. Restarting is suture's work; the
// strategy, the intensity and the ordered stop are ours, because suture restarts
// each service for itself, for ever, and stops all at once.
//
//	root := supervise.New("mcpraft", supervise.OneForOne, options)
//	core := supervise.New("core", supervise.OneForAll, options)
//	core.Add("registry", registry.Run, supervise.Permanent)
//	root.AddSupervisor(core)
//	err := root.Run(ctx)
//
// # What is guaranteed
//
// Parts start in the order in which they were added, without waiting for one
// another to be ready, and stop one after another in the reverse order. A part
// that returns before its context has ended, or panics, has failed. With
// [OneForOne] it is started again; with [OneForAll] all parts of the supervisor
// are stopped and started again, because they share state that may be broken. A
// [Temporary] part is never started again by its own supervisor.
//
// More than 5 restarts within 10 seconds and the supervisor gives up: it stops its
// parts and has failed itself, as a part of its parent. The root then returns from
// Run, and the process should end.
//
// A part must return within 5 seconds of the end of its context. One that does not
// is left behind, and its whole tree gives up at once: starting it a second time
// beside itself would be worse than restarting the process.
//
// A panic counts as an error; its stack is logged. The caller of Run waits for
// everything that returns. Nothing is added to a supervisor that has begun to run:
// work that comes and goes belongs in a [Group].
package supervise

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// A Strategy says what a supervisor restarts when one of its parts fails.
type Strategy string

const (
	OneForOne Strategy = "one_for_one" // the part that failed
	OneForAll Strategy = "one_for_all" // all parts
)

// A Lifetime says whether a part is started again.
type Lifetime string

const (
	Permanent Lifetime = "permanent" // always
	Temporary Lifetime = "temporary" // never: it may end, with an error or without
)

// Limits of the tree.
const (
	maxRestarts = 5                // of one supervisor
	restartSpan = 10 * time.Second // in this time
	stopTimeout = 5 * time.Second  // for one part
)

// ErrStuck says that a part did not stop in time.
var ErrStuck = errors.New("did not stop in time")

// errEnded is the failure of a permanent part that returned nil.
var errEnded = errors.New("ended without being asked to")

// Options of a supervisor.
type Options struct {
	Logger *slog.Logger // nil means discard

	// Failed is told of every failure of a part, after it is logged: for metrics.
	// It may be called from several goroutines at once. nil means nobody is told.
	Failed func(Failure)
}

// A Failure of a part.
type Failure struct {
	Path     string // names from the root, joined by "/"
	Err      error  // why; of type *Panic if it panicked
	Restarts bool   // it is started again, alone or with its siblings
}

// A Panic is the error of a part that panicked.
type Panic struct {
	Value any
	Stack []byte
}

func (p *Panic) Error() string { return fmt.Sprintf("panic: %v", p.Value) }

// A Supervisor is one inner node of the tree. Add its parts, then call Run, or add
// it to another supervisor that is run.
type Supervisor struct {
	name     string
	strategy Strategy
	o        Options
	parts    []*part // in the order of their start; fixed once running

	mu       sync.Mutex // before part.mu
	parent   *Supervisor
	running  bool
	since    time.Time     // of running
	stopping bool          // no part is started any more
	gaveUp   error         // why this run ends; nil while it goes on
	over     chan struct{} // closed when gaveUp is set
	restarts []time.Time   // the newest, at most maxRestarts
}

// New makes a supervisor without parts. It panics on an unknown strategy.
func New(name string, strategy Strategy, o Options) *Supervisor {
	if strategy != OneForOne && strategy != OneForAll {
		panic(fmt.Sprintf("supervise: unknown strategy %q", strategy))
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Supervisor{name: name, strategy: strategy, o: o}
}

// Add adds a part: run works until its context ends and then returns; what it
// returns then is ignored. It is never called twice at the same time.
func (s *Supervisor) Add(name string, run func(context.Context) error, lifetime Lifetime) {
	s.add(&part{name: name, run: run, lifetime: lifetime, timeout: stopTimeout})
}

// AddSupervisor adds a supervisor, with all of its parts, as a permanent part. Add
// those parts first.
func (s *Supervisor) AddSupervisor(child *Supervisor) {
	child.mu.Lock()
	child.parent = s
	child.mu.Unlock()
	s.add(&part{name: child.name, run: child.run, lifetime: Permanent, child: child, timeout: child.timeout()})
}

// AddGroup adds a group as a permanent part.
func (s *Supervisor) AddGroup(g *Group) {
	g.mu.Lock()
	g.owner = s
	g.mu.Unlock()
	s.add(&part{name: g.name, run: g.run, lifetime: Permanent, group: g, timeout: stopTimeout})
}

func (s *Supervisor) add(p *part) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running {
		panic(fmt.Sprintf("supervise: %s was added to %s, which runs", p.name, s.name))
	}
	p.owner = s
	p.set(Waiting, nil)
	s.parts = append(s.parts, p)
}

// timeout is how long s may take to stop: its parts stop one after another.
func (s *Supervisor) timeout() time.Duration {
	sum := time.Second // for our own work
	for _, p := range s.parts {
		sum += p.timeout
	}
	return sum
}

// path is the name of s with those of its parents, and of the given part of s.
func (s *Supervisor) path(part string) string {
	path := s.name + "/" + part
	for s = s.up(); s != nil; s = s.up() {
		path = s.name + "/" + path
	}
	return path
}

func (s *Supervisor) up() *Supervisor {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.parent
}
