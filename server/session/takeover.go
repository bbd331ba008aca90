package session

import (
	"context"

	"github.com/mcpraft/mcpraft/fsm/record"
)

// A takeover is one resumption at work on a stream whose node is gone. A client that
// comes once more meanwhile, here or on another node, waits for its outcome, and
// goes on with the stream that took the lost one's place. There is at most one for
// each call that is in flight or kept here, and each GET that waits for a leader.
type takeover struct {
	done chan struct{} // closed when it is known what became of it
	heir record.ID     // the stream here that goes on; the shard guards it
}

func (t *takeover) settled() bool {
	select {
	case <-t.done:
		return true
	default:
		return false
	}
}

// beginTakeover begins one, unless there is one already: then first is false.
func (s *Sessions) beginTakeover(session string, id record.ID) (t *takeover, first bool) {
	sh := s.shard(session)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	h := sh.hubOf(session)
	if t = h.takeovers[id]; t != nil {
		return t, false
	}
	if h.takeovers == nil {
		h.takeovers = make(map[record.ID]*takeover)
	}
	t = &takeover{done: make(chan struct{})}
	h.takeovers[id] = t
	return t, true
}

// endTakeover tells who waits that heir goes on, or, if it is zero, that nothing
// was taken over here and another may try. Only the first end counts.
func (s *Sessions) endTakeover(session string, id record.ID, t *takeover, heir record.ID) {
	sh := s.shard(session)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if t.settled() {
		return
	}
	t.heir = heir
	close(t.done)
	if heir.IsZero() {
		delete(sh.hubOf(session).takeovers, id)
	}
}

// awaitTakeover waits until it is known what becomes of a stream that is being
// taken over here, if it is, or ctx ends. It takes no longer than a leader may.
func (s *Sessions) awaitTakeover(ctx context.Context, session string, id record.ID) {
	sh := s.shard(session)
	sh.mu.Lock()
	var t *takeover
	if h := sh.hubs[session]; h != nil {
		t = h.takeovers[id]
	}
	sh.mu.Unlock()
	if t == nil {
		return
	}
	select {
	case <-t.done:
	case <-ctx.Done():
	}
}

// forgetTakeovers forgets those whose heir is no longer here. The shard is locked.
func (h *hub) forgetTakeovers() {
	for id, t := range h.takeovers {
		if t.settled() && h.calls[t.heir] == nil && h.kept[t.heir] == nil {
			delete(h.takeovers, id)
		}
	}
}
