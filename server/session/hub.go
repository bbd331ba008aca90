package session

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/mcp"
)

// Bounds of what a session holds on one node.
const (
	maxCalls     = 512 // in flight
	maxMemories  = 16  // cancellations, and likewise answered calls, of the last cancelMemory
	hubRest      = 10 * time.Second
	cancelMemory = 2 * time.Second
)

// A hub is what a session has open on this node. The lock of its shard guards it.
type hub struct {
	session   string // id of the record
	client    string // the id that the client knows
	ttl       time.Duration
	calls     map[record.ID]*Call     // in flight
	kept      map[record.ID]*stream   // of answered calls, for resumption
	ringBytes atomic.Int64            // of the streams of calls and kept, together
	takeovers map[record.ID]*takeover // by the stream of the lost node; nil while there was none
	listeners []*Listener             // GET streams, oldest first
	listened  bool                    // there was a GET stream before
	remote    map[string]standing     // GET streams on other nodes; nil without one here
	settled   bool                    // all other nodes know of the GET streams here, and we of theirs

	cancelled []memory // calls to cancel as soon as they come
	answered  []memory // calls that a cancellation may come too late for
	used      time.Time
}

// A memory is a request id that means something for a while.
type memory struct {
	request mcp.ID
	reason  string
	until   time.Time
}

// remember adds a memory and forgets the oldest at the limit.
func remember(list []memory, m memory) []memory {
	if len(list) >= maxMemories {
		list = slices.Delete(list, 0, 1)
	}
	return append(list, m)
}

// recall takes the memory of a request, if there is one that still counts.
func recall(list []memory, request mcp.ID, now time.Time) (rest []memory, m memory, ok bool) {
	for i, m := range list {
		if m.request == request && now.Before(m.until) {
			return slices.Delete(list, i, i+1), m, true
		}
	}
	return list, memory{}, false
}

func forgetOld(list []memory, now time.Time) []memory {
	return slices.DeleteFunc(list, func(m memory) bool { return !now.Before(m.until) })
}

// hubOf is the hub of a session, made if there is none. The shard is locked.
func (sh *sessionShard) hubOf(session string) *hub {
	h := sh.hubs[session]
	if h == nil {
		h = &hub{session: session, calls: make(map[record.ID]*Call), kept: make(map[record.ID]*stream)}
		sh.hubs[session] = h
	}
	h.used = time.Now()
	return h
}

// hubFor is hubOf for a session that was found.
func (sh *sessionShard) hubFor(l *Live) *hub {
	h := sh.hubOf(l.Record.ID)
	h.client, h.ttl = l.ID, l.TTL()
	return h
}

// inUse reports whether the client holds something open, so that its session
// counts as used.
func (h *hub) inUse() bool { return h.ttl > 0 && (len(h.calls) > 0 || len(h.listeners) > 0) }

// sweep forgets what has served its time and reports whether nothing is left.
func (h *hub) sweep(now time.Time) (empty bool) {
	h.cancelled = forgetOld(h.cancelled, now)
	h.answered = forgetOld(h.answered, now)
	for id, st := range h.kept {
		if now.After(st.keepUntil) {
			h.drop(id)
		}
	}
	h.forgetTakeovers()
	return len(h.calls)+len(h.kept)+len(h.takeovers)+len(h.listeners)+len(h.cancelled)+len(h.answered) == 0 && now.Sub(h.used) > hubRest
}

// drop forgets the stream of an answered call.
func (h *hub) drop(id record.ID) {
	if st := h.kept[id]; st != nil {
		delete(h.kept, id)
		st.discard()
	}
}

// closeHub ends what is open of a session on this node: GET streams, and calls
// too if the session has ended.
func (s *Sessions) closeHub(session string, cause *fault.Error, calls bool) {
	sh := s.shard(session)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	h := sh.hubs[session]
	if h == nil {
		return
	}
	for _, l := range h.listeners {
		l.close(cause)
	}
	if !calls {
		return
	}
	for _, c := range h.calls {
		c.cancel(cause)
	}
	for id := range h.kept {
		h.drop(id)
	}
}
