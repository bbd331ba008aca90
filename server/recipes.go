package server

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode"
)

const (
	maxRecipes    = 4096            // upstreams kept in memory
	recipeLookups = 10              // unknown aliases a second that the leader is asked about
	recipeLimit   = 3 * time.Second // for such a question
)

// recipes are the records of upstreams for the message plane: in memory, and
// forgotten when a change of them is applied. A call costs a map.
type recipes struct {
	node    replica
	unknown *rate.Limiter

	mu         sync.Mutex
	known      map[string]record.Upstream
	generation uint64 // counts changes: what was read before one is not kept
}

func newRecipes(node replica) *recipes {
	return &recipes{node: node, unknown: rate.NewLimiter(recipeLookups, recipeLookups), known: make(map[string]record.Upstream)}
}

// changed is told of every change of this replica.
func (r *recipes) changed(list []fsm.Change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range list {
		switch c.Noun {
		case fsm.ChangedUpstream:
			delete(r.known, c.Key)
			r.generation++
		case fsm.ChangedAll:
			clear(r.known)
			r.generation++
		}
	}
}

// get is the upstream of that alias. One that this replica does not know may be
// newer than it, so the leader is asked before it is denied, within limits.
func (r *recipes) get(alias string) (record.Upstream, error) {
	r.mu.Lock()
	u, ok := r.known[alias]
	r.mu.Unlock()
	if ok {
		return u, nil
	}
	u, err := r.read(alias, raftnode.Any)
	if fault.Of(err) != fault.NotFound || record.ValidAlias(alias) != nil || !r.unknown.Allow() {
		return u, err
	}
	if fresh, err := r.read(alias, raftnode.Linearizable); err == nil {
		return fresh, nil
	}
	return u, err
}

func (r *recipes) read(alias string, mode raftnode.ReadMode) (record.Upstream, error) {
	ctx, cancel := context.WithTimeout(context.Background(), recipeLimit)
	defer cancel()
	r.mu.Lock()
	generation := r.generation
	r.mu.Unlock()
	view, _, err := r.node.Read(ctx, raftnode.ReadOptions{Mode: mode})
	if err != nil {
		return record.Upstream{}, err
	}
	defer view.Close()
	u, err := view.Upstream(0, alias)
	if fault.Of(err) == fault.NotFound {
		return u, fault.New(fault.NotFound, "there is no upstream %q", alias).
			WithHint("mcpraft upstreams ls lists those that there are, mcpraft upstreams add NAME URL adds one")
	}
	if err != nil {
		return u, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.generation == generation && len(r.known) < maxRecipes {
		r.known[alias] = u
	}
	return u, nil
}
