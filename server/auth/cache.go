package auth

import (
	"crypto/sha256"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mcpraft/mcpraft/server/exchange"
)

const (
	cacheShards   = 16
	cachePerShard = 4096 // callers; a full shard forgets any one
)

type tokenSum = [sha256.Size]byte

// A cache remembers who is behind a token that was accepted, by its hash, so that
// a copy of this memory gives nobody a token. Refused ones are not remembered:
// anybody can make as many as they like.
type cache struct {
	generation atomic.Uint64
	shards     [cacheShards]shard
}

type shard struct {
	mu      sync.RWMutex
	callers map[tokenSum]exchange.Caller
}

// get is the caller behind a token, until the token expires.
func (c *cache) get(sum tokenSum, now time.Time) (exchange.Caller, bool) {
	s := &c.shards[sum[0]%cacheShards]
	s.mu.RLock()
	caller, ok := s.callers[sum]
	s.mu.RUnlock()
	return caller, ok && (caller.Expires.IsZero() || now.Before(caller.Expires))
}

// put remembers a caller, unless something changed since generation was read:
// what was found may be from before the change.
func (c *cache) put(generation uint64, sum tokenSum, caller exchange.Caller) {
	s := &c.shards[sum[0]%cacheShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.generation.Load() != generation {
		return
	}
	if s.callers == nil {
		s.callers = make(map[tokenSum]exchange.Caller)
	}
	if len(s.callers) >= cachePerShard {
		for any := range s.callers {
			delete(s.callers, any)
			break
		}
	}
	s.callers[sum] = caller
}

// clear forgets everything. It blocks for no longer than a map access.
func (c *cache) clear() {
	c.generation.Add(1)
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		s.callers = nil
		s.mu.Unlock()
	}
}
