package raftnode

import (
	"context"
	"time"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

const (
	retryOverloaded = time.Second            // told to refused callers
	retryNoLeader   = 500 * time.Millisecond // told to callers when there is no leader
	routeRetry      = 20 * time.Millisecond  // between looks for a leader when nothing says that it moved
	proposeRetry    = 10 * time.Millisecond  // between attempts of one command
)

// Propose appends one command to the log, wherever the leader is, and returns
// when it is applied. Any goroutine may call it.
//
// A rejection by the state machine is an Outcome with a Kind, not an error. An
// error of kind NoLeader, Overloaded, Unavailable, Invalid, TooLarge or Timeout
// means that nothing was applied and nothing will be; OutcomeUnknown means that
// ctx ended while the command may have been on its way. Until then an unknown
// outcome is retried under the same number, so that it applies at most once.
func (n *Node) Propose(ctx context.Context, r Request) (Receipt, error) {
	if err := n.admit(r.Command); err != nil {
		n.metrics.refused(err)
		return Receipt{}, err
	}
	t, err := n.producer.begin(ctx)
	if err != nil {
		return Receipt{}, n.notProposed(err)
	}
	defer n.producer.end(t)
	encoded, err := fsm.EncodeProposal(&fsm.Proposal{
		Scope: r.Scope, Actor: r.Actor, RequestID: r.RequestID,
		Producer: t.producer, Sequence: t.sequence, Acked: t.acked,
		Term: r.Term, Idempotency: r.Idempotency, Command: r.Command,
	})
	if err != nil {
		return Receipt{}, err
	}
	a := n.submit(ctx, r.Actor, encoded)
	if a.err != nil {
		n.metrics.refused(a.err)
		return Receipt{}, a.err
	}
	if a.outcome.Kind == fault.OutcomeUnknown {
		n.producerRefused(t.producer)
	}
	return Receipt{Outcome: a.outcome, Index: a.index, Timeline: n.Timeline()}, nil
}

// submit sends one command until there is an answer or ctx ends.
func (n *Node) submit(ctx context.Context, actor record.Principal, encoded []byte) answer {
	unknown := false
	for {
		a := n.attempt(ctx, actor, encoded)
		unknown = unknown || a.unknown
		switch {
		case a.err == nil:
			return a
		case ctx.Err() != nil || n.closing.Err() != nil:
			return answer{err: n.abandoned(ctx, unknown, a.err)}
		case !unknown && !retryable(a.err):
			return a
		}
		if sleep(ctx, proposeRetry) != nil {
			return answer{err: n.abandoned(ctx, unknown, a.err)}
		}
	}
}

// attempt puts one command into the queue and waits for what becomes of it.
func (n *Node) attempt(ctx context.Context, actor record.Principal, encoded []byte) answer {
	p := newPending(ctx, actor, encoded)
	if err := n.queue.push(p); err != nil {
		return answer{err: err}
	}
	select {
	case a := <-p.answer:
		return a
	case <-ctx.Done():
	case <-n.closing.Done():
	}
	if n.queue.remove(p) {
		return answer{err: n.ended(ctx)}
	}
	select {
	case a := <-p.answer: // it won the race
		return a
	default:
		return answer{err: n.ended(ctx), unknown: true}
	}
}

// ended is why a wait ended: the caller's context, or this node.
func (n *Node) ended(ctx context.Context) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return errStopping()
}

// retryable reports whether a command that was certainly not appended may find
// a leader if it is sent again.
func retryable(err error) bool {
	switch fault.Of(err) {
	case fault.NoLeader, fault.Unreachable:
		return true
	default:
		return false
	}
}

// abandoned is the error of a command that nobody waits for any more.
func (n *Node) abandoned(ctx context.Context, unknown bool, last error) error {
	if unknown {
		return fault.New(fault.OutcomeUnknown, "the request ended before it was known whether the change was applied").
			WithHint("read the record before trying again")
	}
	if ctx.Err() == nil {
		return errStopping()
	}
	if last != nil && !isContext(last) && fault.Of(last) == fault.NoLeader {
		return last
	}
	return n.notProposed(ctx.Err())
}

// notProposed is the error of a command that has not left this node.
func (n *Node) notProposed(err error) error {
	if !isContext(err) {
		return err
	}
	if _, _, ok := n.Leader(); !ok {
		return fault.New(fault.NoLeader, "no leader was found before the request ended; nothing was changed").After(retryNoLeader)
	}
	return fault.New(fault.Timeout, "the request ended before the change was proposed; nothing was changed")
}

func errStopping() error {
	return fault.New(fault.Unavailable, "this node is stopping").WithHint("send the request to another node").After(retryNoLeader)
}
