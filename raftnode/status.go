package raftnode

import (
	"context"
	"time"

	"github.com/hashicorp/raft"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode/peer"
)

// Status is what a node knows of itself. It is cheap and asks nobody.
type Status struct {
	Node      string
	Disk      record.ID
	Process   record.ID
	Cluster   string
	ClusterID record.ID // zero: belongs to no cluster yet
	Timeline  record.Timeline

	Role   string // leader, follower, candidate, shutdown; replica for a follower without a vote
	Leader string // name of the leader's node; empty: none is known
	Ready  bool   // as Ready would say now
	Term   uint64

	CommitIndex  uint64
	AppliedIndex uint64 // by the state machine
	DurableIndex uint64 // of the state: survives a power failure without the log
	FirstIndex   uint64 // of the log
	LastIndex    uint64 // of the log
	LogTime      record.LogTime
	Revision     uint64
	Digest       record.Digest
	Staleness    time.Duration // at most; math.MaxInt64: unknown

	ClusterVersion uint32
	CheckedIndex   uint64 // of the newest digest check
	SinceCheck     uint64 // real commands since
	ReadOnly       bool
	Voters         []string // node names
	Replicas       []string
	Queued         int // commands that wait on this node
	QueuedBytes    int
	Alarms         []Alarm
	Peers          []peer.Status
	CertExpiry     time.Time // of the peer port's certificate
}

// Status reports on this node.
func (n *Node) Status() Status {
	id, meta, r := n.ident.get(), n.fsm.Meta(), n.raft()
	s := Status{
		Node: id.Node, Disk: id.Disk, Process: n.ident.process, Cluster: id.Cluster, ClusterID: id.ClusterID, Timeline: id.Timeline,
		Role: n.role(r), Term: r.CurrentTerm(), Ready: n.ready() == nil,
		CommitIndex: r.CommitIndex(), AppliedIndex: meta.Index, DurableIndex: n.fsm.DurableIndex(), LastIndex: r.LastIndex(),
		LogTime: meta.LogTime, Revision: meta.Revision, Digest: meta.Digest, Staleness: n.freshness.staleness(meta.Index),
		ClusterVersion: meta.ClusterVersion, CheckedIndex: meta.CheckedIndex, SinceCheck: meta.SinceCheck,
		ReadOnly: n.health.readOnly.Load(), Alarms: n.alarms.list(), Peers: n.port.Peers(), CertExpiry: n.port.CertExpiry(),
	}
	s.Leader, _, _ = n.Leader()
	s.FirstIndex, _ = n.store.FirstIndex() // 0 when the log cannot be read; its own alarm tells
	s.Queued, s.QueuedBytes = n.queue.len()
	for _, server := range n.servers() {
		node, _, _ := splitServerID(string(server.ID))
		if server.Suffrage == raft.Voter {
			s.Voters = append(s.Voters, node)
		} else {
			s.Replicas = append(s.Replicas, node)
		}
	}
	return s
}

func (n *Node) role(r *raft.Raft) string {
	switch r.State() {
	case raft.Leader:
		return "leader"
	case raft.Candidate:
		return "candidate"
	case raft.Shutdown:
		return "shutdown"
	}
	self := raft.ServerID(n.ident.serverID())
	for _, s := range n.servers() {
		if s.ID == self && s.Suffrage != raft.Voter {
			return "replica"
		}
	}
	return "follower"
}

// Leader is the node that leads, as far as this node knows, and its peer
// address; ok is false when none is known.
func (n *Node) Leader() (node, addr string, ok bool) {
	if node, ok = n.leaderName(); !ok {
		return "", "", false
	}
	if node == n.cfg.Node {
		return node, n.cfg.PeerAddr, true
	}
	addr, _, _ = n.directory.resolve(node)
	return node, addr, true
}

// leaderName is Leader for who need not know where it is.
func (n *Node) leaderName() (string, bool) {
	_, id := n.raft().LeaderWithID()
	node, _, ok := splitServerID(string(id))
	return node, ok
}

// remoteLeader is the leader's node if it is another one.
func (n *Node) remoteLeader() (string, bool) {
	node, ok := n.leaderName()
	return node, ok && node != n.cfg.Node
}

// serving reports why this node answers no reads and takes no commands, or nil.
func (n *Node) serving() error {
	if n.closing.Err() != nil {
		return errStopping()
	}
	if err := load(&n.health.failed); err != nil {
		return fault.New(fault.Unavailable, "this node has stopped: %w", err)
	}
	return n.health.diverged()
}

// ready reports why this node is not ready, or nil: it serves, is a member, knows
// a leader, and its replica was confirmed to be fresh a moment ago.
func (n *Node) ready() error {
	if err := n.serving(); err != nil {
		return err
	}
	node, _, known := n.Leader()
	switch {
	case n.ident.get().ClusterID.IsZero():
		return fault.New(fault.Unavailable, "this node belongs to no cluster yet")
	case !n.isMember():
		return fault.New(fault.Unavailable, "this node is no member of the cluster")
	case !known:
		return fault.New(fault.NoLeader, "no leader is known").After(retryNoLeader)
	case node == n.cfg.Node && n.leads() == nil:
		return fault.New(fault.NoLeader, "this node has just become leader and is not ready").After(retryNoLeader)
	case n.fsm.Meta().ClusterID.IsZero():
		return fault.New(fault.Unavailable, "the state does not say yet which cluster it is of")
	}
	if _, open := n.producer.current(); !open {
		return fault.New(fault.Unavailable, "this node has not announced itself yet")
	}
	if s := n.freshness.staleness(n.fsm.Meta().Index); s > DefaultMaxStaleness {
		return fault.New(fault.Stale, "this replica has not caught up")
	}
	return nil
}

// Ready waits until this node serves: it is a member, a leader is known, its
// replica has caught up and it can propose. The error says what is missing when
// ctx ends.
func (n *Node) Ready(ctx context.Context) error {
	for {
		err := n.ready()
		if err == nil {
			return nil
		}
		if s := n.freshness.staleness(n.fsm.Meta().Index); s > DefaultMaxStaleness {
			n.refresh(ctx)
		}
		if sleep(ctx, routeRetry) != nil {
			return err
		}
	}
}

// Health answers the probes of an orchestrator.
type Health struct {
	Live  error // not nil: this process does not get well again by itself
	Ready error // not nil: send requests to another node
}

// Health is cheap and asks nobody.
func (n *Node) Health() Health {
	h := Health{Ready: n.ready()}
	if err := load(&n.health.failed); err != nil {
		h.Live = err
	}
	return h
}

// Timeline is the history of the log that this node is on; zero before it
// belongs to a cluster.
func (n *Node) Timeline() record.Timeline { return n.ident.get().Timeline }

// Meta is where this replica stands.
func (n *Node) Meta() fsm.Meta { return n.fsm.Meta() }

// DigestChecks are the newest logged checks of the digest, oldest first. Nodes
// that have one at the same index have the same one, or differ in their state.
func (n *Node) DigestChecks() []fsm.Check { return n.fsm.Checks() }

// Storage is numbers of the state machine's storage, for metrics.
func (n *Node) Storage() fsm.Stats { return n.fsm.Stats() }
