package supervise

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Why a group takes no more work.
var (
	ErrFull    = errors.New("the group is full")
	ErrStopped = errors.New("the group does not run")
)

// A Group runs work that comes and goes, such as one function per connection: at
// most so many at a time, never restarted. See [Supervisor.AddGroup].
type Group struct {
	name  string
	limit int

	mu     sync.Mutex
	owner  *Supervisor
	ctx    context.Context // of the work; nil while the group does not run
	active int
	wg     sync.WaitGroup
}

// NewGroup makes a group of at most limit functions at a time.
func NewGroup(name string, limit int) *Group { return &Group{name: name, limit: limit} }

// Go runs f on a goroutine of its own, with a context that ends when the group
// stops; f should then return. An error or a panic of f is logged and counted
// under the given name; it ends nothing else. Go never waits: it returns ErrFull or
// ErrStopped, and f is not run.
func (g *Group) Go(name string, f func(context.Context) error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.ctx == nil:
		return fmt.Errorf("%s: %w", g.name, ErrStopped)
	case g.active >= g.limit:
		return fmt.Errorf("%s: %w: %d run", g.name, ErrFull, g.limit)
	}
	g.active++
	ctx, owner := g.ctx, g.owner
	g.wg.Go(func() {
		defer g.leave()
		if err := contain(ctx, f); ctx.Err() == nil || isPanic(err) {
			owner.report(g.name+"/"+name, err, false)
		}
	})
	return nil
}

func (g *Group) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.active--
}

// run takes work until ctx ends and then waits for what still runs.
func (g *Group) run(ctx context.Context) error {
	g.mu.Lock()
	g.ctx = ctx
	g.mu.Unlock()
	<-ctx.Done()
	g.mu.Lock()
	g.ctx = nil // so that nothing is added while we wait
	g.mu.Unlock()
	g.wg.Wait()
	return nil
}

// Len is how many functions run now.
func (g *Group) Len() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.active
}
