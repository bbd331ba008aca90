package raftnode

import (
	"context"
	"time"

	"github.com/hashicorp/raft"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// transferTimeout bounds one transfer; raft gives up after an election timeout.
const transferTimeout = 3 * time.Second

// giveLeadership makes the voter to the leader, or the best one when to is
// empty. It returns when this node does not lead any more.
func (n *Node) giveLeadership(ctx context.Context, to string) error {
	r := n.raft()
	if r.State() != raft.Leader {
		return n.notLeading()
	}
	target, err := n.successor(ctx, to)
	if err != nil || target == raft.ServerID(n.ident.serverID()) {
		return err
	}
	if !n.transferring.CompareAndSwap(false, true) {
		return fault.New(fault.Conflict, "leadership is being transferred already").After(retryNoLeader)
	}
	defer n.transferring.Store(false)
	ctx, cancel := context.WithTimeout(ctx, transferTimeout)
	defer cancel()
	n.log.Info("transferring leadership", "to", target)
	if err := n.await1(ctx, r.LeadershipTransferToServer(target, raft.ServerAddress(target))); err != nil {
		return fault.New(fault.Unavailable, "leadership was not transferred to %s: %w", target, err)
	}
	return nil
}

// successor is the voter that to names, or that has the newest log of those that
// answer and serve.
func (n *Node) successor(ctx context.Context, to string) (raft.ServerID, error) {
	self := n.ident.serverID()
	if to != "" {
		s, err := n.server(to)
		if err == nil && s.Suffrage != raft.Voter {
			err = fault.New(fault.Conflict, "node %s has no vote and cannot lead", to).WithHint("promote it first")
		}
		return s.ID, err
	}
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	var best raft.ServerID
	var newest uint64
	for _, id := range votersOf(n.raft()) {
		if string(id) == self {
			continue
		}
		if r, err := n.reportOf(ctx, string(id)); err == nil && r.Serving && (best == "" || r.LastIndex > newest) {
			best, newest = id, r.LastIndex
		}
	}
	if best == "" {
		return "", fault.New(fault.Unavailable, "no other voter answers and serves: leadership stays")
	}
	return best, nil
}

// await1 waits for a future of raft with a context of our own. The goroutine
// ends when raft answers, which it does for every future it has taken.
func (n *Node) await1(ctx context.Context, f raft.Future) error {
	done := make(chan error, 1)
	if !n.futures.spawn(func() { done <- f.Error() }) {
		return errStopping()
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
