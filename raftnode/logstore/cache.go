package logstore

import (
	"sync"

	"github.com/hashicorp/raft"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// entryOverhead is what an entry costs in memory besides its bytes: the Log,
// its pointer, its extension.
const entryOverhead = 160

// cache holds the newest entries in memory, up to a number of bytes, so that
// commit and replication do not read the disk. raft.LogCache counts entries
// instead, and forgets all of them at every delete.
type cache struct {
	layer
	path    string
	limit   int64
	metrics *Metrics
	failure *failure

	mu    sync.RWMutex
	logs  []*raft.Log // consecutive indexes
	bytes int64
}

func newCache(next layer, o Options, f *failure) *cache {
	return &cache{layer: next, path: o.Path, limit: o.CacheBytes, metrics: o.Metrics, failure: f}
}

// GetLog answers from memory when it can. The entry is verified then, too: it
// may be on its way to the followers.
func (c *cache) GetLog(index uint64, log *raft.Log) error {
	l := c.lookup(index)
	if l == nil {
		c.metrics.misses.Inc()
		return c.layer.GetLog(index, log)
	}
	c.metrics.hits.Inc()
	if err := verify(l); err != nil {
		return c.failure.trip(fault.New(fault.Integrity,
			"raft log%s: entry %d was damaged in memory: %w", at(c.path), index, err).
			WithHint("test the memory of this machine; this process exits without sending the entry on, its disk is not affected"))
	}
	*log = *l
	return nil
}

func (c *cache) lookup(index uint64) *raft.Log {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if len(c.logs) == 0 || index < c.logs[0].Index {
		return nil
	}
	if i := index - c.logs[0].Index; i < uint64(len(c.logs)) {
		return c.logs[i]
	}
	return nil
}

func (c *cache) StoreLog(log *raft.Log) error { return c.StoreLogs([]*raft.Log{log}) }

// StoreLogs keeps the entries once they are on disk. They follow what is in
// memory: the guard has let them pass.
func (c *cache) StoreLogs(logs []*raft.Log) error {
	if err := c.layer.StoreLogs(logs); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range logs {
		c.logs = append(c.logs, l)
		c.bytes += size(l)
	}
	c.shrink()
	return nil
}

// DeleteRange forgets the range before it is deleted. Entries that the guard
// keeps on disk are read from there.
func (c *cache) DeleteRange(first, last uint64) error {
	c.forget(first, last)
	return c.layer.DeleteRange(first, last)
}

func (c *cache) forget(first, last uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.logs) == 0 || last < c.logs[0].Index || first > c.logs[len(c.logs)-1].Index {
		return
	}
	oldest, newest := c.logs[0].Index, c.logs[len(c.logs)-1].Index
	switch {
	case first <= oldest && last < newest:
		c.drop(int(last - oldest + 1))
	case first > oldest && last >= newest:
		kept := int(first - oldest)
		for _, l := range c.logs[kept:] {
			c.bytes -= size(l)
		}
		clear(c.logs[kept:])
		c.logs = c.logs[:kept]
	default:
		c.drop(len(c.logs))
	}
	c.metrics.cached.Set(float64(c.bytes))
}

// shrink evicts the oldest entries until the rest fits.
func (c *cache) shrink() {
	n, rest := 0, c.bytes
	for rest > c.limit {
		rest -= size(c.logs[n])
		n++
	}
	c.drop(n)
	c.metrics.cached.Set(float64(c.bytes))
}

// drop forgets the n oldest entries.
func (c *cache) drop(n int) {
	for _, l := range c.logs[:n] {
		c.bytes -= size(l)
	}
	clear(c.logs[:n])
	c.logs = c.logs[n:]
}

func size(l *raft.Log) int64 { return int64(len(l.Data)+len(l.Extensions)) + entryOverhead }
