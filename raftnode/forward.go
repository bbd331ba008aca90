package raftnode

import (
	"context"
	"time"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode/peer"
)

const (
	maxForwarded      = fsm.MaxEnvelopeCommands
	maxForwardedBytes = 512 << 10        // below the limit of a frame, with room for its answers
	forwardTimeout    = 10 * time.Second // of one batch; its callers may give up before
)

// toLeader sends batches to the leader's node. Commands go one hop: those that
// came from another node already are given back to it, and it looks again who
// leads.
func (n *Node) toLeader(ctx context.Context, leader string) *route {
	return &route{
		maxCommands: maxForwarded, maxBytes: maxForwardedBytes,
		flights: n.forwards,
		send: func(batch []*pending, done func()) {
			own := batch[:0]
			for _, p := range batch {
				if p.foreign {
					p.answer <- answer{err: n.notLeading()}
				} else {
					own = append(own, p)
				}
			}
			n.tasks.Go(func() {
				defer done()
				if len(own) > 0 {
					n.forward(ctx, leader, own)
				}
			})
		},
	}
}

// forward sends one batch and answers its callers. It waits as long as the last
// of them does, and no longer than its node leads: a leader that is cut off
// answers nothing.
func (n *Node) forward(ctx context.Context, leader string, batch []*pending) {
	ctx, cancel := context.WithDeadline(ctx, lastDeadline(batch))
	defer cancel()
	ctx, stop := n.whileLeading(ctx, leader)
	defer stop()
	q := forwardRequest{Proposals: make([][]byte, len(batch))}
	for i, p := range batch {
		q.Proposals[i] = p.encoded
	}
	a, err := call[forwardAnswer](ctx, n, leader, opForward, q)
	if err == nil && len(a.Answers) != len(batch) {
		err = fault.New(fault.Internal, "node %s answered %d of %d commands", leader, len(a.Answers), len(batch))
	}
	if err != nil {
		answerAll(batch, forwardFailure(leader, err))
		return
	}
	for i, p := range batch {
		p.answer <- a.Answers[i].answer()
	}
}

// lastDeadline is when the last caller gives up, at most forwardTimeout from now.
func lastDeadline(batch []*pending) time.Time {
	latest := time.Now().Add(forwardTimeout)
	var last time.Time
	for _, p := range batch {
		d, ok := p.ctx.Deadline()
		if !ok || d.After(latest) {
			return latest
		}
		if d.After(last) {
			last = d
		}
	}
	return last
}

// whileLeading is ctx that also ends when another node is known to lead. stop
// must be called.
func (n *Node) whileLeading(ctx context.Context, leader string) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	if !n.futures.spawn(func() {
		defer close(done)
		for {
			moved := n.moved.wait()
			if now, ok := n.leaderName(); ok && now != leader {
				cancel()
			}
			select {
			case <-moved:
			case <-ctx.Done():
				return
			}
		}
	}) {
		close(done)
	}
	return ctx, func() { cancel(); <-done }
}

// forwardFailure tells what a batch without an answer means: these kinds say
// that it was never run; after any other its commands may be in the log.
func forwardFailure(leader string, err error) answer {
	switch fault.Of(err) {
	case fault.NoLeader, fault.Overloaded, fault.Unavailable, fault.Invalid, fault.TooLarge:
		return answer{err: err}
	case fault.Unreachable:
		return answer{err: fault.New(fault.NoLeader, "the leader cannot be reached: %w", err).After(retryNoLeader)}
	default:
		return answer{err: fault.New(fault.NoLeader, "the leader %s was lost: %w", leader, err).After(retryNoLeader), unknown: true}
	}
}

// serveForward appends commands that another node took in. It validates each:
// what a leader appends, every node must be able to apply.
func (n *Node) serveForward(ctx context.Context, from peer.From, q forwardRequest) (forwardAnswer, error) {
	if len(q.Proposals) == 0 || len(q.Proposals) > maxForwarded {
		return forwardAnswer{}, fault.New(fault.Invalid, "node %s forwarded %d commands, the limit is %d", from.Node, len(q.Proposals), maxForwarded)
	}
	if n.leads() == nil {
		return forwardAnswer{}, n.notLeading()
	}
	waiting := make([]*pending, len(q.Proposals))
	a := forwardAnswer{Answers: make([]forwarded, len(q.Proposals))}
	for i, encoded := range q.Proposals {
		p, err := fsm.DecodeProposal(encoded)
		if err == nil {
			err = n.admit(p.Command)
		}
		if err == nil {
			waiting[i] = newPending(ctx, p.Actor, encoded)
			waiting[i].foreign = true
			err = n.queue.push(waiting[i])
		}
		if err != nil {
			waiting[i] = nil
			a.Answers[i] = wireAnswer(answer{err: err})
		}
	}
	for i, p := range waiting {
		if p == nil {
			continue
		}
		a.Answers[i] = wireAnswer(n.await(ctx, p))
	}
	return a, nil
}

// await is attempt's second half for a command of another node.
func (n *Node) await(ctx context.Context, p *pending) answer {
	select {
	case a := <-p.answer:
		return a
	case <-ctx.Done():
	case <-n.closing.Done():
	}
	if n.queue.remove(p) {
		return answer{err: n.notLeading()}
	}
	select {
	case a := <-p.answer:
		return a
	default:
		return answer{err: n.notLeading(), unknown: true}
	}
}

func wireAnswer(a answer) forwarded {
	w := forwarded{Outcome: a.outcome, Replayed: a.outcome.Replayed, Index: a.index, Unknown: a.unknown}
	if a.err != nil {
		e := fault.As(a.err)
		w.Kind, w.Message = e.Kind, e.Message
	}
	return w
}

func (w forwarded) answer() answer {
	if w.Kind != 0 {
		return answer{err: fault.New(w.Kind, "%s", w.Message).After(retryNoLeader), unknown: w.Unknown}
	}
	w.Outcome.Replayed = w.Replayed
	return answer{outcome: w.Outcome, index: w.Index}
}
