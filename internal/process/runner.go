package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"
)

// sampleEvery is how often the memory of groups is looked at.
const sampleEvery = time.Second

// Config is what a Runner is made of.
type Config struct {
	// Reaper is the program, with its arguments, that runs Reap: this very binary,
	// usually. Without one, a group is not killed when this process is.
	Reaper []string

	// Ended is told of each child that has ended and Flooded of one that writes more
	// to stderr than is read, once per child. They must not block. Nil: nobody is.
	Ended   func(p *Process)
	Flooded func(p *Process)

	Logger *slog.Logger // nil means discard
}

// A Runner starts children and sees to it that none outlives it. Any goroutine may
// use it; Run is called once.
type Runner struct {
	c   Config
	log *slog.Logger

	mu     sync.Mutex
	live   map[*Process]struct{}
	reaper *reaper // nil: none was needed yet, or none is configured
	closed bool

	running sync.WaitGroup // of live
}

// NewRunner makes a Runner.
func NewRunner(c Config) *Runner {
	if c.Ended == nil {
		c.Ended = func(*Process) {}
	}
	if c.Flooded == nil {
		c.Flooded = func(*Process) {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &Runner{c: c, log: c.Logger, live: make(map[*Process]struct{})}
}

// Run watches the memory of the children until ctx ends, then kills those that
// are left and waits for them. Nothing can be started afterwards.
func (r *Runner) Run(ctx context.Context) error {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			r.sample()
		case <-ctx.Done():
			r.close()
			return ctx.Err()
		}
	}
}

func (r *Runner) close() {
	r.mu.Lock()
	r.closed = true
	left := r.processes()
	r.mu.Unlock()
	for _, p := range left {
		p.Kill("the node stops")
	}
	r.running.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reaper != nil {
		r.reaper.close()
	}
}

// processes is called with r.mu held.
func (r *Runner) processes() []*Process {
	list := make([]*Process, 0, len(r.live))
	for p := range r.live {
		list = append(list, p)
	}
	return list
}

// errClosed says that a Runner starts nothing any more.
var errClosed = errors.New("this node is stopping")

// Start starts a child whose stderr goes to log.
func (r *Runner) Start(c Command, log *Log) (*Process, error) {
	p, theirs, err := r.prepare(c, log)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		for _, f := range theirs {
			f.Close()
		}
		p.closePipes()
		return nil, errClosed
	}
	r.running.Go(func() { p.live(theirs) })
	r.mu.Unlock()
	if err := <-p.begun; err != nil {
		return nil, err
	}
	return p, nil
}

// prepare makes everything but the process itself: theirs are its ends of the
// pipes.
func (r *Runner) prepare(c Command, log *Log) (_ *Process, theirs []*os.File, err error) {
	if err := c.Validate(); err != nil {
		return nil, nil, err
	}
	env, err := c.environment()
	if err != nil {
		return nil, nil, err
	}
	dir := c.Dir
	if dir == "" {
		dir = string(filepath.Separator)
	}
	p := &Process{
		runner: r, log: log, limit: c.MemoryLimit,
		turn: make(chan struct{}, 1), begun: make(chan error, 1), done: make(chan struct{}),
	}
	p.turn <- struct{}{}
	p.cmd = exec.Command(c.Path, c.Args...)
	p.cmd.Dir, p.cmd.Env, p.cmd.SysProcAttr = dir, env, ownSession()
	if p.cmd.Err != nil {
		return nil, nil, p.cmd.Err
	}
	var ours []*os.File
	for range 3 {
		read, write, err := os.Pipe()
		if err != nil {
			for _, f := range append(ours, theirs...) {
				f.Close()
			}
			return nil, nil, fmt.Errorf("a pipe to the process: %w", err)
		}
		if len(ours) == 0 { // its input: it has the end that reads
			read, write = write, read
		}
		ours, theirs = append(ours, read), append(theirs, write)
	}
	p.in, p.out, p.errs = ours[0], ours[1], ours[2]
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = theirs[0], theirs[1], theirs[2]
	return p, theirs, nil
}

// started is called by the goroutine of p, before anybody else knows it.
func (r *Runner) started(p *Process) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.live[p] = struct{}{}
	if r.closed {
		defer p.Kill("the node stops")
	}
	if len(r.c.Reaper) == 0 {
		return
	}
	if r.reaper == nil || r.reaper.add(p.PID()) != nil {
		if err := r.newReaper(); err != nil {
			r.log.Error("no helper that kills children when this process is killed", "error", err)
		}
	}
}

// newReaper starts a helper that knows all children. It is called with r.mu held.
func (r *Runner) newReaper() error {
	if r.reaper != nil {
		r.reaper.close()
		r.reaper = nil
	}
	fresh, err := startReaper(r.c.Reaper)
	if err != nil {
		return err
	}
	r.reaper = fresh
	for p := range r.live {
		if err := fresh.add(p.PID()); err != nil {
			return err
		}
	}
	return nil
}

func (r *Runner) ended(p *Process) {
	r.mu.Lock()
	delete(r.live, p)
	if r.reaper != nil {
		_ = r.reaper.remove(p.PID()) // a helper that is gone is noticed at the next start
	}
	r.mu.Unlock()
	r.c.Ended(p)
}

func (r *Runner) flooded(p *Process) {
	r.log.Warn("a child process writes to stderr faster than it is read; it waits", "pid", p.PID(), "bytes_per_second", LogRate)
	r.c.Flooded(p)
}

// sample looks at the memory of all groups, and kills those above their limit.
func (r *Runner) sample() {
	r.mu.Lock()
	list := r.processes()
	r.mu.Unlock()
	if len(list) == 0 {
		return
	}
	groups := residentByGroup()
	for _, p := range list {
		bytes := groups[p.PID()]
		p.resident.Store(bytes)
		if p.limit > 0 && bytes > p.limit {
			p.Kill(fmt.Sprintf("its group held %d MiB of memory, above its limit of %d MiB", bytes>>20, p.limit>>20))
		}
	}
}
