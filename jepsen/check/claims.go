package check

import (
	"cmp"
	"slices"

	"github.com/mcpraft/mcpraft/jepsen/history"
)

// A tenure is the time for which somebody certainly owned a name.
type tenure struct {
	owner    string
	token    uint64
	from, to int64
}

// claims: no two tenures of a name overlap, and tokens grow with them.
func (c *checker) claims() {
	tenures := make(map[string][]tenure)
	given := make(map[string]map[uint64]int64) // name and token: when its release was called first
	for i := range c.ops {
		if o := &c.ops[i]; o.Do == history.Release {
			if given[o.Key] == nil {
				given[o.Key] = make(map[uint64]int64)
			}
			if had, ok := given[o.Key][o.IfRevision]; !ok || o.Call < had {
				given[o.Key][o.IfRevision] = o.Call
			}
		}
	}
	for i := range c.ops {
		o := &c.ops[i]
		if o.Do != history.Acquire || o.End != history.OK {
			continue
		}
		t := tenure{o.Value, o.Revision, o.Return, o.Return}
		if to, ok := given[o.Key][o.Revision]; ok {
			t.to = max(to, t.from)
		}
		tenures[o.Key] = append(tenures[o.Key], t)
	}
	for name, list := range tenures {
		slices.SortFunc(list, func(a, b tenure) int { return cmp.Compare(a.from, b.from) })
		for i := 1; i < len(list); i++ {
			a, b := list[i-1], list[i]
			if b.from < a.to {
				c.find("claim", "%s was owned by %s (token %d) until %v and by %s (token %d) from %v", name, a.owner, a.token, at(a.to), b.owner, b.token, at(b.from))
			}
			if b.token <= a.token && b.from > a.to {
				c.find("claim", "%s: token %d of %s came after token %d of %s", name, b.token, b.owner, a.token, a.owner)
			}
		}
	}
}
