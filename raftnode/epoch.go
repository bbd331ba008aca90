package raftnode

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

const (
	maxClockAhead = 10 * time.Second // of the median of the reachable voters
	clockTimeout  = 200 * time.Millisecond
	epochRetry    = 100 * time.Millisecond
)

// epoch is one term in which this node leads and may work: its EpochStart is
// applied. Stamps count from the log time of that command by the monotonic
// clock, so that a jump of the wall clock moves no log time.
type epoch struct {
	term  uint64
	start record.LogTime
	since time.Time // has the monotonic clock
}

// stamp is the log time now.
func (e *epoch) stamp() record.LogTime { return e.start.Add(time.Since(e.since)) }

// tenure is one time that this node leads.
type tenure struct {
	stop  context.CancelFunc
	ended chan struct{} // closed when all of its work has ended
}

// leadership follows raft's notifications. Raft blocks on its channel, so it is
// drained at once and what a change means happens elsewhere: each tenure runs on
// a goroutine of its own, after the one before has ended.
func (n *Node) leadership(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	now := &tenure{stop: func() {}, ended: make(chan struct{})}
	close(now.ended)
	for {
		select {
		case <-ctx.Done():
			now.stop()
			return
		case up := <-n.notify:
			now.stop()
			n.moved.fire()
			if up {
				now = n.begin(ctx, now, &running)
			}
		}
	}
}

// begin starts a tenure after the one before.
func (n *Node) begin(ctx context.Context, before *tenure, running *sync.WaitGroup) *tenure {
	ctx, stop := context.WithCancel(ctx)
	t := &tenure{stop: stop, ended: make(chan struct{})}
	running.Go(func() {
		defer close(t.ended)
		<-before.ended
		n.lead(ctx)
	})
	return t
}

// lead is the life of one term: EpochStart, then duties until ctx ends.
func (n *Node) lead(ctx context.Context) {
	r := n.raft()
	term := r.CurrentTerm()
	e, err := n.startEpoch(ctx, r, term)
	if err != nil {
		if ctx.Err() == nil {
			n.log.Warn("leadership given up before the epoch started", "term", term, "error", err)
		}
		return
	}
	n.epoch.Store(e)
	defer n.epoch.Store(nil)
	n.moved.fire()
	n.log.Info("leading", "term", term)
	n.metrics.elections.Inc()
	n.duties.run(ctx, Term(term))
}

// startEpoch logs EpochStart until it is applied in this term. A node that must
// not lead gives leadership away instead and tries again only while it has it.
func (n *Node) startEpoch(ctx context.Context, r *raft.Raft, term uint64) (*epoch, error) {
	for ctx.Err() == nil {
		if err := n.mayLead(ctx); err != nil {
			n.log.Warn("this node must not lead", "term", term, "reason", err)
			if err := n.giveLeadership(ctx, ""); err != nil {
				n.log.Warn("leadership could not be given away", "term", term, "error", err)
			}
		} else if e, err := n.logEpoch(ctx, r, term); err == nil {
			return e, nil
		} else if r.State() != raft.Leader || r.CurrentTerm() != term {
			return nil, err
		}
		if err := sleep(ctx, epochRetry); err != nil {
			return nil, err
		}
	}
	return nil, ctx.Err()
}

// mayLead reports why this node must give leadership away, or nil.
func (n *Node) mayLead(ctx context.Context) error {
	if err := n.health.diverged(); err != nil {
		return err
	}
	if n.disk.level() == diskCritical && n.otherVoters() > 0 {
		return fault.New(fault.Unavailable, "the disk is full")
	}
	return n.checkClock(ctx)
}

// checkClock refuses when the wall clock is far ahead of the others': one jump
// forward in log time would expire everything for good.
func (n *Node) checkClock(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, clockTimeout)
	defer cancel()
	var others []time.Duration
	for _, c := range askVoters[clockAnswer](ctx, n, opClock) {
		others = append(others, time.UnixMilli(c.UnixMilli).Sub(n.cfg.WallClock()))
	}
	if len(others) == 0 {
		return nil // alone, or nobody answers: then nothing commits either
	}
	all := append(others, 0)
	slices.Sort(all)
	if ahead := -all[(len(all)-1)/2]; ahead > maxClockAhead {
		n.alarms.raise(AlarmClock, "the wall clock is %v ahead of the median of the voters, the limit is %v: correct it (NTP)", ahead.Round(time.Millisecond), maxClockAhead)
		return fault.New(fault.Unavailable, "the wall clock is %v ahead of the median of the voters", ahead)
	}
	n.alarms.clear(AlarmClock)
	return nil
}

// logEpoch appends EpochStart and waits until it is applied.
func (n *Node) logEpoch(ctx context.Context, r *raft.Raft, term uint64) (*epoch, error) {
	stamp := max(record.LogTimeAt(n.cfg.WallClock()), n.fsm.Meta().LogTime)
	since := time.Now()
	a := n.logDirect(ctx, r, stamp, n.ownProposal(term, &fsm.EpochStart{
		Node: n.cfg.Node, Process: n.ident.process, Binary: n.cfg.Binary, Supports: fsm.MaxVersion,
	}))
	if a.err != nil {
		return nil, a.err
	}
	if err := a.outcome.Err(); err != nil {
		return nil, err
	}
	if meta := n.fsm.Meta(); meta.Term != term {
		return nil, fault.New(fault.Fenced, "term %d ended before its epoch started", term)
	}
	return &epoch{term: term, start: a.outcome.Time, since: since}, nil
}

// ownProposal is a command of the node itself. It has no producer: what the node
// says of itself is harmless when it is said twice.
func (n *Node) ownProposal(term uint64, c fsm.Command) *fsm.Proposal {
	return &fsm.Proposal{Actor: n.actor(), Term: term, Command: c}
}

// actor is the node as a principal.
func (n *Node) actor() record.Principal {
	return record.Principal{Issuer: "mcpraft", Subject: "node/" + n.cfg.Node}
}

// logDirect appends one command in an envelope of its own, past the queue.
func (n *Node) logDirect(ctx context.Context, r *raft.Raft, stamp record.LogTime, p *fsm.Proposal) answer {
	encoded, err := fsm.EncodeProposal(p)
	if err != nil {
		return answer{err: err}
	}
	one := newPending(ctx, p.Actor, encoded)
	n.batcher.append(r, stamp, []*pending{one}, nil)
	select {
	case a := <-one.answer:
		return a
	case <-ctx.Done():
		return answer{err: ctx.Err(), unknown: true}
	}
}

// leads is the epoch of this node if it leads and its epoch has started.
func (n *Node) leads() *epoch {
	e := n.epoch.Load()
	if e == nil {
		return nil
	}
	if r := n.raft(); r.State() != raft.Leader || r.CurrentTerm() != e.term {
		return nil
	}
	return e
}

// notLeading is the answer of a node that was taken for the leader.
func (n *Node) notLeading() error {
	node, _, ok := n.Leader()
	switch {
	case !ok:
		return fault.New(fault.NoLeader, "no leader is known").After(retryNoLeader)
	case node == n.cfg.Node:
		return fault.New(fault.NoLeader, "this node has just become leader and is not ready").After(retryNoLeader)
	default:
		return fault.New(fault.NoLeader, "the leader is %s", node).WithDetail("leader", node).After(retryNoLeader)
	}
}

// sleep waits for d or for the end of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// isContext reports whether err is the end of a context.
func isContext(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
