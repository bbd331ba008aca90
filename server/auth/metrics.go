package auth

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of an Auth. The counters of the hot path are made beforehand.
type metrics struct {
	total   *prometheus.CounterVec
	ok      map[string]prometheus.Counter
	fetched *prometheus.GaugeVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mcpraft_auth_total",
			Help: "Requests by how they were authenticated (jwt, token, dev, none) and the result (ok, refused).",
		}, []string{"method", "result"}),
		ok: make(map[string]prometheus.Counter),
		fetched: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "mcpraft_jwks_last_refresh_timestamp_seconds",
			Help: "When the keys of an issuer were last fetched.",
		}, []string{"issuer"}),
	}
	for _, method := range []string{MethodJWT, MethodToken, MethodDev} {
		m.ok[method] = m.total.WithLabelValues(method, "ok")
	}
	if r != nil {
		r.MustRegister(m.total, m.fetched)
	}
	return m
}

func (m *metrics) accepted(method string) prometheus.Counter { return m.ok[method] }

func (m *metrics) refused(method string) prometheus.Counter {
	return m.total.WithLabelValues(method, "refused")
}

// refreshed notes when the keys of an issuer were fetched.
func (m *metrics) refreshed(issuer string) func(time.Time) {
	gauge := m.fetched.WithLabelValues(issuer)
	return func(at time.Time) { gauge.Set(float64(at.UnixMilli()) / 1000) }
}
