package raftnode

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode/logstore"
	"github.com/mcpraft/mcpraft/raftnode/peer"
)

// Metrics are the numbers of one node. Raft's own are not used: they need a
// build tag; what matters is counted at our seams.
type Metrics struct {
	log  *logstore.Metrics
	peer *peer.Metrics

	applied     prometheus.Counter          // entries
	envelope    prometheus.Histogram        // commands
	commit      prometheus.Histogram        // seconds
	elections   prometheus.Counter          // terms led
	installs    prometheus.Counter          // snapshots received
	heals       prometheus.Counter          // restarts of raft
	snapshots   prometheus.Counter          // driven
	reads       [Any + 1]prometheus.Counter // by ReadMode
	loggedReads prometheus.Counter
	staleness   prometheus.Gauge
	refusals    *prometheus.CounterVec // kind
	diskFree    prometheus.Gauge
	alarms      *prometheus.GaugeVec // name
	scrubs      prometheus.Counter
}

// NewMetrics registers the numbers of one node at r; nil registers them nowhere.
func NewMetrics(r prometheus.Registerer) *Metrics {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "mcpraft", Subsystem: "raft", Name: name, Help: help}
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts(opts(name, help)))
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts(opts(name, help)))
	}
	m := &Metrics{
		log:     logstore.NewMetrics(r),
		peer:    peer.NewMetrics(r),
		applied: counter("applied_entries_total", "Entries of the log that the state machine has applied."),
		envelope: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "mcpraft", Subsystem: "raft", Name: "envelope_commands", Help: "Commands in one entry of the log.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 11), // 1 to 1,024
		}),
		commit: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "mcpraft", Subsystem: "raft", Name: "commit_seconds", Help: "From proposing an entry on the leader until it is applied there.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14), // 0.5 ms to 4 s
		}),
		elections:   counter("terms_led_total", "Terms in which this node became leader and was ready to work."),
		installs:    counter("snapshots_installed_total", "Snapshots of the leader that replaced the state of this node."),
		heals:       counter("restarts_total", "Restarts of raft in this process, to drop a log that a snapshot has replaced."),
		snapshots:   counter("snapshots_total", "Times that the state was made durable and the log cut behind it."),
		loggedReads: counter("logged_reads_total", "Linearizable reads that had to be confirmed through the log."),
		staleness:   gauge("staleness_seconds", "How old this replica is at most."),
		refusals:    prometheus.NewCounterVec(prometheus.CounterOpts(opts("refused_total", "Commands that were not taken or whose outcome is unknown, by kind of error.")), []string{"kind"}),
		diskFree:    gauge("disk_free_ratio", "Free share of the file system of the data directory."),
		alarms:      prometheus.NewGaugeVec(prometheus.GaugeOpts(opts("alarm", "1 while the alarm is raised.")), []string{"name"}),
		scrubs:      counter("scrubs_total", "Complete passes over the stored state that found it equal to its digest."),
	}
	reads := prometheus.NewCounterVec(prometheus.CounterOpts(opts("reads_total", "Views of the replica that were given out, by consistency.")), []string{"mode"})
	for mode := Linearizable; mode <= Any; mode++ {
		m.reads[mode] = reads.WithLabelValues(mode.String())
	}
	if r != nil {
		r.MustRegister(m.applied, m.envelope, m.commit, m.elections, m.installs, m.heals, m.snapshots, reads, m.loggedReads,
			m.staleness, m.refusals, m.diskFree, m.alarms, m.scrubs)
	}
	return m
}

// refused counts a command that did not succeed.
func (m *Metrics) refused(err error) { m.refusals.WithLabelValues(fault.Of(err).String()).Inc() }
