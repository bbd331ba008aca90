package session

import "github.com/prometheus/client_golang/prometheus"

// Metrics of the sessions of a node and, while it leads, of those it ends.
type Metrics struct {
	expired   prometheus.Counter
	purged    prometheus.Counter
	suspended prometheus.Counter
	walk      prometheus.Gauge

	known     prometheus.Gauge
	calls     prometheus.Gauge       // in flight
	listens   prometheus.Gauge       // GET streams
	resuming  prometheus.Gauge       // GETs for the rest of a call's stream
	ringBytes prometheus.Gauge       // of events that are kept
	resumes   *prometheus.CounterVec // by outcome
	nodeLost  prometheus.Counter
}

// NewMetrics registers with r, or with nobody if r is nil.
func NewMetrics(r prometheus.Registerer) *Metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "mcpraft_" + name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "mcpraft_" + name, Help: help})
	}
	streams := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "mcpraft_session_streams", Help: "What clients have open on this node, by kind: call, listen, resume.",
	}, []string{"kind"})
	m := &Metrics{
		expired:   counter("sessions_expired_total", "Sessions that this node expired as the leader."),
		purged:    counter("sessions_purged_total", "Tombstones of sessions that this node removed as the leader."),
		suspended: counter("sessions_suspended_total", "Idle sessions that this node suspended as the leader."),
		walk:      gauge("sessions_walk_seconds", "Duration of the last walk over all sessions in search of expired ones."),
		known:     gauge("sessions_known", "Sessions that this node holds in memory; others it reads from its replica."),
		calls:     streams.WithLabelValues("call"),
		listens:   streams.WithLabelValues("listen"),
		resuming:  streams.WithLabelValues("resume"),
		ringBytes: gauge("session_ring_bytes", "Memory of the events that this node keeps for resumption."),
		resumes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mcpraft_session_resumes_total",
			Help: "Resumptions of calls' streams, by outcome: here, owner, record, node_lost, finished, later.",
		}, []string{"outcome"}),
		nodeLost: counter("session_node_lost_total", "Calls whose clients were told that nobody knows the outcome."),
	}
	if r != nil {
		r.MustRegister(m.expired, m.purged, m.suspended, m.walk, m.known, streams, m.ringBytes, m.resumes, m.nodeLost)
	}
	return m
}
