package raftnode

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/raftnode/logstore"
	"github.com/mcpraft/mcpraft/raftnode/peer"
)

// Limits of a node. They are constants because a cluster whose nodes disagree
// about them would fail in ways that are hard to see.
const (
	MaxVoters      = 7        // beyond it a commit waits for more disks than it gains safety
	MaxQueued      = 8192     // commands waiting on one node
	MaxQueuedBytes = 32 << 20 // their encoded size
	MaxJoin        = 32       // addresses in Config.Join
)

// What a Config has where it says 0.
const (
	DefaultTrailingLogs    = 20_480
	DefaultSnapshotEntries = 16_384
)

// Timing is how patient the cluster is with its leader. All three nodes of a
// cluster should have the same.
type Timing struct {
	Heartbeat time.Duration // without contact for this long (up to twice), a follower asks for votes
	Election  time.Duration // a candidate that did not win tries again after it; at least Heartbeat
	Lease     time.Duration // a leader without a quorum for this long steps down; at most Heartbeat
}

// Fast is for nodes in one network of low latency and is the default; Relaxed
// is for slow disks or links with some ten milliseconds of latency.
var (
	Fast    = Timing{Heartbeat: 300 * time.Millisecond, Election: 300 * time.Millisecond, Lease: 150 * time.Millisecond}
	Relaxed = Timing{Heartbeat: 500 * time.Millisecond, Election: 500 * time.Millisecond, Lease: 250 * time.Millisecond}
)

// Config is everything a node is given. What touches the world outside the
// process is handed in, so that a whole cluster runs in one test.
type Config struct {
	Node    string // name of this node, unique in the cluster: a-z, 0-9 and -
	Cluster string // name of the cluster; every node of it says the same

	Dir     string                                  // data directory of this node alone
	FS      vfs.FS                                  // where Dir lies, but for the log; nil means the disk
	OpenLog func(dir string) (logstore.Base, error) // opens the log under dir; nil means bbolt on the disk

	Listener    net.Listener                                             // of the peer port; closed by Close
	Dial        func(ctx context.Context, addr string) (net.Conn, error) // to a peer; nil means TCP
	Credentials *peer.Credentials                                        // certificate and CA of the peer port
	PeerAddr    string                                                   // host:port where the others reach Listener
	AdminAddr   string                                                   // host:port of the admin API, told to the others; may be empty
	MCPAddr     string                                                   // host:port of the MCP front, told to the others; may be empty
	Binary      string                                                   // version of the binary, for people
	Commands    func() []string                                          // names of the commands that this node can run, sorted, told to the others; nil: none

	BootstrapExpect int      // how many empty nodes form a new cluster; 0 means: only ever join one
	Join            []string // peer addresses (host:port) of other nodes; those of a new cluster or any of an old one
	Replica         bool     // never promoted: serves reads, does not vote

	Timing              Timing        // zero means Fast
	TrailingLogs        uint64        // entries kept in the log behind a snapshot, for followers that were away; 0 means DefaultTrailingLogs
	SnapshotEntries     uint64        // a snapshot after this many entries; 0 means DefaultSnapshotEntries
	SnapshotBytes       uint64        // or after this many bytes of entries; 0 means 256 MiB
	CacheBytes          int64         // cache of the state machine; 0 means its default
	MemTableBytes       int64         // write buffer of the state machine; 0 means its default
	BallastBytes        int64         // size of the file that is given up when the disk is full; 0 means none
	ScrubInterval       time.Duration // between two scrubs of the whole state; 0 means 24 h
	ScrubBytesPerSecond int64         // pace of a scrub; 0 means 16 MiB
	DigestInterval      time.Duration // between logged checks of the digest; 0 means 60s

	ArchiveFloor func() uint64                          // highest index that the archive holds; the log is not cut past it. nil: no archive
	FreeDisk     func() (free, total uint64, err error) // space of the file system of Dir; nil means statfs
	WallClock    func() time.Time                       // nil means time.Now; used for log time at the start of an epoch only
	Fatal        func(error)                            // called once when this process must not go on; exits in production
	Logger       *slog.Logger                           // nil means discard
	Metrics      *Metrics                               // nil means unregistered
}

// Validate reports every mistake in c, not just the first.
func (c *Config) Validate() error {
	var errs []error
	add := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", field, fmt.Sprintf(format, args...)))
	}
	if err := record.ValidNode(c.Node); err != nil {
		errs = append(errs, err)
	}
	if err := record.ValidNode(c.Cluster); err != nil {
		add("cluster", "%q is not a name: use a-z, 0-9 and -, not - first, at most %d bytes", c.Cluster, record.MaxName)
	}
	if c.Dir == "" {
		add("dir", "is missing")
	}
	if c.Listener == nil {
		add("listener", "is missing")
	}
	if c.Credentials == nil {
		add("credentials", "are missing: the peer port is never open without mutual TLS")
	}
	if _, _, err := net.SplitHostPort(c.PeerAddr); err != nil {
		add("peer_addr", "%q is not host:port", c.PeerAddr)
	}
	if c.Fatal == nil {
		add("fatal", "is missing: a node whose disk failed must be able to stop its process")
	}
	if c.BootstrapExpect < 0 || c.BootstrapExpect > MaxVoters || c.BootstrapExpect > 1 && c.BootstrapExpect%2 == 0 {
		add("bootstrap_expect", "%d nodes: use 1, 3, 5 or 7, or 0 to join an existing cluster", c.BootstrapExpect)
	}
	if c.BootstrapExpect > 1 && len(c.Join) == 0 {
		add("join", "is empty: %d nodes cannot find each other", c.BootstrapExpect)
	}
	if c.Replica && c.BootstrapExpect > 0 {
		add("replica", "a node that never votes cannot form a new cluster: leave bootstrap_expect out")
	}
	if len(c.Join) > MaxJoin {
		add("join", "has %d addresses, the limit is %d", len(c.Join), MaxJoin)
	}
	for _, addr := range c.Join {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			add("join", "%q is not host:port", addr)
		}
	}
	if t := c.Timing; t != (Timing{}) && (t.Lease < 50*time.Millisecond || t.Lease > t.Heartbeat || t.Heartbeat > t.Election || t.Election > time.Minute) {
		add("timing", "want 50ms ≤ lease (%v) ≤ heartbeat (%v) ≤ election (%v) ≤ 1m", t.Lease, t.Heartbeat, t.Election)
	}
	if c.DigestInterval < 0 || c.BallastBytes < 0 || c.ScrubInterval < 0 || c.ScrubBytesPerSecond < 0 {
		add("config", "a negative interval or size")
	}
	return errors.Join(errs...)
}

// withDefaults is c with its zero values filled in.
func (c Config) withDefaults() Config {
	if c.FS == nil {
		c.FS = vfs.Default
	}
	if c.OpenLog == nil {
		c.OpenLog = openBolt
	}
	if c.Dial == nil {
		c.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", addr)
		}
	}
	if c.Timing == (Timing{}) {
		c.Timing = Fast
	}
	c.TrailingLogs = orDefault(c.TrailingLogs, DefaultTrailingLogs)
	c.SnapshotEntries = orDefault(c.SnapshotEntries, DefaultSnapshotEntries)
	c.SnapshotBytes = orDefault(c.SnapshotBytes, 256<<20)
	c.ScrubInterval = orDefault(c.ScrubInterval, scrubInterval)
	c.ScrubBytesPerSecond = orDefault(c.ScrubBytesPerSecond, 16<<20)
	c.DigestInterval = orDefault(c.DigestInterval, time.Minute)
	if c.FreeDisk == nil {
		dir := c.Dir
		c.FreeDisk = func() (uint64, uint64, error) { return statfs(dir) }
	}
	if c.WallClock == nil {
		c.WallClock = time.Now
	}
	if c.Commands == nil {
		c.Commands = func() []string { return nil }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics(nil)
	}
	c.Join = slices.Clone(c.Join)
	return c
}

func orDefault[T comparable](v, d T) T {
	var zero T
	if v == zero {
		return d
	}
	return v
}
