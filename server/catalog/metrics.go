package catalog

import "github.com/prometheus/client_golang/prometheus"

// Metrics are what a node counts while it leads and lists. Labels are aliases, of
// which a cluster has a bounded number, and words of our own.
type Metrics struct {
	listings *prometheus.CounterVec // result
	heard    *prometheus.CounterVec // upstream
}

// NewMetrics registers with r, or with nobody if r is nil.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		listings: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mcpraft_catalog_listings_total",
			Help: "Listings of upstreams by this node as the leader, by result: written, same (nothing new), failed.",
		}, []string{"result"}),
		heard: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mcpraft_catalog_changes_heard_total",
			Help: "Notifications of an upstream that one of its lists changed; it is listed at most once a second.",
		}, []string{"upstream"}),
	}
	if r != nil {
		r.MustRegister(m.listings, m.heard)
	}
	return m
}

// forget drops what was counted of an upstream that is no more.
func (m *Metrics) forget(alias string) { m.heard.DeleteLabelValues(alias) }

var (
	descItems = prometheus.NewDesc("mcpraft_catalog_items",
		"Items of an upstream that clients are shown, by list: tools, resources, templates, prompts.", []string{"upstream", "list"}, nil)
	descQuarantined = prometheus.NewDesc("mcpraft_catalog_quarantined_items",
		"Items that an upstream lists and nobody is shown; mcpraft upstreams show names them.", []string{"upstream"}, nil)
	descTruncated = prometheus.NewDesc("mcpraft_catalog_truncated",
		"1 if the upstream lists more than may be kept.", []string{"upstream"}, nil)
	descFailing = prometheus.NewDesc("mcpraft_catalog_failing",
		"1 if the newest listing of the upstream failed; what it listed before stays.", []string{"upstream"}, nil)
)

// Collector tells what the catalogue of this node holds.
func (c *Catalog) Collector() prometheus.Collector { return collector{c} }

type collector struct{ of *Catalog }

// Describe sends nothing: the collector is unchecked, its descriptions are fixed.
func (collector) Describe(chan<- *prometheus.Desc) {}

// Collect reads the newest View.
func (c collector) Collect(out chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, v int, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
	}
	for s := range c.of.Now().Slices() {
		for _, k := range Kinds() {
			send(descItems, len(s.Items(k)), s.Alias, k.String())
		}
		send(descQuarantined, s.Hidden, s.Alias)
		send(descTruncated, one(s.Truncated), s.Alias)
		send(descFailing, one(s.Err != ""), s.Alias)
	}
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}
