package credential

import "github.com/prometheus/client_golang/prometheus"

type metrics struct{ good, bad prometheus.Counter }

func newMetrics(r prometheus.Registerer) *metrics {
	fetches := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "mcpraft_credential_fetches_total",
		Help: "Access tokens that this node asked token endpoints for, by outcome: ok, failed.",
	}, []string{"outcome"})
	if r != nil {
		r.MustRegister(fetches)
	}
	return &metrics{good: fetches.WithLabelValues("ok"), bad: fetches.WithLabelValues("failed")}
}

func (m *metrics) fetched(err error) {
	if err != nil {
		m.bad.Inc()
		return
	}
	m.good.Inc()
}
