// Package report tells people what a run did and saw: a page of Markdown, the same
// as JSON for programs, and a picture. It takes its figures from the files of the
// run and judges nothing.
package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mcpraft/mcpraft/jepsen/check"
	"github.com/mcpraft/mcpraft/jepsen/history"
)

// A Summary is the figures of a run.
type Summary struct {
	Run       *history.Run    `json:"run"`
	Workloads []Row           `json:"workloads"`
	Faults    []FaultRow      `json:"faults"`
	Calm      Latency         `json:"calm"`          // writes and linearizable reads without a fault
	Bounded   Share           `json:"bounded_reads"` // that were answered, at nodes that were alive
	Findings  []check.Finding `json:"findings"`
}

// A Row counts what became of the operations of one kind.
type Row struct {
	Workload, Do                           string
	OK, Rejected, Refused, Unknown, Defect int
}

// A FaultRow is all windows of one kind of fault.
type FaultRow struct {
	Name      string    `json:"name"`
	Times     int       `json:"times"`
	Void      int       `json:"void"`
	OK        int       `json:"ok"`      // operations that were asked while it lasted
	Failed    int       `json:"refused"` // with the promise that nothing was done
	Unknown   int       `json:"unknown"`
	Gaps      []float64 `json:"longest_write_gaps_s"` // of each window, until it was over
	Recovered []float64 `json:"whole_after_s"`        // from its end until every node was ready
	During    Latency   `json:"during"`
}

// A Latency is of operations that were answered, in ms.
type Latency struct {
	Count    int
	P50, P99 float64
}

// A Share is a part of a whole.
type Share struct{ Part, Whole int }

// Summarise computes the figures.
func Summarise(run *history.Run, ops []history.Operation, faults []history.Fault, findings []check.Finding) *Summary {
	s := &Summary{Run: run, Findings: findings}
	rows := make(map[[2]string]*Row)
	var calm []int64
	for i := range ops {
		o := &ops[i]
		if o.Do == history.Executed {
			continue
		}
		key := [2]string{o.Workload, o.Do}
		if rows[key] == nil {
			rows[key] = &Row{Workload: o.Workload, Do: o.Do}
		}
		rows[key].add(o)
		if o.Mode == "bounded" {
			s.Bounded.Whole++
			if o.End == history.OK || o.Error == "not_found" {
				s.Bounded.Part++
			}
		}
		if timed(o) && !slices.ContainsFunc(faults, func(f history.Fault) bool { return f.Began < o.Ended && o.Call < over(f) }) {
			calm = append(calm, o.Return-o.Call)
		}
	}
	for _, r := range rows {
		s.Workloads = append(s.Workloads, *r)
	}
	slices.SortFunc(s.Workloads, func(a, b Row) int {
		return cmp.Or(strings.Compare(a.Workload, b.Workload), strings.Compare(a.Do, b.Do))
	})
	s.Calm = latency(calm)
	s.faults(ops, faults)
	return s
}

func (r *Row) add(o *history.Operation) {
	switch o.End {
	case history.OK:
		r.OK++
	case history.Rejected:
		r.Rejected++
	case history.Refused:
		r.Refused++
	case history.Unknown:
		r.Unknown++
	default:
		r.Defect++
	}
}

// timed reports whether o counts for latencies: a write or a linearizable read that
// was answered.
func timed(o *history.Operation) bool {
	return o.Return != 0 && (o.Mode == "linearizable" || isWrite(o))
}

func isWrite(o *history.Operation) bool {
	switch o.Do {
	case history.Register, history.Unregister, history.Increment, history.Retry, history.Acquire, history.Release:
		return true
	}
	return false
}

// over is when the cluster had got over a fault.
func over(f history.Fault) int64 { return max(f.Ended, f.Whole) }

func (s *Summary) faults(ops []history.Operation, faults []history.Fault) {
	rows := make(map[string]*FaultRow)
	spent := make(map[string][]int64)
	for _, f := range faults {
		r := rows[f.Name]
		if r == nil {
			r = &FaultRow{Name: f.Name}
			rows[f.Name] = r
		}
		r.Times++
		if f.Void {
			r.Void++
		}
		r.Gaps = append(r.Gaps, gap(ops, f).Seconds())
		if f.Whole > 0 {
			r.Recovered = append(r.Recovered, time.Duration(f.Whole-f.Ended).Seconds())
		}
		for i := range ops {
			o := &ops[i]
			if o.Call < f.Began || o.Call > f.Ended || o.Do == history.Executed {
				continue
			}
			switch o.End {
			case history.OK, history.Rejected:
				r.OK++
			case history.Refused:
				r.Failed++
			default:
				r.Unknown++
			}
			if timed(o) {
				spent[f.Name] = append(spent[f.Name], o.Return-o.Call)
			}
		}
	}
	for name, r := range rows {
		r.During = latency(spent[name])
		s.Faults = append(s.Faults, *r)
	}
	slices.SortFunc(s.Faults, func(a, b FaultRow) int { return strings.Compare(a.Name, b.Name) })
}

// gap is the longest time without an accepted write between the beginning of a
// fault and the moment when all was well again.
func gap(ops []history.Operation, f history.Fault) time.Duration {
	var returns []int64
	for i := range ops {
		if o := &ops[i]; isWrite(o) && o.End == history.OK && o.Return > f.Began && o.Call < over(f) {
			returns = append(returns, o.Return)
		}
	}
	slices.Sort(returns)
	last, longest := f.Began, int64(0)
	for _, r := range returns {
		longest, last = max(longest, r-last), r
	}
	return time.Duration(longest)
}

func latency(spent []int64) Latency {
	slices.Sort(spent)
	return Latency{len(spent), ms(quantile(spent, 0.5)), ms(quantile(spent, 0.99))}
}

func ms(ns int64) float64 { return float64(ns/1000) / 1000 }

func quantile(sorted []int64, q float64) int64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// Save writes report.md, report.json and timeline.svg into dir.
func Save(dir string, s *Summary, ops []history.Operation, faults []history.Fault) error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	for name, content := range map[string]string{"report.json": string(text) + "\n", "report.md": s.Markdown(), "timeline.svg": picture(s.Run, ops, faults)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Markdown is the page.
func (s *Summary) Markdown() string {
	var b strings.Builder
	r := s.Run
	fmt.Fprintf(&b, "# Run of %s, seed %d\n\n", r.Began.UTC().Format("2006-01-02 15:04 UTC"), r.Seed)
	if len(s.Findings) == 0 {
		b.WriteString("No contradiction was observed. That is not a proof: read what was done, and what was not.\n\n")
	} else {
		fmt.Fprintf(&b, "**%d contradictions were observed**; they are listed below.\n\n", len(s.Findings))
	}
	fmt.Fprintf(&b, "    %s\n\n", r.Command)
	fmt.Fprintf(&b, "- %d nodes, %d clients, %v of load and faults\n- network: %s; disks: %s\n- version %s, clock that can be shifted: %v\n- %s; load average before: %s\n",
		len(r.Nodes), r.Clients, r.Took.Round(time.Second), r.Network, r.Disks, r.Version, r.Skewed, r.Host, r.Load)
	for _, key := range sorted(r.Settings) {
		fmt.Fprintf(&b, "- setting %s=%s\n", key, r.Settings[key])
	}
	b.WriteString("\n![Throughput, latency and faults over time](timeline.svg)\n\n## Operations\n\n| workload | operation | ok | rejected | refused | unknown | defective |\n| --- | --- | ---: | ---: | ---: | ---: | ---: |\n")
	for _, row := range s.Workloads {
		fmt.Fprintf(&b, "| %s | %s | %d | %d | %d | %d | %d |\n", row.Workload, row.Do, row.OK, row.Rejected, row.Refused, row.Unknown, row.Defect)
	}
	b.WriteString("\nRejected: an answer, such as a conflict. Refused: with the promise that nothing was done. Unknown: it may take effect at any time, or never.\n")
	fmt.Fprintf(&b, "Bounded reads answered: %d of %d (nodes that were down or paused included).\n", s.Bounded.Part, s.Bounded.Whole)
	fmt.Fprintf(&b, "Without faults, writes and linearizable reads took %.1f ms (median) and %.1f ms (99 %%), %d of them.\n", s.Calm.P50, s.Calm.P99, s.Calm.Count)
	b.WriteString("\n## Faults\n\n| fault | times | void | ok | refused | unknown | longest write gap (median, max) | whole again after (median, max) | p50 | p99 |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n")
	for _, f := range s.Faults {
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d | %d | %s | %s | %.1f ms | %.1f ms |\n", f.Name, f.Times, f.Void, f.OK, f.Failed, f.Unknown, spread(f.Gaps), spread(f.Recovered), f.During.P50, f.During.P99)
	}
	b.WriteString("\nThe gap is the longest time in which no client's write was acknowledged, from the beginning of the fault until every node was ready again. Void: nothing proved that the fault was real; its windows prove nothing. Windows with two faults count for both.\n")
	if len(s.Findings) > 0 {
		b.WriteString("\n## Contradictions\n\n")
		for _, f := range s.Findings {
			fmt.Fprintf(&b, "- `%s`: %s\n", f.Claim, strings.ReplaceAll(f.Text, "\n", "\n      "))
		}
	}
	b.WriteString("\n## What the checkers hold the product to\n\n")
	for _, c := range check.Claims() {
		fmt.Fprintf(&b, "- `%s`: %s\n", c.ID, c.Text)
	}
	b.WriteString("\n## Not tested in this run\n\n")
	for _, left := range r.Left {
		fmt.Fprintf(&b, "- %s\n", left)
	}
	for _, never := range []string{
		"power loss: writes that were not synced are not lost when a process is killed (the simulation does that)",
		"damage on more than one node at a time",
		"backup, restore and point-in-time recovery under load",
		"upgrades between versions",
	} {
		fmt.Fprintf(&b, "- %s\n", never)
	}
	return b.String()
}

func sorted(m map[string]string) []string {
	var keys []string
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

func spread(seconds []float64) string {
	if len(seconds) == 0 {
		return "–"
	}
	list := slices.Clone(seconds)
	slices.Sort(list)
	return fmt.Sprintf("%.2f s, %.2f s", list[len(list)/2], list[len(list)-1])
}
