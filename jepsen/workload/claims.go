package workload

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/jepsen/history"
	"github.com/mcpraft/mcpraft/server/adminapi"
)

// claimPrefix is what claims are called.
const claimPrefix = "claim-"

// Fenced is the thing outside the cluster that claims protect: it takes a write
// only with a token that is not lower than the highest it has seen.
type Fenced struct {
	mu      sync.Mutex
	highest map[string]uint64
}

// NewFenced has seen no token.
func NewFenced() *Fenced { return &Fenced{highest: make(map[string]uint64)} }

// write reports whether token is still good for name.
func (f *Fenced) write(name string, token uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if token < f.highest[name] {
		return false
	}
	f.highest[name] = token
	return true
}

// claims acquires a name by creating its entry, writes to what it protects with the
// revision of the entry as fencing token, and gives it up by removing just that
// revision. An owner that does not know whether it owns asks before it goes on.
func (c *Client) claims(ctx context.Context) {
	name := fmt.Sprintf("%s%d-%d", claimPrefix, c.Clock.Now()/int64(counters), c.rng.IntN(2))
	node := c.node()
	value := c.value()
	token, owned := c.acquire(node, name, value)
	if !owned {
		return
	}
	for range 1 + c.rng.IntN(3) {
		o := c.begin("outside", history.Fenced, name)
		o.IfRevision, o.Value = token, value
		var err error
		if !c.Fenced.write(name, token) {
			err = fault.New(fault.Fenced, "token %d is not the newest", token)
		}
		c.finish(&o, err)
		c.rest(ctx, time.Duration(c.rng.IntN(50))*time.Millisecond)
	}
	c.release(name, token)
}

func (c *Client) acquire(node, name, value string) (token uint64, owned bool) {
	o := c.begin(node, history.Acquire, name)
	o.Value = value
	ctx, cancel := c.patience()
	defer cancel()
	r := &adminapi.RegisterRequest{Type: entryType, Key: name, EntrySpec: adminapi.EntrySpec{Location: value}}
	receipt, info, err := c.admin[node].Register(ctx, r)
	c.changed(&o, receipt, info, err)
	if err == nil {
		return receipt.Revision, true
	}
	if o.End != history.Unknown && c.rng.IntN(4) > 0 {
		return 0, false
	}
	e, err := c.find(c.node(), name, adminapi.ReadOptions{Consistency: adminapi.Linearizable})
	return e.Revision, err == nil && e.Location == value
}

// release gives a claim up, or leaves it to nobody: then names of later moments
// are used.
func (c *Client) release(name string, token uint64) {
	for range 3 {
		node := c.node()
		o := c.begin(node, history.Release, name)
		o.IfRevision = token
		ctx, cancel := c.patience()
		r := &adminapi.UnregisterRequest{Type: entryType, Key: name}
		r.IfMatch = token
		receipt, info, err := c.admin[node].Unregister(ctx, r)
		cancel()
		c.changed(&o, receipt, info, err)
		if o.End != history.Refused && o.End != history.Unknown {
			return
		}
	}
}
