package workload

import (
	"context"
	"fmt"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/jepsen/history"
	"github.com/mcpraft/mcpraft/server/adminapi"
)

// The keys that clients of the registry share change with time, so that the
// history of each stays short enough to be searched.
const (
	generation = 10 * time.Second
	perGen     = 4
	entryType  = "tool"
)

// Generation is what all keys of a moment begin with.
func Generation(at int64) string { return fmt.Sprintf("g%04d-", at/int64(generation)) }

// Keys are the keys of a generation.
func Keys(prefix string) []string {
	var keys []string
	for i := range perGen {
		keys = append(keys, fmt.Sprint(prefix, i))
	}
	return keys
}

// registry does one request of the registry workload.
func (c *Client) registry(context.Context) {
	prefix := Generation(c.Clock.Now())
	key := Keys(prefix)[c.rng.IntN(perGen)]
	node := c.node()
	switch n := c.rng.IntN(100); {
	case n < 18:
		c.register(node, key, 0)
	case n < 38:
		c.register(node, key, max(1, c.revisions[key]))
	case n < 42:
		c.unregister(node, key, 0)
	case n < 46:
		c.unregister(node, key, c.revisions[key])
	case n < 72:
		c.find(node, key, adminapi.ReadOptions{Consistency: adminapi.Linearizable})
	case n < 84:
		c.find(node, key, c.weak())
	case n < 92:
		c.list(node, prefix, adminapi.ReadOptions{Consistency: adminapi.Linearizable})
	default:
		c.list(node, prefix, c.weak())
	}
}

// weak is a read that may be stale.
func (c *Client) weak() adminapi.ReadOptions {
	o := adminapi.ReadOptions{Consistency: adminapi.Any}
	if c.rng.IntN(2) == 0 {
		o.Consistency = adminapi.Bounded
		o.MaxStaleness = adminapi.DurationOf([]time.Duration{500 * time.Millisecond, 2 * time.Second, 5 * time.Second}[c.rng.IntN(3)])
	}
	if c.rng.IntN(2) == 0 {
		o.MinIndex = c.last
	}
	return o
}

func (c *Client) register(node, key string, revision uint64) {
	o := c.begin(node, history.Register, key)
	o.Value, o.IfRevision = c.value(), revision
	ctx, cancel := c.patience()
	defer cancel()
	r := &adminapi.RegisterRequest{Type: entryType, Key: key, EntrySpec: adminapi.EntrySpec{Location: o.Value}}
	r.IfMatch = revision
	receipt, info, err := c.admin[node].Register(ctx, r)
	c.changed(&o, receipt, info, err)
}

func (c *Client) unregister(node, key string, revision uint64) {
	o := c.begin(node, history.Unregister, key)
	o.IfRevision = revision
	ctx, cancel := c.patience()
	defer cancel()
	r := &adminapi.UnregisterRequest{Type: entryType, Key: key}
	r.IfMatch = revision
	receipt, info, err := c.admin[node].Unregister(ctx, r)
	c.changed(&o, receipt, info, err)
}

// changed ends a change of an entry.
func (c *Client) changed(o *history.Operation, receipt adminapi.Receipt, info adminapi.Info, err error) {
	told(o, info)
	o.Revision, o.LogTime = receipt.Revision, int64(receipt.Time)
	if err == nil {
		c.last = max(c.last, info.Index)
		c.revisions[o.Key] = receipt.Revision
	}
	c.finish(o, err)
}

// asked notes what a read asks for.
func asked(o *history.Operation, r adminapi.ReadOptions) {
	o.Mode, o.MinIndex, o.Limit = r.Consistency.String(), r.MinIndex, int64(r.MaxStaleness)
}

func (c *Client) find(node, key string, r adminapi.ReadOptions) (adminapi.Entry, error) {
	o := c.begin(node, history.Find, key)
	asked(&o, r)
	ctx, cancel := c.patience()
	defer cancel()
	e, info, err := c.admin[node].WhereIs(ctx, &adminapi.WhereIsRequest{ReadOptions: r, Type: entryType, Key: key})
	told(&o, info)
	if err == nil {
		o.Items = []history.Item{{Key: e.Key, Value: e.Location, Revision: e.Revision}}
		c.revisions[key] = e.Revision
	}
	c.finish(&o, err)
	return e, err
}

// list reads all keys of a prefix, in one page.
func (c *Client) list(node, prefix string, r adminapi.ReadOptions) bool {
	o := c.begin(node, history.List, prefix)
	asked(&o, r)
	ctx, cancel := c.patience()
	defer cancel()
	page, info, err := c.admin[node].Entries(ctx, &adminapi.EntriesRequest{ReadOptions: r, Type: entryType, Prefix: prefix, Limit: adminapi.MaxListLimit})
	told(&o, info)
	if err == nil && page.Next != "" {
		err = fault.New(fault.Internal, "a list of %d keys has a second page", len(page.Items))
	}
	for _, e := range page.Items {
		o.Items = append(o.Items, history.Item{Key: e.Key, Value: e.Location, Revision: e.Revision})
	}
	c.finish(&o, err)
	return err == nil
}

// ReadAll reads everything that the workloads wrote from every node, when the
// cluster is whole again. What it finds explains what became of requests whose
// outcome nobody knew. It returns what could not be read.
func (c *Client) ReadAll(ctx context.Context) []string {
	var missing []string
	prefixes := []string{counterPrefix, claimPrefix}
	for at := int64(0); at <= c.Clock.Now(); at += int64(generation) {
		prefixes = append(prefixes, Generation(at))
	}
	linearizable := adminapi.ReadOptions{Consistency: adminapi.Linearizable}
	for _, node := range c.Cluster.Names() {
		for _, prefix := range prefixes {
			if !c.insist(ctx, func() bool { return c.list(node, prefix, linearizable) }) {
				missing = append(missing, fmt.Sprintf("%s cannot be listed on %s in the end", prefix, node))
			}
		}
	}
	return missing
}

// insist tries until do says yes, for 20 s.
func (c *Client) insist(ctx context.Context, do func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for !do() {
		if ctx.Err() != nil {
			return false
		}
		c.rest(ctx, 50*time.Millisecond)
	}
	return true
}
