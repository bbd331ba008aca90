package check

import (
	"github.com/mcpraft/mcpraft/jepsen/history"
)

// calls: what the upstream carried out and what callers were told.
func (c *checker) calls() {
	done := make(map[string]int)
	known := make(map[string]bool)
	for _, o := range c.ops {
		if o.Do == history.Executed {
			done[o.Key]++
		}
	}
	for i := range c.ops {
		o := &c.ops[i]
		if o.Do != history.Call && o.Do != history.Stream {
			continue
		}
		known[o.Key] = true
		switch n := done[o.Key]; {
		case n > 1:
			c.find("call-once", "%s; the upstream carried it out %d times", brief(o), n)
		case n == 1 && o.End == history.Refused:
			c.find("call-once", "%s; the upstream carried it out", brief(o))
		case n == 0 && o.End == history.OK:
			c.find("call-answer", "%s; the upstream never saw it", brief(o))
		}
		if o.End == history.OK && o.Result != o.Key {
			c.find("call-answer", "%s; the answer is that of %q", brief(o), o.Result)
		}
		if o.End != history.OK && o.Error == "" {
			c.find("call-answer", "%s; nobody says why", brief(o))
		}
	}
	for key, n := range done {
		if !known[key] {
			c.find("call-once", "the upstream carried out %s (%d times), which nobody asked for", key, n)
		}
	}
}

// steps that a stream reports when nothing of it is missed.
const steps = 12

// streams: progress in order, none twice. A node keeps only what must be answered
// and the answer: progress is missed while its client is away, and only then.
func (c *checker) streams() {
	for i := range c.ops {
		o := &c.ops[i]
		if o.Do != history.Stream {
			continue
		}
		last, jumps := 0, 0
		for _, step := range o.Steps {
			if step <= last {
				c.find("stream", "%s; step %d after %d: %v, %d resumptions", brief(o), step, last, o.Steps, o.Hops)
			}
			if step > last+1 {
				jumps++
			}
			last = step
		}
		if o.End == history.OK && last < steps {
			jumps++
		}
		if jumps > o.Hops {
			c.find("stream", "%s; %v has more gaps than its %d resumptions", brief(o), o.Steps, o.Hops)
		}
	}
}
