package logstore

import (
	"time"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Metrics are the numbers of one chain.
type Metrics struct {
	write   prometheus.Histogram // what raft waits for
	commit  prometheus.Histogram // the part of it that the disk takes
	entries prometheus.Counter
	bytes   prometheus.Counter
	deleted prometheus.Counter
	errors  prometheus.Counter
	hits    prometheus.Counter
	misses  prometheus.Counter
	cached  prometheus.Gauge
}

// NewMetrics registers the numbers of one chain with r; nil registers nowhere.
// It panics when r has them already: one registry serves one node.
func NewMetrics(r prometheus.Registerer) *Metrics {
	auto := promauto.With(r)
	buckets := prometheus.ExponentialBuckets(50e-6, 2, 18) // 50 µs to 6.5 s
	counter := func(name, help string) prometheus.Counter {
		return auto.NewCounter(prometheus.CounterOpts{Name: "mcpraft_log_" + name, Help: help})
	}
	return &Metrics{
		write: auto.NewHistogram(prometheus.HistogramOpts{
			Name: "mcpraft_log_write_seconds", Buckets: buckets,
			Help: "Time to append a batch of entries to the Raft log, as raft waits for it.",
		}),
		commit: auto.NewHistogram(prometheus.HistogramOpts{
			Name: "mcpraft_log_commit_seconds", Buckets: buckets,
			Help: "Time of one durable transaction of the Raft log's file, fsync included: appends, deletes, term and vote.",
		}),
		entries: counter("entries_total", "Entries appended to the Raft log."),
		bytes:   counter("bytes_total", "Bytes of data in the entries appended to the Raft log."),
		deleted: counter("deletes_total", "Ranges deleted from the Raft log."),
		errors:  counter("errors_total", "Operations of the Raft log that were refused or did not succeed."),
		hits:    counter("cache_hits_total", "Entries read from memory."),
		misses:  counter("cache_misses_total", "Entries read from disk, or not there."),
		cached: auto.NewGauge(prometheus.GaugeOpts{
			Name: "mcpraft_log_cache_bytes", Help: "Memory that the newest entries of the Raft log take.",
		}),
	}
}

// measured counts what passes.
type measured struct {
	layer
	metrics *Metrics
}

func (m *measured) StoreLog(log *raft.Log) error { return m.StoreLogs([]*raft.Log{log}) }

func (m *measured) StoreLogs(logs []*raft.Log) error {
	start := time.Now()
	if err := m.layer.StoreLogs(logs); err != nil {
		m.metrics.errors.Inc()
		return err
	}
	m.metrics.write.Observe(time.Since(start).Seconds())
	n := 0
	for _, l := range logs {
		n += len(l.Data)
	}
	m.metrics.entries.Add(float64(len(logs)))
	m.metrics.bytes.Add(float64(n))
	return nil
}

func (m *measured) DeleteRange(first, last uint64) error {
	if err := m.layer.DeleteRange(first, last); err != nil {
		m.metrics.errors.Inc()
		return err
	}
	m.metrics.deleted.Inc()
	return nil
}
