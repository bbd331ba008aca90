package raftnode

import (
	"context"
	"sync"
	"time"

	"github.com/mcpraft/mcpraft/fsm"
)

// Pauses before a duty that failed is run again in the same term.
const (
	dutyRetryMin = time.Second
	dutyRetryMax = 30 * time.Second
)

// A Term is one term in which a node leads. A duty puts it into its requests
// (Request.Term): the state machine refuses them, as Fenced, in any other term.
type Term uint64

// Duty registers work that only the leader does. Whenever this node leads and
// its epoch has started, run is called on a goroutine of its own; its context
// ends with the term. It must return soon after that: the next term of this node
// waits for it. When run returns an error while the term goes on, it is called
// again after a growing pause; nil means that there is nothing more to do in
// this term. Duty may be called at any time; the name is for logs.
func (n *Node) Duty(name string, run func(ctx context.Context, term Term) error) {
	n.duties.add(duty{name: name, run: run})
}

type duty struct {
	name string
	run  func(context.Context, Term) error
}

// duties runs the registered work during each term that this node leads.
type duties struct {
	failed func(name string, term Term, err error)

	mu    sync.Mutex
	list  []duty
	begin func(duty) // starts one in the current term; nil outside of one
}

func (d *duties) add(w duty) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.list = append(d.list, w)
	if d.begin != nil {
		d.begin(w)
	}
}

// run does all duties until ctx ends, and waits for them.
func (d *duties) run(ctx context.Context, term Term) {
	var wg sync.WaitGroup
	defer wg.Wait()
	begin := func(w duty) { wg.Go(func() { d.repeat(ctx, term, w) }) }
	d.mu.Lock()
	d.begin = begin
	for _, w := range d.list {
		begin(w)
	}
	d.mu.Unlock()
	<-ctx.Done()
	d.mu.Lock()
	d.begin = nil
	d.mu.Unlock()
}

func (d *duties) repeat(ctx context.Context, term Term, w duty) {
	pause := dutyRetryMin
	for ctx.Err() == nil {
		err := w.run(ctx, term)
		if err == nil || ctx.Err() != nil {
			return
		}
		d.failed(w.name, term, err)
		if sleep(ctx, pause) != nil {
			return
		}
		pause = min(2*pause, dutyRetryMax)
	}
}

// proposeOwn appends a command of the node itself. term 0 means any term.
func (n *Node) proposeOwn(ctx context.Context, term Term, c fsm.Command) (fsm.Outcome, error) {
	p := n.ownProposal(uint64(term), c)
	encoded, err := fsm.EncodeProposal(p)
	if err != nil {
		return fsm.Outcome{}, err
	}
	a := n.submit(ctx, p.Actor, encoded)
	return a.outcome, a.err
}
