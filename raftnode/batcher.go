package raftnode

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/failpoint"
	"github.com/mcpraft/mcpraft/internal/fault"
)

const (
	// maxEnvelopes is how many envelopes are between the queue and the state
	// machine: while one is written by the followers and applied, the next is in
	// the leader's fsync. More would only make each smaller: with four a cluster
	// on two cores committed a fifth less.
	maxEnvelopes = 2

	enqueueTimeout = 10 * time.Second // raft takes an entry, or its disk has failed before
)

// batcher turns queued commands into entries of the log. There is no linger:
// whatever waits when raft can take an entry goes into it. While the log is in
// an fsync, the next envelope fills, so envelopes grow with load by themselves.
type batcher struct {
	machine *machine
	metrics *Metrics
	waiting sync.WaitGroup // for raft
}

func newBatcher(m *machine, metrics *Metrics) *batcher {
	return &batcher{machine: m, metrics: metrics}
}

// append hands one envelope to raft and returns when raft has taken it, which is
// when its log is ready for more. The answers follow when it is applied.
//
// done, if not nil, is called after the last answer.
func (b *batcher) append(r *raft.Raft, stamp record.LogTime, batch []*pending, done func()) {
	if done == nil {
		done = func() {}
	}
	encoded := make([][]byte, len(batch))
	for i, p := range batch {
		encoded[i] = p.encoded
	}
	data, err := fsm.AppendEnvelope(stamp, encoded)
	if err == nil {
		err = failpoint.Eval("raftnode/propose")
	}
	if err != nil {
		answerAll(batch, answer{err: err})
		done()
		return
	}
	b.metrics.envelope.Observe(float64(len(batch)))
	start := time.Now()
	future := r.Apply(data, enqueueTimeout)
	b.waiting.Go(func() {
		defer done()
		err := future.Error()
		if err != nil {
			answerAll(batch, appendFailure(err))
			return
		}
		b.metrics.commit.Observe(time.Since(start).Seconds())
		a, ok := future.Response().(applied)
		switch {
		case !ok:
			answerAll(batch, answer{err: fault.New(fault.Internal, "raft answered %T", future.Response()), unknown: true})
		case a.err != nil:
			answerAll(batch, answer{err: fault.New(fault.Unavailable, "this node has stopped: %w", a.err), unknown: true})
		case len(a.result) != len(batch):
			answerAll(batch, answer{err: fault.New(fault.Internal, "entry %d has %d results for %d commands", a.index, len(a.result), len(batch)), unknown: true})
		default:
			for i, p := range batch {
				p.answer <- answer{outcome: a.result[i], index: a.index}
			}
		}
	})
}

// wait returns when every envelope is answered. Raft answers all of them once it
// does not lead any more.
func (b *batcher) wait() { b.waiting.Wait() }

func answerAll(batch []*pending, a answer) {
	for _, p := range batch {
		p.answer <- a
	}
}

// appendFailure tells what raft's refusal means. Three errors are given only
// before an entry is appended; with any other the entry may be in the log and
// commit later.
func appendFailure(err error) answer {
	switch {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrEnqueueTimeout), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return answer{err: fault.New(fault.NoLeader, "leadership moved: %w", err).After(retryNoLeader)}
	default:
		return answer{err: fault.New(fault.NoLeader, "leadership was lost: %w", err).After(retryNoLeader), unknown: true}
	}
}

// dispatch serves the queue until ctx ends: into the log on the leader, to the
// leader elsewhere.
func (n *Node) dispatch(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.queue.filled:
		}
		n.drain(ctx)
	}
}

// drain sends batches until the queue has less than the next one takes.
func (n *Node) drain(ctx context.Context) {
	for {
		route, err := n.route(ctx)
		if err != nil {
			return
		}
		if !n.queue.has(route.flights.least()) {
			return
		}
		batch := n.queue.take(route.maxCommands, route.maxBytes)
		if len(batch) == 0 {
			continue
		}
		route.flights.begin(len(batch))
		route.send(batch, func() { route.flights.end(len(batch)) })
	}
}

// route is where commands go now.
type route struct {
	maxCommands, maxBytes int
	flights               *flights
	send                  func(batch []*pending, done func()) // calls done when the batch is answered
}

// route waits until there is somewhere to send commands: this node's own log, or
// the leader's node. Callers whose context ends leave the queue by themselves.
func (n *Node) route(ctx context.Context) (*route, error) {
	for {
		moved := n.moved.wait()
		if e := n.leads(); e != nil {
			return n.intoLog(e), nil
		}
		if leader, ok := n.remoteLeader(); ok {
			return n.toLeader(ctx, leader), nil
		}
		if err := n.moved.sleep(ctx, moved, routeRetry); err != nil {
			return nil, err
		}
	}
}

func (n *Node) intoLog(e *epoch) *route {
	r := n.raft()
	b := n.batcher
	return &route{
		maxCommands: fsm.MaxEnvelopeCommands, maxBytes: fsm.MaxEnvelopeBytes - fsm.EnvelopeOverhead,
		flights: n.envelopes,
		send:    func(batch []*pending, done func()) { b.append(r, e.stamp(), batch, done) },
	}
}
