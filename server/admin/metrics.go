package admin

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/adminapi"
)

// metrics of the admin API. Handles are resolved beforehand: an operation costs
// two atomic additions.
type metrics struct {
	requests *prometheus.CounterVec
	panics   prometheus.Counter
	streams  prometheus.Gauge
	accepted []prometheus.Counter  // by adminapi.Op
	seconds  []prometheus.Observer // by adminapi.Op
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mcpraft_admin_requests_total",
			Help: "Operations of the admin API by name and result; code is ok or that of the error.",
		}, []string{"op", "code"}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mcpraft_admin_panics_total",
			Help: "Operations of the admin API that ended in a panic: defects to report.",
		}),
		streams: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "mcpraft_admin_streams",
			Help: "Open /v1/stream connections.",
		}),
		accepted: make([]prometheus.Counter, adminapi.MaxOp+1),
		seconds:  make([]prometheus.Observer, adminapi.MaxOp+1),
	}
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "mcpraft_admin_request_seconds",
		Help:    "Time from the decoded request to the result, by operation.",
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 15},
	}, []string{"op"})
	for _, o := range adminapi.Operations() {
		m.accepted[o.Op] = m.requests.WithLabelValues(o.Name, "ok")
		m.seconds[o.Op] = seconds.WithLabelValues(o.Name)
	}
	r.MustRegister(m.requests, m.panics, m.streams, seconds)
	return m
}

// observe counts one operation.
func (m *metrics) observe(o adminapi.Operation, began time.Time, err error) {
	m.seconds[o.Op].Observe(time.Since(began).Seconds())
	if err == nil {
		m.accepted[o.Op].Inc()
		return
	}
	m.requests.WithLabelValues(o.Name, fault.Of(err).String()).Inc()
}
