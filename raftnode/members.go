package raftnode

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode/peer"
)

const (
	maxMembers     = 64               // servers in a configuration, replicas included
	stableFor      = 10 * time.Second // caught up without a break, before promotion
	promoteLag     = 256              // entries behind the leader that still count as caught up
	memberInterval = time.Second      // between looks at the members
	reportTimeout  = 500 * time.Millisecond
	changeTimeout  = 10 * time.Second // for a change of the membership to commit
)

// MemberStatus is one server of the membership as this node sees it.
type MemberStatus struct {
	Node      string
	Disk      record.ID
	Voter     bool
	Leader    bool
	Replica   bool          // stays without a vote
	Record    record.Member // what the member wrote of itself; zero before it did
	Reachable bool          // it answered just now; what follows is its answer
	Process   record.ID
	Applied   uint64
	LastIndex uint64
	Serving   bool
	Alarms    []Alarm
	Err       string // why it is not reachable
}

// Members is the membership with the state of each member, by node name. It asks
// each of them, for at most half a second.
func (n *Node) Members(ctx context.Context) ([]MemberStatus, error) {
	view, err := n.fsm.View()
	if err != nil {
		return nil, err
	}
	defer view.Close()
	leader, _, _ := n.Leader()
	var list []MemberStatus
	for _, s := range n.servers() {
		node, disk, _ := splitServerID(string(s.ID))
		m := MemberStatus{Node: node, Disk: disk, Voter: s.Suffrage == raft.Voter}
		m.Leader = node == leader
		if rec, err := view.Member(node); err == nil && rec.Disk == disk {
			m.Record = rec
		}
		list = append(list, m)
	}
	var wg sync.WaitGroup
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	for i := range list {
		wg.Go(func() { list[i].ask(ctx, n) })
	}
	wg.Wait()
	slices.SortFunc(list, func(a, b MemberStatus) int {
		return cmp.Or(strings.Compare(a.Node, b.Node), slices.Compare(a.Disk[:], b.Disk[:]))
	})
	return list, nil
}

// ask fills in what the member says now.
func (m *MemberStatus) ask(ctx context.Context, n *Node) {
	r, err := n.reportOf(ctx, serverID(m.Node, m.Disk))
	if err != nil {
		m.Err = fault.As(err).Message
		return
	}
	m.Reachable = true
	m.Process, m.Applied, m.LastIndex = r.Process, r.Applied, r.LastIndex
	m.Replica, m.Serving, m.Alarms = r.Replica, r.Serving, r.Alarms
}

// reportOf asks the server for its report; another disk of that node is an error.
func (n *Node) reportOf(ctx context.Context, id string) (report, error) {
	if id == n.ident.serverID() {
		return n.report(), nil
	}
	r, err := askVoter[report](ctx, n, raft.ServerID(id), opReport)
	if err != nil {
		return report{}, err
	}
	if node, disk, _ := splitServerID(id); r.Disk != disk {
		return report{}, fault.New(fault.Unreachable, "node %s runs on disk %s now, not %s", node, r.Disk.Short(), disk.Short())
	}
	return r, nil
}

func (n *Node) report() report {
	return report{
		Disk: n.ident.get().Disk, Process: n.ident.process,
		Applied: n.fsm.Meta().Index, LastIndex: n.raft().LastIndex(),
		Replica: n.ident.get().Replica || n.cfg.Replica,
		Serving: n.serving() == nil, Alarms: n.alarms.list(),
	}
}

// servers is the latest configuration.
func (n *Node) servers() []raft.Server {
	return n.raft().GetConfiguration().Configuration().Servers
}

// otherVoters is how many voters there are beside this node.
func (n *Node) otherVoters() int {
	self, count := raft.ServerID(n.ident.serverID()), 0
	for _, id := range votersOf(n.raft()) {
		if id != self {
			count++
		}
	}
	return count
}

// askVoters asks the other voters at once and returns the answers that came
// before ctx ended.
func askVoters[A any](ctx context.Context, n *Node, op uint16) []A {
	self := raft.ServerID(n.ident.serverID())
	var mu sync.Mutex
	var answers []A
	var wg sync.WaitGroup
	for _, id := range votersOf(n.raft()) {
		if id == self {
			continue
		}
		wg.Go(func() {
			if a, err := askVoter[A](ctx, n, id, op); err == nil {
				mu.Lock()
				defer mu.Unlock()
				answers = append(answers, a)
			}
		})
	}
	wg.Wait()
	return answers
}

// changeKind is a change of the membership, or of who leads. Numbers are for
// ever.
type changeKind uint8

const (
	changePromote  changeKind = 1
	changeDemote   changeKind = 2
	changeRemove   changeKind = 3
	changeTransfer changeKind = 4
)

// Promote gives node a vote now, without waiting until it has been stable for a
// while. A node that was demoted is promoted by nothing else.
func (n *Node) Promote(ctx context.Context, node string) error {
	return n.change(ctx, changePromote, node)
}

// Demote takes the vote of node; it goes on as a replica until it is promoted
// again. The node must be reachable: it keeps the decision.
func (n *Node) Demote(ctx context.Context, node string) error {
	return n.change(ctx, changeDemote, node)
}

// Remove takes node out of the cluster, for good: should it come back, it joins
// with an empty data directory. node is a name, or name/disk when two disks have
// one name. It is refused when the voters that remain could not commit.
func (n *Node) Remove(ctx context.Context, node string) error {
	return n.change(ctx, changeRemove, node)
}

// TransferLeadership makes the voter to the leader; "" means whichever is best.
func (n *Node) TransferLeadership(ctx context.Context, to string) error {
	return n.change(ctx, changeTransfer, to)
}

// change has the leader do it, and looks for the leader as long as ctx allows.
func (n *Node) change(ctx context.Context, kind changeKind, node string) error {
	q := changeRequest{Kind: kind, Node: node}
	for {
		err := n.tryChange(ctx, q)
		if !retryable(err) || fault.Of(err) == 0 {
			return err
		}
		moved := n.moved.wait()
		if n.moved.sleep(ctx, moved, 10*routeRetry) != nil {
			return err
		}
	}
}

func (n *Node) tryChange(ctx context.Context, q changeRequest) error {
	if n.leads() != nil {
		return n.applyChange(ctx, q)
	}
	leader, ok := n.remoteLeader()
	if !ok {
		return n.notLeading()
	}
	_, err := call[empty](ctx, n, leader, opChange, q)
	return err
}

func (n *Node) serveChange(ctx context.Context, _ peer.From, q changeRequest) (empty, error) {
	if n.leads() == nil {
		return empty{}, n.notLeading()
	}
	return empty{}, n.applyChange(ctx, q)
}

// applyChange does one change at a time, on the leader.
func (n *Node) applyChange(ctx context.Context, q changeRequest) error {
	select {
	case n.changing <- struct{}{}:
		defer func() { <-n.changing }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if q.Kind == changeTransfer {
		return n.giveLeadership(ctx, q.Node)
	}
	s, err := n.server(q.Node)
	if err != nil {
		return err
	}
	switch q.Kind {
	case changePromote:
		return n.promote(ctx, s)
	case changeDemote:
		return n.demote(ctx, s)
	case changeRemove:
		return n.removeMember(ctx, s)
	default:
		return fault.New(fault.Unsupported, "membership change %d is unknown", q.Kind)
	}
}

// server finds the one server that name, "node" or "node/disk", means.
func (n *Node) server(name string) (raft.Server, error) {
	var found []raft.Server
	for _, s := range n.servers() {
		node, _, _ := splitServerID(string(s.ID))
		if string(s.ID) == name || node == name {
			found = append(found, s)
		}
	}
	switch len(found) {
	case 0:
		return raft.Server{}, fault.New(fault.NotFound, "node %q is not a member of the cluster", name)
	case 1:
		return found[0], nil
	default:
		return raft.Server{}, fault.New(fault.Conflict, "node %q is a member with %d disks: %s and %s", name, len(found), found[0].ID, found[1].ID).
			WithHint("name one of them")
	}
}

// promote gives s a vote. Where its node has a voter with another disk, that one
// is its former self and is removed first: a node has one vote.
func (n *Node) promote(ctx context.Context, s raft.Server) error {
	if s.Suffrage == raft.Voter {
		return nil
	}
	voters := votersOf(n.raft())
	node, _, _ := splitServerID(string(s.ID))
	for _, id := range voters {
		if former, _, _ := splitServerID(string(id)); former == node {
			n.log.Info("removing the former disk of a node", "server", id)
			if err := n.removeServer(ctx, raft.Server{ID: id, Suffrage: raft.Voter}); err != nil {
				return err
			}
		}
	}
	if len(voters) >= MaxVoters {
		return fault.New(fault.Conflict, "the cluster has %d voters, the limit is %d", len(voters), MaxVoters)
	}
	if err := n.tellReplica(ctx, node, false); err != nil {
		n.log.Debug("the promoted node was not told", "node", node, "error", err)
	}
	if err := n.configure(ctx, func(r *raft.Raft, prev uint64) raft.IndexFuture {
		return r.AddVoter(s.ID, raft.ServerAddress(s.ID), prev, changeTimeout)
	}); err != nil {
		return err
	}
	n.log.Info("promoted to voter", "server", s.ID)
	return nil
}

func (n *Node) demote(ctx context.Context, s raft.Server) error {
	node, _, _ := splitServerID(string(s.ID))
	if s.Suffrage == raft.Voter {
		if err := n.canSpare(ctx, s.ID); err != nil {
			return err
		}
	}
	if err := n.tellReplica(ctx, node, true); err != nil {
		return fault.New(fault.Unreachable, "node %s cannot be told to stay without a vote: %w", node, err).
			WithHint("a node that is gone is removed, not demoted")
	}
	if s.Suffrage != raft.Voter {
		return nil
	}
	if err := n.leaveFirst(ctx, s.ID); err != nil {
		return err
	}
	if err := n.configure(ctx, func(r *raft.Raft, prev uint64) raft.IndexFuture {
		return r.DemoteVoter(s.ID, prev, changeTimeout)
	}); err != nil {
		return err
	}
	n.log.Info("demoted to replica", "server", s.ID)
	return nil
}

// removeMember takes s out of the configuration and forgets its record.
func (n *Node) removeMember(ctx context.Context, s raft.Server) error {
	if err := n.leaveFirst(ctx, s.ID); err != nil {
		return err
	}
	if err := n.removeServer(ctx, s); err != nil {
		return err
	}
	node, disk, _ := splitServerID(string(s.ID))
	return n.forget(ctx, node, disk)
}

func (n *Node) removeServer(ctx context.Context, s raft.Server) error {
	if s.Suffrage == raft.Voter {
		if err := n.canSpare(ctx, s.ID); err != nil {
			return err
		}
	}
	if err := n.configure(ctx, func(r *raft.Raft, prev uint64) raft.IndexFuture {
		return r.RemoveServer(s.ID, prev, changeTimeout)
	}); err != nil {
		return err
	}
	n.log.Info("removed from the cluster", "server", s.ID)
	return nil
}

// leaveFirst gives leadership away when id is this node: the next leader then
// does the change, asked by the same caller.
func (n *Node) leaveFirst(ctx context.Context, id raft.ServerID) error {
	if string(id) != n.ident.serverID() || n.otherVoters() == 0 {
		return nil
	}
	if err := n.giveLeadership(ctx, ""); err != nil {
		return err
	}
	return fault.New(fault.NoLeader, "leadership was given away first").After(retryNoLeader)
}

// canSpare refuses to take the vote of id when the voters that remain, of which
// only those that answer count, would be no majority.
func (n *Node) canSpare(ctx context.Context, id raft.ServerID) error {
	var rest []raft.ServerID
	for _, v := range votersOf(n.raft()) {
		if v != id {
			rest = append(rest, v)
		}
	}
	if len(rest) == 0 {
		return fault.New(fault.Conflict, "%s is the only voter", id).WithHint("promote another node first")
	}
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	var answered atomic.Int32
	var wg sync.WaitGroup
	for _, v := range rest {
		wg.Go(func() {
			if _, err := n.reportOf(ctx, string(v)); err == nil {
				answered.Add(1)
			}
		})
	}
	wg.Wait()
	alive := int(answered.Load())
	if need := len(rest)/2 + 1; alive < need {
		return fault.New(fault.Conflict, "without %s there are %d voters, of which %d answer; %d are needed to commit", id, len(rest), alive, need).
			WithHint("bring the other voters back, or promote replacements, first")
	}
	return nil
}

// configure does one change of the configuration, based on the latest one.
func (n *Node) configure(ctx context.Context, do func(r *raft.Raft, prev uint64) raft.IndexFuture) error {
	r := n.raft()
	future := do(r, r.GetConfiguration().Index())
	err := n.await1(ctx, future)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return fault.New(fault.NoLeader, "leadership moved: %w", err).After(retryNoLeader)
	case isContext(err), errors.Is(err, raft.ErrLeadershipLost): // it is in the log, and the next leader may commit it
		return fault.New(fault.OutcomeUnknown, "the change of the membership has not committed yet").WithHint("look at the members before trying again")
	default:
		return fault.New(fault.Conflict, "the membership was not changed: %w", err)
	}
}

// tellReplica makes the node keep whether it stays without a vote.
func (n *Node) tellReplica(ctx context.Context, node string, on bool) error {
	if node == n.cfg.Node {
		return n.ident.setReplica(on)
	}
	_, err := call[empty](ctx, n, node, opReplica, replicaRequest{On: on})
	return err
}

func (n *Node) serveReplica(_ context.Context, _ peer.From, q replicaRequest) (empty, error) {
	return empty{}, n.ident.setReplica(q.On)
}

// promoteDuty promotes replicas that want a vote, once they have been caught up
// and reachable for stableFor without a break.
func (n *Node) promoteDuty(ctx context.Context, _ Term) error {
	since := make(map[raft.ServerID]time.Time)
	for sleep(ctx, memberInterval) == nil {
		waiting := make(map[raft.ServerID]raft.Server)
		for _, s := range n.servers() {
			if s.Suffrage != raft.Voter && n.caughtUp(ctx, s.ID) {
				waiting[s.ID] = s
			}
		}
		maps.DeleteFunc(since, func(id raft.ServerID, _ time.Time) bool { _, ok := waiting[id]; return !ok })
		for id := range waiting {
			if _, ok := since[id]; !ok {
				since[id] = time.Now()
			}
			if time.Since(since[id]) < stableFor {
				continue
			}
			if err := n.applyChange(ctx, changeRequest{Kind: changePromote, Node: string(id)}); err != nil && ctx.Err() == nil {
				n.log.Warn("a replica was not promoted", "server", id, "error", err)
				delete(since, id)
			}
		}
	}
	return ctx.Err()
}

func (n *Node) caughtUp(ctx context.Context, id raft.ServerID) bool {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	r, err := n.reportOf(ctx, string(id))
	return err == nil && !r.Replica && r.Serving && r.Applied+promoteLag >= n.raft().CommitIndex()
}
