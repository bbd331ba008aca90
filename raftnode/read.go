package raftnode

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode/peer"
)

const (
	confirmTimeout = 5 * time.Second        // of one confirmation, all of its attempts
	termTimeout    = 500 * time.Millisecond // for the voters to tell their terms
)

// Read is a view of this node's replica that is as fresh as o asks. The caller
// closes the view. Any goroutine may call it.
//
// Errors are Stale (with what was measured) when this replica cannot be as
// fresh, NoLeader when a linearizable read finds no leader before ctx ends, and
// Unavailable when the node does not serve.
func (n *Node) Read(ctx context.Context, o ReadOptions) (*fsm.View, ReadInfo, error) {
	if err := n.serving(); err != nil {
		return nil, ReadInfo{}, err
	}
	info := ReadInfo{Mode: o.Mode}
	index := o.MinIndex
	switch o.Mode {
	case Linearizable:
		p, err := n.confirmed(ctx)
		if err != nil {
			return nil, ReadInfo{}, noConfirmation(ctx, err)
		}
		index = max(index, p.index)
	case Bounded:
		staleness, err := n.bounded(ctx, orDefault(o.MaxStaleness, DefaultMaxStaleness))
		if err != nil {
			return nil, ReadInfo{}, err
		}
		info.Staleness = staleness
	case Any:
		info.Staleness = n.freshness.staleness(n.fsm.Meta().Index)
	default:
		return nil, ReadInfo{}, fault.New(fault.Invalid, "read mode %d is unknown", o.Mode)
	}
	if err := n.waitApplied(ctx, index); err != nil {
		return nil, ReadInfo{}, err
	}
	view, err := n.fsm.View()
	if err != nil {
		return nil, ReadInfo{}, err
	}
	meta := view.Meta()
	if meta.Index < index {
		view.Close()
		return nil, ReadInfo{}, fault.New(fault.Stale, "the view is at index %d, not yet at %d", meta.Index, index)
	}
	info.Index, info.Timeline = meta.Index, meta.Timeline
	n.metrics.reads[o.Mode].Inc()
	return view, info, nil
}

// confirmed is a point at or after now. A round of confirmation that found no
// leader, which takes it confirmTimeout, is followed by another while the caller
// has time.
func (n *Node) confirmed(ctx context.Context) (point, error) {
	for {
		p, err := n.confirm.point(ctx)
		if err == nil || !retryable(err) || ctx.Err() != nil {
			return p, err
		}
	}
}

// waitApplied waits for the state machine. An index that does not exist yet is
// waited for, too: it may be of a write that this node has not heard of.
func (n *Node) waitApplied(ctx context.Context, index uint64) error {
	err := n.machine.waits.wait(ctx, index)
	if err == nil || !isContext(err) {
		return err
	}
	return fault.New(fault.Stale, "this replica is at index %d and did not reach %d in time", n.fsm.Meta().Index, index).
		WithHint("ask another node, or again later").After(retryNoLeader)
}

func noConfirmation(ctx context.Context, err error) error {
	if ctx.Err() == nil || !isContext(err) {
		return err
	}
	return fault.New(fault.NoLeader, "no leader confirmed the read in time").After(retryNoLeader)
}

// point is a moment from which on the state at index was the newest: whoever
// reads at index sees every write that was acknowledged before at.
type point struct {
	at    time.Time
	index uint64
}

// confirmer gives points. Readers that arrive while a confirmation is under way
// share the next one, so that any number of readers costs one round of the
// network at a time.
type confirmer struct {
	ask   func(ctx context.Context) (index uint64, err error)
	start chan struct{} // capacity 1: next waits to be run
	ended chan struct{} // closed when run has returned

	mu   sync.Mutex
	next *round // not started; nil when nobody waits
}

type round struct {
	done  chan struct{}
	point point
	err   error
}

func newConfirmer(ask func(context.Context) (uint64, error)) *confirmer {
	return &confirmer{ask: ask, start: make(chan struct{}, 1), ended: make(chan struct{})}
}

// point returns one whose confirmation started after the call.
func (c *confirmer) point(ctx context.Context) (point, error) {
	c.mu.Lock()
	if c.next == nil {
		c.next = &round{done: make(chan struct{})}
		select {
		case c.start <- struct{}{}:
		default:
		}
	}
	r := c.next
	c.mu.Unlock()
	select {
	case <-r.done:
		return r.point, r.err
	case <-ctx.Done():
		return point{}, ctx.Err()
	case <-c.ended:
		return point{}, errStopping()
	}
}

// run does one round after the other, as long as someone waits, until ctx ends.
func (c *confirmer) run(ctx context.Context) {
	defer close(c.ended)
	for {
		select {
		case <-c.start:
		case <-ctx.Done():
			return
		}
		c.mu.Lock()
		r := c.next
		c.next = nil
		c.mu.Unlock()
		if r == nil {
			continue
		}
		round, cancel := context.WithTimeout(ctx, confirmTimeout)
		r.point.at = time.Now()
		r.point.index, r.err = c.ask(round)
		cancel()
		close(r.done)
	}
}

// readIndex finds the leader and has it confirm itself. It retries while
// leadership moves.
func (n *Node) readIndex(ctx context.Context, quiet bool) (uint64, error) {
	for {
		index, err := n.tryReadIndex(ctx, quiet)
		if err == nil || !retryable(err) || quiet {
			return index, err
		}
		moved := n.moved.wait()
		if n.moved.sleep(ctx, moved, routeRetry) != nil {
			return 0, err
		}
	}
}

func (n *Node) tryReadIndex(ctx context.Context, quiet bool) (uint64, error) {
	if n.leads() != nil {
		return n.leaderIndex(ctx, peerTerm{}, quiet)
	}
	leader, ok := n.remoteLeader()
	if !ok {
		return 0, n.notLeading()
	}
	asking, stop := n.whileLeading(ctx, leader)
	defer stop()
	a, err := call[readIndexAnswer](asking, n, leader, opReadIndex, readIndexRequest{Term: n.raft().CurrentTerm(), Quiet: quiet})
	if err != nil && (ctx.Err() == nil || !isContext(err)) && fault.Of(err) != fault.Unavailable {
		err = fault.New(fault.NoLeader, "the leader did not confirm the read: %w", err).After(retryNoLeader)
	}
	return a.Index, err
}

// peerTerm is a node's word that it was in a term when it asked.
type peerTerm struct {
	id   raft.ServerID // empty: nobody's
	term uint64
}

func (n *Node) serveReadIndex(ctx context.Context, from peer.From, q readIndexRequest) (readIndexAnswer, error) {
	e := n.leads()
	if e == nil {
		return readIndexAnswer{}, n.notLeading()
	}
	index, err := n.leaderIndex(ctx, peerTerm{id: peer.ServerID(from.Node, from.Disk), term: q.Term}, q.Quiet)
	return readIndexAnswer{Index: index, Term: e.term}, err
}

// leaderIndex is an index that reflects every write acknowledged before the
// call. It samples the commit index first and then makes sure that there was no
// newer leader: voters that answer with exactly this term have not helped to
// elect one, and a majority of such voters leaves none. The epoch has started,
// so every committed entry reaches the state machine and can be waited for.
//
// asker is a node that asked and told its own term: with three voters it and the
// leader are the majority.
func (n *Node) leaderIndex(ctx context.Context, asker peerTerm, quiet bool) (uint64, error) {
	e := n.leads()
	if e == nil || n.transferring.Load() {
		return 0, n.notLeading()
	}
	r := n.raft()
	index := r.CommitIndex()
	if !n.quorumOfTerm(ctx, r, e.term, asker) {
		if quiet {
			return 0, fault.New(fault.NoLeader, "a majority of the voters did not confirm term %d", e.term)
		}
		var err error
		if index, err = n.loggedIndex(ctx, r, e); err != nil {
			return 0, err
		}
	}
	if now := n.leads(); now != e || n.transferring.Load() {
		return 0, n.notLeading()
	}
	return index, nil
}

// quorumOfTerm asks the voters for their term until a majority, this node and
// asker included, is in term.
func (n *Node) quorumOfTerm(ctx context.Context, r *raft.Raft, term uint64, asker peerTerm) bool {
	voters := votersOf(r)
	self := raft.ServerID(n.ident.serverID())
	need, have := len(voters)/2+1, 0
	var ask []raft.ServerID
	for _, id := range voters {
		switch {
		case id == self || id == asker.id && asker.term == term:
			have++
		default:
			ask = append(ask, id)
		}
	}
	if have >= need {
		return true
	}
	var calls sync.WaitGroup
	defer calls.Wait()
	ctx, cancel := context.WithTimeout(ctx, termTimeout)
	defer cancel() // before the wait: those that are not needed end
	answers := make(chan bool, len(ask))
	for _, id := range ask {
		calls.Go(func() {
			_, disk, _ := splitServerID(string(id))
			a, err := askVoter[termAnswer](ctx, n, id, opTerm)
			answers <- err == nil && a.Term == term && a.Disk == disk
		})
	}
	for range ask {
		if <-answers {
			have++
		}
		if have >= need {
			return true
		}
	}
	return false
}

// loggedIndex confirms leadership by a command: it commits only under the leader
// of its term. It is the way when the voters' peer ports do not answer.
func (n *Node) loggedIndex(ctx context.Context, r *raft.Raft, e *epoch) (uint64, error) {
	n.metrics.loggedReads.Inc()
	a := n.logDirect(ctx, r, e.stamp(), n.ownProposal(e.term, &fsm.EpochStart{
		Node: n.cfg.Node, Process: n.ident.process, Binary: n.cfg.Binary, Supports: fsm.MaxVersion,
	}))
	if a.err != nil {
		return 0, a.err
	}
	return a.index, a.outcome.Err()
}

// votersOf is the voters of the latest configuration.
func votersOf(r *raft.Raft) []raft.ServerID {
	var ids []raft.ServerID
	for _, s := range r.GetConfiguration().Configuration().Servers {
		if s.Suffrage == raft.Voter {
			ids = append(ids, s.ID)
		}
	}
	return ids
}

// askVoter calls the node that id names. It may have another disk by now: where
// that matters, the answer says which.
func askVoter[A any](ctx context.Context, n *Node, id raft.ServerID, op uint16) (A, error) {
	node, _, ok := splitServerID(string(id))
	if !ok {
		var a A
		return a, fault.New(fault.Internal, "server id %q is not of the form node/disk", id)
	}
	return call[A](ctx, n, node, op, empty{})
}
