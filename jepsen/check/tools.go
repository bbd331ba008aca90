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

// steps that a stream reports when it is complete.
const steps = 12

// streams: progress in order, each once, without a gap, complete when answered.
func (c *checker) streams() {
	for i := range c.ops {
		o := &c.ops[i]
		if o.Do != history.Stream {
			continue
		}
		for j, step := range o.Steps {
			if step != j+1 {
				c.find("stream", "%s; steps %v after %d resumptions", brief(o), o.Steps, o.Hops)
				break
			}
		}
		if o.End == history.OK && len(o.Steps) < steps {
			c.find("stream", "%s; answered after steps %v, %d resumptions", brief(o), o.Steps, o.Hops)
		}
	}
}
