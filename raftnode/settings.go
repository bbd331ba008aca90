package raftnode

import (
	"math"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

const (
	bootPatience     = 3                         // heartbeat and election are this many times longer while a node starts
	commitTimeout    = 10 * time.Millisecond     // an idle leader tells its commit index this often (up to twice)
	maxAppendEntries = 64                        // entries of one append and one apply; envelopes have at most 256 KiB
	transportTimeout = 10 * time.Second          // of one call between raft instances; snapshots get more by their size
	transportPool    = 3                         // idle connections per peer
	never            = 10 * 365 * 24 * time.Hour // raft's own snapshot trigger is out of reach
)

// raftConfig is how raft is set up. Why BatchApplyCh is off and
// calls are not pipelined: docs/adr/0002 and 0007, and test/defects, which shows
// what the library does otherwise. Heartbeat and election start longer, so that a node that is still
// replaying does not disturb a cluster that works; settle puts them right.
func raftConfig(c *Config, id raft.ServerID, notify chan<- bool, logger hclog.Logger) *raft.Config {
	rc := raft.DefaultConfig()
	rc.ProtocolVersion = raft.ProtocolVersionMax
	rc.LocalID = id
	rc.HeartbeatTimeout = bootPatience * c.Timing.Heartbeat
	rc.ElectionTimeout = bootPatience * c.Timing.Election
	rc.LeaderLeaseTimeout = c.Timing.Lease // cannot be reloaded
	rc.CommitTimeout = commitTimeout
	rc.MaxAppendEntries = maxAppendEntries
	rc.BatchApplyCh = false // it leaks futures at shutdown
	rc.ShutdownOnRemove = false
	rc.TrailingLogs = c.TrailingLogs
	rc.SnapshotInterval = never
	rc.SnapshotThreshold = math.MaxUint64
	rc.NoSnapshotRestoreOnStart = true // the state is durable
	rc.PreVoteDisabled = false
	rc.NoLegacyTelemetry = true
	rc.NotifyCh = notify
	rc.Logger = logger
	return rc
}

// settle ends the patience of a starting node.
func settle(r *raft.Raft, t Timing) error {
	rc := r.ReloadableConfig() // ReloadConfig takes every field, so start from what is
	rc.HeartbeatTimeout, rc.ElectionTimeout = t.Heartbeat, t.Election
	return r.ReloadConfig(rc)
}

// newTransport is raft's network transport over the peer port. It is raft's own
// type and not wrapped: a wrapper without RequestPreVote turns pre-vote off.
func newTransport(layer raft.StreamLayer, logger hclog.Logger) *raft.NetworkTransport {
	return raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream:          layer,
		MaxPool:         transportPool,
		MaxRPCsInFlight: 1, // pipelining can wedge a follower after a stalled disk
		Timeout:         transportTimeout,
		Logger:          logger,
	})
}

var _ raft.WithPreVote = (*raft.NetworkTransport)(nil)
