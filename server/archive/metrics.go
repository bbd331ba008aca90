package archive

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are the numbers of the archive on one node. The counters count while the
// node leads; what a node knows of the archive at any time is in [Archiver.Collect].
type Metrics struct {
	segments prometheus.Counter
	entries  prometheus.Counter
	bytes    prometheus.Counter // stored
	failures *prometheus.CounterVec
	lost     prometheus.Counter // entries
	chores   *prometheus.CounterVec
}

// NewMetrics registers the numbers of one node at r; nil registers them nowhere.
func NewMetrics(r prometheus.Registerer) *Metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "mcpraft", Subsystem: "wal_archive", Name: name, Help: help})
	}
	m := &Metrics{
		segments: counter("segments_total", "Segments of the log that this node has archived."),
		entries:  counter("entries_total", "Entries in them."),
		bytes:    counter("bytes_total", "Bytes of them in the destination."),
		lost:     counter("lost_entries_total", "Entries that were cut off the log before they could be archived."),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "mcpraft", Subsystem: "wal_archive", Name: "errors_total", Help: "Attempts to archive that failed, by kind of error.",
		}, []string{"kind"}),
		chores: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "mcpraft", Subsystem: "backup", Name: "errors_total", Help: "Backups and verifications on schedule that failed, by kind of error.",
		}, []string{"work", "kind"}),
	}
	if r != nil {
		r.MustRegister(m.segments, m.entries, m.bytes, m.failures, m.lost, m.chores)
	}
	return m
}

func (m *Metrics) took(s *sealed) {
	m.segments.Inc()
	m.entries.Add(float64(s.Footer.Count))
	m.bytes.Add(float64(s.Size))
}

func gauge(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("mcpraft_"+name, help, labels, nil)
}

var (
	descLagEntries = gauge("wal_archive_lag_entries", "Entries of the log that are applied and not archived.")
	descLagSeconds = gauge("wal_archive_lag_seconds", "Age of the oldest change that is not archived: what would be lost if every node were. 0: there is none.")
	descConfirmed  = gauge("wal_archive_confirmed_index", "Index up to which the log is archived and was read back.")
	descSuccess    = gauge("wal_archive_last_success_timestamp_seconds", "When the newest segment was taken up, by log time.")
	descSpool      = gauge("wal_spool_bytes", "What the log of this node takes on its disk, archived or not.")
	descSpoolMax   = gauge("wal_spool_max_bytes", "What it may take before entries are cut off that are not archived.")
	descGaps       = gauge("pitr_gaps", "How often entries of this timeline were lost before they could be archived.")
	descBackup     = gauge("backup_last_success_timestamp_seconds", "When the newest backup of this timeline arrived, by log time.")
	descVerify     = gauge("backup_verify_last_success_timestamp_seconds", "When a backup of this timeline last passed at that level or a deeper one, by log time.", "level")
	descDrill      = gauge("restore_drill_seconds", "How long the newest restore drill that passed took: about what a restore takes.")
)

// Describe sends nothing: the collector is unchecked, its descriptions are fixed.
func (a *Archiver) Describe(chan<- *prometheus.Desc) {}

// Collect reads the replica: every node tells the same of the archive, so an alert
// does not depend on which of them is scraped, or leads.
func (a *Archiver) Collect(out chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	at, err := a.place(context.Background()) // a look at this replica waits for nobody
	if err != nil {
		return
	}
	if at.Backup != nil {
		send(descBackup, seconds(at.Backup.Taken.Time()))
	}
	for level, depth := range depths {
		if v := at.Verified(depth); v != nil {
			send(descVerify, seconds(v.At.Time()), string(level))
		}
	}
	if v := at.Drilled; v != nil {
		send(descDrill, float64(v.TookMS)/1000)
	}
	if !a.pitr.Enabled {
		return
	}
	send(descConfirmed, float64(at.Last))
	send(descGaps, float64(at.Gaps))
	send(descSpoolMax, float64(a.pitr.SpoolBytes))
	if at.Sequence > 0 {
		send(descSuccess, seconds(at.Advanced.Time()))
	}
	lag, err := a.lag(at)
	if err != nil {
		return
	}
	send(descLagEntries, float64(lag.Entries))
	send(descLagSeconds, lag.Age(time.Now()).Seconds())
	send(descSpool, float64(lag.Bytes))
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
