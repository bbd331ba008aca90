package server

import (
	"math"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mcpraft/mcpraft/raftnode"
)

// A collector reads the state of the node when it is scraped: what is known
// already costs nothing between scrapes.
type collector struct {
	node    *raftnode.Node
	started time.Time
	build   prometheus.Metric
}

func gauge(name, help string) *prometheus.Desc { return prometheus.NewDesc(name, help, nil, nil) }

var (
	descUptime    = gauge("mcpraft_uptime_seconds", "Time since this process started.")
	descReady     = gauge("mcpraft_ready", "1 if this node should be given traffic.")
	descHasLeader = gauge("mcpraft_raft_has_leader", "1 if this node knows a leader.")
	descIsLeader  = gauge("mcpraft_raft_is_leader", "1 if this node leads.")
	descTerm      = gauge("mcpraft_raft_term", "Current term.")
	descCommitted = gauge("mcpraft_raft_commit_index", "Index up to which the log is committed, as this node knows it.")
	descApplied   = gauge("mcpraft_raft_applied_index", "Index that the state machine has applied.")
	descLastLog   = gauge("mcpraft_raft_last_log_index", "Index of the last entry of this node's log.")
	descDurable   = gauge("mcpraft_fsm_durable_index", "Index up to which the state machine survives a power failure.")
	descQueued    = gauge("mcpraft_raft_proposals_pending", "Commands that wait on this node.")
	descStale     = gauge("mcpraft_read_staleness_seconds", "Upper bound of how far this replica is behind; +Inf if unknown.")
	descReadOnly  = gauge("mcpraft_read_only", "1 if the digests of the nodes differ and no majority agrees.")
	descCert      = gauge("mcpraft_cert_not_after_timestamp_seconds", "End of the validity of the peer certificate.")
	descDisk      = gauge("mcpraft_pebble_disk_bytes", "Disk space of the state machine.")
	descL0        = gauge("mcpraft_pebble_l0_files", "Files in level 0 of the state machine's storage.")
	descReadAmp   = gauge("mcpraft_pebble_read_amp", "Read amplification of the state machine's storage.")
	descMemTable  = gauge("mcpraft_pebble_memtable_bytes", "Memory of the state machine's write buffers.")
	descStalls    = prometheus.NewDesc("mcpraft_pebble_stalls_total", "Write stalls of the state machine's storage.", nil, nil)
)

func newCollector(node *raftnode.Node, binary string, started time.Time) *collector {
	build := prometheus.NewDesc("mcpraft_build_info", "1, with the version of the binary and of Go.", []string{"version", "go"}, nil)
	return &collector{
		node:    node,
		started: started,
		build:   prometheus.MustNewConstMetric(build, prometheus.GaugeValue, 1, binary, runtime.Version()),
	}
}

// Describe sends nothing: the collector is unchecked, its descriptions are fixed.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect reads the node.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, v float64) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	out <- c.build
	send(descUptime, time.Since(c.started).Seconds())
	s := c.node.Status()
	send(descReady, one(s.Ready))
	send(descHasLeader, one(s.Leader != ""))
	send(descIsLeader, one(s.Role == "leader"))
	send(descTerm, float64(s.Term))
	send(descCommitted, float64(s.CommitIndex))
	send(descApplied, float64(s.AppliedIndex))
	send(descLastLog, float64(s.LastIndex))
	send(descDurable, float64(s.DurableIndex))
	send(descQueued, float64(s.Queued))
	send(descReadOnly, one(s.ReadOnly))
	stale := s.Staleness.Seconds()
	if s.Staleness == math.MaxInt64 {
		stale = math.Inf(1)
	}
	send(descStale, stale)
	if !s.CertExpiry.IsZero() {
		send(descCert, float64(s.CertExpiry.Unix()))
	}
	st := c.node.Storage()
	send(descDisk, float64(st.DiskBytes))
	send(descL0, float64(st.L0Files))
	send(descReadAmp, float64(st.ReadAmp))
	send(descMemTable, float64(st.MemTableBytes))
	out <- prometheus.MustNewConstMetric(descStalls, prometheus.CounterValue, float64(st.Stalls))
}

func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
