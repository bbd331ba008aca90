package check

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/jepsen/history"
)

// once: all answers to one request are the same, and counters add up.
func (c *checker) once() {
	answers := make(map[string]*history.Operation)
	for i := range c.ops {
		switch o := &c.ops[i]; o.Do {
		case history.Increment, history.Retry:
			if o.Return == 0 {
				continue
			}
			first, ok := answers[o.Request]
			if !ok {
				answers[o.Request] = o
			} else if first.End != o.End || first.Revision != o.Revision || first.Error != o.Error {
				c.find("once", "two answers to request %s: %s @%d; %s @%d", o.Request, brief(first), first.Revision, brief(o), o.Revision)
			}
		case history.Misuse:
			if o.Return != 0 && o.Error != fault.Mismatch.String() {
				c.find("once", "another body under the same key: %s", brief(o))
			}
		}
	}
	c.tally()
}

// tally: a counter was raised once for each accepted increment, and at most once for
// each of unknown outcome. It says nothing of counters that nobody has read since.
func (c *checker) tally() {
	accepted, open := make(map[string]int), make(map[string]int) // by counter
	ended := make(map[string]int64)                              // the last increment
	for _, o := range merged(c.ops) {
		if o.Do != history.Increment {
			continue
		}
		ended[o.Key] = max(ended[o.Key], o.Ended)
		switch {
		case o.End == history.OK:
			accepted[o.Key]++
		case o.End == history.Unknown || o.End == history.Wrong:
			open[o.Key]++
		}
	}
	last := make(map[string]int) // what was read
	for i := range c.ops {
		o := &c.ops[i]
		for _, item := range o.Items {
			if end, ok := ended[item.Key]; ok && o.Mode == "linearizable" && o.Call > end {
				number, _, _ := strings.Cut(item.Value, ":")
				n, _ := strconv.Atoi(number) // 0 is found, too
				last[item.Key] = max(last[item.Key], n)
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(last)) {
		if n := last[key]; n < accepted[key] || n > accepted[key]+open[key] {
			c.find("once", "counter %s is %d after %d accepted increments and %d of unknown outcome", key, n, accepted[key], open[key])
		}
	}
}
