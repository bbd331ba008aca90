package report

import (
	"fmt"
	"html"
	"slices"
	"strings"
	"time"

	"github.com/mcpraft/mcpraft/jepsen/history"
)

// Sizes of the picture in pixels.
const (
	width, lane  = 1400, 160
	left, top    = 60, 20
	namesPerRow  = 3 // rows over which the names of faults are spread
	nameHeight   = 14
	slowest      = 3000.0 // ms at the top of the lane of latencies
	maxPositions = 1400
)

// picture is throughput and latency over time, with the faults behind them.
func picture(run *history.Run, ops []history.Operation, faults []history.Fault) string {
	end := int64(run.Took)
	for _, f := range faults {
		end = max(end, over(f))
	}
	if end == 0 {
		end = 1
	}
	x := func(t int64) float64 { return left + float64(width-left-10)*float64(t)/float64(end) }
	var b strings.Builder
	height := top + namesPerRow*nameHeight + 2*lane + 50
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="11">`+"\n", width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", width, height)
	first := top + namesPerRow*nameHeight
	for i, f := range faults {
		fmt.Fprintf(&b, `<g><title>%s: %s</title><rect x="%.1f" y="%d" width="%.1f" height="%d" fill="#f4c7a1" fill-opacity="0.6"/>`, html.EscapeString(f.Name), html.EscapeString(f.Detail), x(f.Began), first, max(1, x(f.Ended)-x(f.Began)), 2*lane+20)
		if len(faults) < 60 {
			fmt.Fprintf(&b, `<text x="%.1f" y="%d" fill="#8a4b12">%s</text>`, x(f.Began), top+i%namesPerRow*nameHeight, html.EscapeString(f.Name))
		}
		b.WriteString("</g>\n")
	}
	perSecond(&b, ops, end, x, first)
	latencies(&b, ops, end, x, first+lane+20)
	for tick := time.Duration(0); int64(tick) <= end; tick += step(end) {
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle">%v</text>`+"\n", x(int64(tick)), height-10, tick)
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// step is a distance between times that leaves room for their text.
func step(end int64) time.Duration {
	for _, d := range []time.Duration{5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute, 5 * time.Minute, 10 * time.Minute} {
		if end/int64(d) < 15 {
			return d
		}
	}
	return time.Hour
}

// perSecond draws how many operations were accepted in each second, and how many
// were not.
func perSecond(b *strings.Builder, ops []history.Operation, end int64, x func(int64) float64, y int) {
	good, bad := make([]int, end/int64(time.Second)+1), make([]int, end/int64(time.Second)+1)
	for i := range ops {
		o := &ops[i]
		second := o.Ended / int64(time.Second)
		if o.Do == history.Executed || second >= int64(len(good)) {
			continue
		}
		if o.End == history.OK || o.End == history.Rejected {
			good[second]++
		} else {
			bad[second]++
		}
	}
	most := max(1, slices.Max(good), slices.Max(bad))
	for _, line := range []struct {
		counts []int
		colour string
	}{{good, "#2a6f4e"}, {bad, "#b3261e"}} {
		fmt.Fprintf(b, `<polyline fill="none" stroke="%s" points="`, line.colour)
		for second, n := range line.counts {
			fmt.Fprintf(b, "%.1f,%.1f ", x(int64(second)*int64(time.Second)), float64(y+lane)-float64(lane*n)/float64(most))
		}
		b.WriteString(`"/>` + "\n")
	}
	fmt.Fprintf(b, `<text x="4" y="%d">%d/s</text><text x="4" y="%d" fill="#2a6f4e">answered</text><text x="4" y="%d" fill="#b3261e">not</text>`+"\n", y+10, most, y+24, y+38)
}

// latencies draws the slowest answered write or linearizable read of each moment.
func latencies(b *strings.Builder, ops []history.Operation, end int64, x func(int64) float64, y int) {
	worst := make([]int64, maxPositions)
	for i := range ops {
		if o := &ops[i]; timed(o) && o.Return < end {
			at := o.Return * maxPositions / end
			worst[at] = max(worst[at], o.Return-o.Call)
		}
	}
	for i, spent := range worst {
		if spent == 0 {
			continue
		}
		part := min(1, ms(spent)/slowest)
		at := x(int64(i) * end / maxPositions)
		fmt.Fprintf(b, `<line x1="%.1f" x2="%.1f" y1="%d" y2="%.1f" stroke="#345"/>`+"\n", at, at, y+lane, float64(y+lane)-part*lane)
	}
	fmt.Fprintf(b, `<text x="4" y="%d">%.0f ms</text><text x="4" y="%d">slowest</text>`+"\n", y+10, slowest, y+24)
}
