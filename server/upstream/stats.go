package upstream

import (
	"cmp"
	"errors"
	"net"
	"slices"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
)

// Stats is how this node stands with one upstream at one moment.
type Stats struct {
	Alias       string
	Transport   string
	Era         string // "modern", "legacy", "legacy sse", or "" if it has not been probed
	Size        int    // of the pool
	MaxOverflow int
	InUse       int    // calls inside
	Waiting     int    // calls that wait for a place
	Refused     uint64 // calls that waited in vain, since the record last changed
	Connections int    // open, in use or idle
	Processes   int    // stdio: that run on this node
	Sessions    int    // upstream sessions that are kept
	Listeners   int
}

// Stats are those of the upstreams that this node has used, by alias.
func (u *Upstreams) Stats() []Stats {
	var list []Stats
	for _, up := range u.all() {
		list = append(list, up.stats())
	}
	slices.SortFunc(list, func(a, b Stats) int { return cmp.Compare(a.Alias, b.Alias) })
	return list
}

// Collector gives Stats to Prometheus, when it is scraped.
func (u *Upstreams) Collector() prometheus.Collector { return collector{u} }

type collector struct{ ups *Upstreams }

func statsDesc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("mcpraft_upstream_"+name, help, []string{"upstream"}, nil)
}

var (
	descSize        = statsDesc("pool_size", "Calls that may be at an upstream at once, overflow apart.")
	descInUse       = statsDesc("pool_in_use", "Calls that are at an upstream.")
	descWaiting     = statsDesc("pool_waiting", "Calls that wait for a place in the pool of an upstream.")
	descRefused     = statsDesc("pool_refused_total", "Calls that waited for a place in vain, since the record of the upstream changed.")
	descConnections = statsDesc("connections", "Open connections to an upstream, in use or idle.")
	descProcesses   = statsDesc("processes", "Processes of a stdio upstream that run on this node.")
	descSessions    = statsDesc("sessions_kept", "Sessions of an upstream that this node keeps.")
	descEra         = prometheus.NewDesc("mcpraft_upstream_info", "1, with the era of an upstream as this node found it: modern, legacy, legacy sse, or unknown.", []string{"upstream", "era"}, nil)
	descListeners   = statsDesc("listeners", "Listeners to what an upstream sends outside calls.")
)

// Describe sends nothing: the collector is unchecked, its descriptions are fixed.
func (collector) Describe(chan<- *prometheus.Desc) {}

// Collect sends the stats of each upstream that this node has used.
func (c collector) Collect(out chan<- prometheus.Metric) {
	for _, s := range c.ups.Stats() {
		gauge := func(d *prometheus.Desc, v int) {
			out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), s.Alias)
		}
		gauge(descSize, s.Size)
		gauge(descInUse, s.InUse)
		gauge(descWaiting, s.Waiting)
		gauge(descConnections, s.Connections)
		gauge(descProcesses, s.Processes)
		gauge(descSessions, s.Sessions)
		gauge(descListeners, s.Listeners)
		out <- prometheus.MustNewConstMetric(descEra, prometheus.GaugeValue, 1, s.Alias, cmp.Or(s.Era, "unknown"))
		out <- prometheus.MustNewConstMetric(descRefused, prometheus.CounterValue, float64(s.Refused), s.Alias)
	}
}

func (up *upstream) stats() Stats {
	s := Stats{
		Alias: up.rec.Alias, Transport: up.rec.Transport, Size: up.gate.size, MaxOverflow: up.gate.overflow,
		InUse: int(up.gate.inside.Load()), Waiting: int(up.gate.waiting.Load()), Refused: up.gate.refused.Load(),
	}
	switch e := up.era.Load(); {
	case e == nil:
	case e.modern:
		s.Era = "modern"
	case up.stdio():
		s.Era = "legacy"
	case e.connected:
		s.Era = "legacy sse"
	default:
		s.Era = "legacy"
	}
	if c, ok := up.carrier.(*httpCarrier); ok {
		s.Connections = int(c.open.Load())
	}
	if up.stdio() {
		s.Processes = up.ups.children.running(up.rec.Alias)
	}
	up.mu.Lock()
	defer up.mu.Unlock()
	s.Sessions, s.Listeners = len(up.sessions), len(up.listeners)
	return s
}

// dialReason says why a connection was not made, in words that give no address
// away.
func dialReason(err error) string {
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		if dns.IsNotFound {
			return "its name does not resolve"
		}
		return "its name cannot be resolved at the moment"
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return "no route to it"
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return "no answer to the connection attempt"
	}
	return "no connection"
}
