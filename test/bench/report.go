package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"
)

// A line is one result, printed as one line of JSON.
type line struct {
	Bench      string  `json:"bench"`
	Ours       float64 `json:"ours"`
	Theirs     float64 `json:"theirs,omitempty"`
	Unit       string  `json:"unit"`
	Ratio      float64 `json:"ratio,omitempty"`
	P50        float64 `json:"p50_ms,omitempty"`
	P99        float64 `json:"p99_ms,omitempty"`
	TheirsP99  float64 `json:"theirs_p99_ms,omitempty"`
	CPU        float64 `json:"cpu_us,omitempty"` // of all nodes together, for one operation
	TheirsCPU  float64 `json:"theirs_cpu_us,omitempty"`
	LoadCPU    float64 `json:"load_cpu_us,omitempty"` // of the load, for one operation on ours
	Conns      int     `json:"conns,omitempty"`
	Nodes      int     `json:"nodes"`
	Conditions string  `json:"conditions"`
}

func (l line) print() {
	if l.Theirs > 0 {
		l.Ratio = round(l.Ours / l.Theirs)
	}
	l.Ours, l.Theirs = round(l.Ours), round(l.Theirs)
	l.P50, l.P99, l.TheirsP99 = round(l.P50), round(l.P99), round(l.TheirsP99)
	l.CPU, l.TheirsCPU, l.LoadCPU = round(l.CPU), round(l.TheirsCPU), round(l.LoadCPU)
	out, err := json.Marshal(l)
	if err != nil {
		panic(err) // a struct of numbers and strings always marshals
	}
	fmt.Println(string(out))
}

func round(f float64) float64 {
	if f >= 100 {
		return float64(int64(f + 0.5))
	}
	return float64(int64(f*100+0.5)) / 100
}

// machine says what every figure was measured on.
func machine() string {
	return fmt.Sprintf("%d cores shared by all processes and the load, %s, fsync on", runtime.NumCPU(), runtime.Version())
}

// progress talks to whoever waits; results go to stdout.
func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

// A sample is what one run of the load measured.
type sample struct {
	Done    int           `json:"done"`
	Failed  int           `json:"failed"`
	Elapsed time.Duration `json:"elapsed"`
	P50     time.Duration `json:"p50"`
	P99     time.Duration `json:"p99"`
	Note    string        `json:"note,omitempty"` // the last failure

	CPU []time.Duration `json:"cpu,omitempty"` // of each process under load, and of the load itself
}

func (s sample) rate() float64 { return float64(s.Done) / s.Elapsed.Seconds() }

// summarise sorts latencies and takes what a sample holds of them.
func summarise(latencies []time.Duration, failed int, elapsed time.Duration, note string) sample {
	slices.Sort(latencies)
	return sample{
		Done: len(latencies), Failed: failed, Elapsed: elapsed, Note: note,
		P50: quantile(latencies, 0.50), P99: quantile(latencies, 0.99),
	}
}

// quantile is the q-th of sorted latencies; 0 when there are none.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// median is that of a figure over several samples.
func median(samples []sample, figure func(sample) float64) float64 {
	var values []float64
	for _, s := range samples {
		values = append(values, figure(s))
	}
	slices.Sort(values)
	return values[len(values)/2]
}

func rates(s sample) float64 { return s.rate() }
func p50s(s sample) float64  { return float64(s.P50) / float64(time.Millisecond) }
func p99s(s sample) float64  { return float64(s.P99) / float64(time.Millisecond) }

// nodesCPU is the processor time of one operation on all nodes together, in µs.
func nodesCPU(s sample) float64 {
	var sum time.Duration
	for _, d := range s.CPU[:max(0, len(s.CPU)-1)] {
		sum += d
	}
	return perOperation(s, sum)
}

// loadCPU is that of the process that asked for it.
func loadCPU(s sample) float64 {
	if len(s.CPU) == 0 {
		return 0
	}
	return perOperation(s, s.CPU[len(s.CPU)-1])
}

func perOperation(s sample, d time.Duration) float64 {
	return float64(d.Microseconds()) / float64(max(s.Done, 1))
}
