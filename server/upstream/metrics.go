package upstream

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// Metrics are the counters of a node's upstreams. Labels are aliases, of which a
// cluster has a bounded number, and words of our own.
type Metrics struct {
	calls    *prometheus.CounterVec   // upstream, code
	seconds  *prometheus.HistogramVec // upstream
	probes   *prometheus.CounterVec   // upstream, result
	sessions *prometheus.CounterVec   // upstream, event
	resumed  *prometheus.CounterVec   // upstream
	refused  *prometheus.CounterVec   // upstream
	dropped  *prometheus.CounterVec   // upstream
	children *prometheus.CounterVec   // upstream, event
	garbaged *prometheus.CounterVec   // upstream
}

// NewMetrics registers the metrics at r; nil registers them nowhere.
func NewMetrics(r prometheus.Registerer) *Metrics {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "mcpraft", Subsystem: "upstream", Name: name, Help: help}
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts(opts(name, help)), append([]string{"upstream"}, labels...))
	}
	m := &Metrics{
		calls: counter("calls_total", "Operations at an upstream that have ended, by code: ok or a kind of error.", "code"),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "mcpraft", Subsystem: "upstream", Name: "call_seconds",
			Help:    "Time from sending a call to an upstream to its answer.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"upstream"}),
		probes:   counter("probes_total", "Probes of an upstream's era, by result: modern, legacy, inconclusive, failed.", "result"),
		sessions: counter("sessions_total", "Upstream sessions, by what became of them: opened, reopened, lost.", "event"),
		resumed:  counter("streams_resumed_total", "Streams of calls that were taken up again after their connection had ended."),
		refused:  counter("requests_refused_total", "Requests of an upstream that were refused here: nobody to ask, or too many at once."),
		dropped:  counter("tools_dropped_total", "Tools left out of a list because their x-mcp-header breaks the rules."),
		children: counter("process_events_total", "What happened to child processes of stdio upstreams on this node: restarted, crashed.", "event"),
		garbaged: counter("process_garbage_total", "Lines on the standard output of child processes that are no messages of MCP."),
	}
	if r != nil {
		r.MustRegister(m.calls, m.seconds, m.probes, m.sessions, m.resumed, m.refused, m.dropped, m.children, m.garbaged)
	}
	return m
}

// forget drops what was counted of an upstream that is no more.
func (m *Metrics) forget(alias string) {
	label := prometheus.Labels{"upstream": alias}
	for _, v := range []*prometheus.CounterVec{m.calls, m.probes, m.sessions, m.resumed, m.refused, m.dropped, m.children, m.garbaged} {
		v.DeletePartialMatch(label)
	}
	m.seconds.DeletePartialMatch(label)
}

// upstreamMetrics are the metrics of one upstream, looked up once.
type upstreamMetrics struct {
	of    *Metrics
	alias string
	ok    prometheus.Counter
	time  prometheus.Observer
}

func (m *Metrics) upstream(alias string) upstreamMetrics {
	return upstreamMetrics{of: m, alias: alias, ok: m.calls.WithLabelValues(alias, "ok"), time: m.seconds.WithLabelValues(alias)}
}

func (m *upstreamMetrics) took(begun time.Time) { m.time.Observe(time.Since(begun).Seconds()) }

func (m *upstreamMetrics) ended(err error) {
	if err == nil {
		m.ok.Inc()
		return
	}
	m.of.calls.WithLabelValues(m.alias, fault.Of(err).String()).Inc()
}

func (m *upstreamMetrics) probe(result string) { m.of.probes.WithLabelValues(m.alias, result).Inc() }

func (m *upstreamMetrics) opened(again bool) {
	event := "opened"
	if again {
		event = "reopened"
	}
	m.of.sessions.WithLabelValues(m.alias, event).Inc()
}

func (m *upstreamMetrics) lost()        { m.of.sessions.WithLabelValues(m.alias, "lost").Inc() }
func (m *upstreamMetrics) resumed()     { m.of.resumed.WithLabelValues(m.alias).Inc() }
func (m *upstreamMetrics) askRefused()  { m.of.refused.WithLabelValues(m.alias).Inc() }
func (m *upstreamMetrics) toolDropped() { m.of.dropped.WithLabelValues(m.alias).Inc() }

func (m *upstreamMetrics) restarted() { m.of.children.WithLabelValues(m.alias, "restarted").Inc() }
func (m *upstreamMetrics) crashed()   { m.of.children.WithLabelValues(m.alias, "crashed").Inc() }
func (m *upstreamMetrics) garbage()   { m.of.garbaged.WithLabelValues(m.alias).Inc() }
