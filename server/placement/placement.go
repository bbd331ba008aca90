package placement

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode"
	"github.com/mcpraft/mcpraft/raftnode/peer"
)

const (
	// Lease is how long a node holds what it holds after it has last asked for it.
	Lease = 3 * time.Second

	renewEvery = Lease / 6
	takeAfter  = 2 * Lease // from the last sign of life of a node until its claims are given to others
	askEvery   = 200 * time.Millisecond
	maxKnown   = 1 << 16 // claims kept in memory; the rest is read when it is asked for
)

// A Replica is this node's replica of the state; *raftnode.Node is one.
type Replica interface {
	Read(ctx context.Context, o raftnode.ReadOptions) (*fsm.View, raftnode.ReadInfo, error)
	Propose(ctx context.Context, r raftnode.Request) (raftnode.Receipt, error)
	Watch(func(changes []fsm.Change))
}

// Peers are the other nodes; *raftnode.Node is one.
type Peers interface {
	Handle(op uint16, h peer.Handler)
	Call(ctx context.Context, node string, op uint16, body []byte) ([]byte, error)
	Leader() (node, addr string, ok bool)
}

// Duties are what only the leader does; *raftnode.Node is one.
type Duties interface {
	Duty(name string, run func(ctx context.Context, term raftnode.Term) error)
}

// A Node is what a Placement stands on; *raftnode.Node is one.
type Node interface {
	Replica
	Peers
	Duties
}

// Config is what a Placement is made of.
type Config struct {
	Node    Node
	Self    string    // name of this node
	Process record.ID // of this start of it
	Actor   record.Principal

	Logger *slog.Logger // nil means discard
}

// A Placement is the part of one node in placing children. Any goroutine may use
// it; one Run is running at a time.
type Placement struct {
	c       Config
	node    Node
	log     *slog.Logger
	terms   terms         // the leader's part
	changes chan struct{} // holds one

	mu         sync.Mutex
	known      map[string]record.Claim
	generation uint64        // counts changes: what was read before one is not kept
	moved      chan struct{} // closed at the next change
	until      time.Time     // when the lease ends; zero: there is none
	told       bool          // the reader of Changes knows that there is a lease
	leaving    bool
}

// New makes a Placement, registers its operations and its duty with the node, and
// follows the state.
func New(c Config) *Placement {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	p := &Placement{c: c, node: c.Node, log: c.Logger, changes: make(chan struct{}, 1), known: make(map[string]record.Claim), moved: make(chan struct{})}
	p.serve()
	c.Node.Watch(p.watch)
	c.Node.Duty("placement", p.lead)
	return p
}

// watch is told of every change of this replica.
func (p *Placement) watch(changes []fsm.Change) {
	relevant := false
	p.mu.Lock()
	for _, c := range changes {
		switch c.Noun {
		case fsm.ChangedAll:
			clear(p.known)
			relevant = true
		case fsm.ChangedClaim:
			if _, _, ok := record.ParseChildClaim(c.Key); ok {
				delete(p.known, c.Key)
				relevant = true
			}
		case fsm.ChangedUpstream:
			relevant = true
		}
	}
	if relevant {
		p.generation++
		p.wake()
	}
	p.mu.Unlock()
	if relevant {
		p.changed()
	}
}

// Changes brings something after claims on children, or upstreams, have changed,
// and when this node has lost its lease or has it again. It has one reader.
func (p *Placement) Changes() <-chan struct{} { return p.changes }

func (p *Placement) changed() {
	select {
	case p.changes <- struct{}{}:
	default:
	}
}

// wake is called with p.mu held.
func (p *Placement) wake() {
	close(p.moved)
	p.moved = make(chan struct{})
}

// Known is the claim of that name in this node's replica: a fault.NotFound if
// nobody has it. It waits for nothing.
func (p *Placement) Known(name string) (record.Claim, error) {
	p.mu.Lock()
	claim, ok := p.known[name]
	generation := p.generation
	p.mu.Unlock()
	if ok {
		return claim, nil
	}
	view, _, err := p.node.Read(context.Background(), raftnode.ReadOptions{Mode: raftnode.Any})
	if err != nil {
		return record.Claim{}, err
	}
	defer view.Close()
	claim, err = view.Claim(name)
	if err != nil {
		return record.Claim{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.generation == generation && len(p.known) < maxKnown {
		p.known[name] = claim
	}
	return claim, nil
}

// Find is who holds the claim of that name. If nobody does, a node is looked for
// that offers command; of the claims of one upstream there are at most limit. It
// waits for a leader, for nodes and for leases until ctx ends and says then what
// it waited for. It is Unsupported if no node has the command, Overloaded at the
// limit.
func (p *Placement) Find(ctx context.Context, name, command string, limit int) (record.Claim, error) {
	for {
		p.mu.Lock()
		moved := p.moved
		p.mu.Unlock()
		claim, err := p.Known(name)
		former := claim.Node == p.c.Self && claim.Process != p.c.Process // of this node, before it was started again
		if err == nil && !former {
			return claim, nil
		}
		if err == nil || fault.Of(err) == fault.NotFound {
			claim, err = p.ask(ctx, placeRequest{Name: name, Command: command, Limit: limit})
		}
		if err == nil && (claim.Node != p.c.Self || claim.Process == p.c.Process) {
			return p.applied(ctx, claim)
		}
		if kind := fault.Of(err); kind == fault.Overloaded || kind == fault.Unsupported {
			return record.Claim{}, err
		}
		if err == nil {
			err = fault.New(fault.Unavailable, "what node %s ran before it was started again is not placed yet", claim.Node).After(time.Second)
		}
		select {
		case <-moved:
		case <-time.After(askEvery):
		case <-ctx.Done():
			return record.Claim{}, err
		}
	}
}

// applied gives claim once this replica has it, or a newer one, if it is ours: Held
// must know it.
func (p *Placement) applied(ctx context.Context, claim record.Claim) (record.Claim, error) {
	for claim.Node == p.c.Self {
		p.mu.Lock()
		moved := p.moved
		p.mu.Unlock()
		if known, err := p.Known(claim.Name); err == nil && known.Token >= claim.Token {
			break
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return claim, context.Cause(ctx)
		}
	}
	return claim, nil
}

// Held reports whether this process holds the claim of that name under a lease,
// and under which token.
func (p *Placement) Held(name string) (token uint64, ok bool) {
	if !p.leased(time.Now()) {
		return 0, false
	}
	claim, err := p.Known(name)
	return claim.Token, err == nil && claim.Process == p.c.Process
}

// Own lists the claims on children that this process has, with a lease or
// without.
func (p *Placement) Own() ([]record.Claim, error) {
	view, _, err := p.node.Read(context.Background(), raftnode.ReadOptions{Mode: raftnode.Any})
	if err != nil {
		return nil, err
	}
	defer view.Close()
	var own []record.Claim
	for claim, err := range view.Claims(record.ChildPrefix) {
		if err != nil {
			return nil, err
		}
		if claim.Process == p.c.Process {
			own = append(own, claim)
		}
	}
	return own, nil
}

// Release gives a claim of this process up. What it stood for must have ended.
func (p *Placement) Release(ctx context.Context, name string, token uint64) error {
	r, err := p.node.Propose(ctx, raftnode.Request{Actor: p.c.Actor, Command: &fsm.ReleaseClaim{Name: name, Token: token}})
	if err != nil {
		return err
	}
	if kind := r.Outcome.Kind; kind == fault.NotFound || kind == fault.Fenced {
		return nil // somebody was faster
	}
	return r.Outcome.Err()
}

// Move gives a claim of this process to another node that offers command. What it
// stood for must have ended. Unavailable: there is no such node, and the claim
// stays.
func (p *Placement) Move(ctx context.Context, name string, token uint64, command string) error {
	_, err := p.ask(ctx, placeRequest{Name: name, Command: command, From: p.c.Self, Token: token})
	return err
}
