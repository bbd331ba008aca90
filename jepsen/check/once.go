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
	accepted, open := make(map[string]int), make(map[string]int) // by counter
	last := make(map[string]int)
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
		case history.Find, history.List:
			for _, item := range o.Items {
				if number, _, ok := strings.Cut(item.Value, ":"); ok && o.Mode == "linearizable" {
					n, _ := strconv.Atoi(number) // what is no number is no counter
					last[item.Key] = max(last[item.Key], n)
				}
			}
		}
	}
	for _, o := range merged(c.ops) {
		switch {
		case o.Do != history.Increment:
		case o.End == history.OK:
			accepted[o.Key]++
		case o.End == history.Unknown || o.End == history.Wrong:
			open[o.Key]++
		}
	}
	for _, key := range slices.Sorted(maps.Keys(accepted)) {
		if n := last[key]; n < accepted[key] || n > accepted[key]+open[key] {
			c.find("once", "counter %s is %d after %d accepted increments and %d of unknown outcome", key, n, accepted[key], open[key])
		}
	}
}
