package logstore_test

import (
	"testing"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/mcpraft/mcpraft/raftnode/logstore"
)

// counted puts a chain around d with room for about ten entries in memory.
func counted(t *testing.T, d *disk) (*logstore.Store, *prometheus.Registry) {
	t.Helper()
	r := prometheus.NewRegistry()
	s := logstore.Chain(d, logstore.Options{
		CacheBytes: 10 * 265,
		Metrics:    logstore.NewMetrics(r),
		Floor:      func() uint64 { return 1 << 40 },
	})
	t.Cleanup(func() { _ = s.Close() })
	return s, r
}

// value is one number of r.
func value(t *testing.T, r *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		m := f.GetMetric()[0]
		switch {
		case m.GetCounter() != nil:
			return m.GetCounter().GetValue()
		case m.GetGauge() != nil:
			return m.GetGauge().GetValue()
		default:
			return float64(m.GetHistogram().GetSampleCount())
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// inMemory are the entries of first to last that a read finds in memory.
func inMemory(t *testing.T, s *logstore.Store, r *prometheus.Registry, first, last uint64) []uint64 {
	t.Helper()
	var found []uint64
	for i := first; i <= last; i++ {
		before := value(t, r, "mcpraft_log_cache_hits_total")
		var l raft.Log
		if err := s.GetLog(i, &l); err == nil && l.Index != i {
			t.Fatalf("asked for entry %d, got %d", i, l.Index)
		}
		if value(t, r, "mcpraft_log_cache_hits_total") > before {
			found = append(found, i)
		}
	}
	return found
}

func between(t *testing.T, what string, got []uint64, first, last uint64) {
	t.Helper()
	if len(got) == 0 || got[0] != first || got[len(got)-1] != last || uint64(len(got)) != last-first+1 {
		t.Errorf("%s: in memory are %v, want %d to %d", what, got, first, last)
	}
}

func TestCacheKeepsTheNewestBytes(t *testing.T) {
	s, r := counted(t, newDisk())
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(s.StoreLogs(entries(1, 25, 1)))
	between(t, "after an append", inMemory(t, s, r, 1, 25), 16, 25)
	must(s.StoreLogs(entries(26, 28, 1)))
	between(t, "after another", inMemory(t, s, r, 1, 28), 19, 28)
	must(s.DeleteRange(1, 20))
	between(t, "after the front was cut", inMemory(t, s, r, 1, 28), 21, 28)
	must(s.DeleteRange(27, 28))
	between(t, "after the end was cut", inMemory(t, s, r, 1, 28), 21, 26)
	must(s.StoreLogs(entries(27, 27, 2)))
	between(t, "after other entries", inMemory(t, s, r, 1, 28), 21, 27)

	big := entries(28, 28, 2)
	big[0].Data = make([]byte, 10_000)
	must(s.StoreLogs(big))
	if got := inMemory(t, s, r, 1, 28); len(got) != 0 {
		t.Errorf("in memory are %v beside an entry above the bound", got)
	}
	if got := value(t, r, "mcpraft_log_cache_bytes"); got != 0 {
		t.Errorf("an empty cache says that it has %v bytes", got)
	}
	must(s.StoreLogs(entries(29, 30, 2)))
	must(s.DeleteRange(21, 30))
	if got := inMemory(t, s, r, 1, 30); len(got) != 0 {
		t.Errorf("in memory are %v after a wipe", got)
	}
}

func TestMetricsCountWhatRaftWaitsFor(t *testing.T) {
	s, r := counted(t, newDisk())
	if err := s.StoreLogs(entries(1, 5, 1)); err != nil {
		t.Fatal(err)
	}
	if err := s.SetUint64([]byte("CurrentTerm"), 1); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteRange(1, 2); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]float64{
		"mcpraft_log_write_seconds":  1,
		"mcpraft_log_commit_seconds": 3,
		"mcpraft_log_entries_total":  5,
		"mcpraft_log_bytes_total":    500,
		"mcpraft_log_deletes_total":  1,
		"mcpraft_log_errors_total":   0,
	} {
		if got := value(t, r, name); got != want {
			t.Errorf("%s = %v, want %v", name, got, want)
		}
	}
	if problems, err := testutil.GatherAndLint(r); err != nil || len(problems) > 0 {
		t.Errorf("metrics: %v, %v", problems, err)
	}
}
