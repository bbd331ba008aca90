package check

import (
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/jepsen/history"
)

// gossip is how long after its end another node may still know a session when
// nothing is wrong.
const gossip = int64(5 * time.Second)

// A life is what is certain of a session.
type life struct {
	asked int64              // when its end was asked for first; 0: never
	ended *history.Operation // that ended it for certain; nil: none
}

// sessions: kept until their end is asked for, gone after it, and nobody else's.
func (c *checker) sessions() {
	lives := make(map[string]*life)
	for i := range c.ops {
		switch o := &c.ops[i]; o.Do {
		case history.Initialize:
			if o.End == history.OK {
				lives[o.Key] = new(life)
			}
		case history.End:
			l := lives[o.Key]
			if l == nil {
				continue
			}
			if l.asked == 0 && o.End != history.Refused {
				l.asked = o.Call
			}
			if o.End == history.OK && l.ended == nil {
				l.ended = o
			}
		}
	}
	for i := range c.ops {
		o := &c.ops[i]
		l := lives[o.Key]
		if l == nil {
			continue
		}
		switch {
		case o.Do == history.Foreign && o.End == history.OK:
			c.find("session-own", "%s: status %d", brief(o), o.Status)
		case o.Do == history.Use || o.Do == history.End:
			c.use(o, l)
		}
	}
}

func (c *checker) use(o *history.Operation, l *life) {
	switch {
	case o.Error == fault.NotFound.String() && (l.asked == 0 || o.Return < l.asked):
		c.find("session-kept", "%s", brief(o))
	case o.Do != history.Use || o.End != history.OK || l.ended == nil || o.Call < l.ended.Return:
	case o.Node == l.ended.Node && c.calm(l.ended.Call, o.Return):
		c.find("session-ended", "%s; it was ended there at %v", brief(o), at(l.ended.Return))
	case o.Call > l.ended.Return+gossip && c.calm(l.ended.Return, o.Return):
		c.find("session-ended", "%s; it was ended on %s at %v", brief(o), l.ended.Node, at(l.ended.Return))
	}
}
