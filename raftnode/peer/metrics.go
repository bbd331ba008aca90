package peer

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// Metrics are the counters of a Port.
type Metrics struct {
	connections *prometheus.GaugeVec   // protocol, direction
	bytes       *prometheus.CounterVec // protocol, direction of the bytes
	dials       *prometheus.CounterVec // protocol, result
	refused     *prometheus.CounterVec // reason
	calls       *prometheus.CounterVec // direction, code
	rtt         *prometheus.GaugeVec   // node
	certExpiry  prometheus.Gauge

	callsOK map[string]prometheus.Counter // by direction: the hot case without a lookup of labels
}

// NewMetrics registers the metrics of a Port at r; nil registers them nowhere.
func NewMetrics(r prometheus.Registerer) *Metrics {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "mcpraft", Subsystem: "peer", Name: name, Help: help}
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts(opts(name, help)), labels)
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts(opts(name, help)), labels)
	}
	m := &Metrics{
		connections: gauge("connections", "Open connections between nodes, by protocol and by who dialled.", "protocol", "direction"),
		bytes:       counter("bytes_total", "Bytes between nodes, before encryption.", "protocol", "direction"),
		dials:       counter("dials_total", "Connections to other nodes that were tried, by result: ok or a reason.", "protocol", "result"),
		refused:     counter("refused_total", "Connections of other nodes that were not taken, by reason.", "reason"),
		calls:       counter("calls_total", "Calls between nodes that have ended, by code: ok or a kind of error.", "direction", "code"),
		rtt:         gauge("rtt_seconds", "Round trip of the newest ping to a node.", "node"),
		certExpiry:  prometheus.NewGauge(prometheus.GaugeOpts(opts("certificate_expiry_timestamp_seconds", "When this node's certificate stops to be valid."))),
	}
	m.callsOK = map[string]prometheus.Counter{
		"in":  m.calls.WithLabelValues("in", "ok"),
		"out": m.calls.WithLabelValues("out", "ok"),
	}
	if r != nil {
		r.MustRegister(m.connections, m.bytes, m.dials, m.refused, m.calls, m.rtt, m.certExpiry)
	}
	return m
}

// call counts the end of a call.
func (m *Metrics) call(direction string, err error) {
	if err == nil {
		m.callsOK[direction].Inc()
		return
	}
	m.calls.WithLabelValues(direction, fault.Of(err).String()).Inc()
}

// stream is the counters of one connection; direction is "in" if it was taken.
func (m *Metrics) stream(protocol, direction string) (in, out prometheus.Counter, open prometheus.Gauge) {
	return m.bytes.WithLabelValues(protocol, "in"), m.bytes.WithLabelValues(protocol, "out"),
		m.connections.WithLabelValues(protocol, direction)
}
