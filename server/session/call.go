package session

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/exchange"
	"github.com/mcpraft/mcpraft/server/mcp"
)

// patience is how long a call may be without an answer before its client is shown
// an event stream: proxies and clients give silent connections up.
const patience = 5 * time.Second

// CallOptions say what the client of a call can take.
type CallOptions struct {
	JSONOnly bool // no event stream: nothing but the answer can be sent
	// Progress takes the client's progress on a request that it was asked, under
	// the token that the request had. Nil drops it.
	Progress func(*mcp.Message)
}

// A Call is a request of a client that is being worked on, on the node that took
// it. Its stream outlives the connection: what the client misses it can fetch from
// any node. Whoever opened it ends it with Finish; the other methods may be called
// from any goroutine until then.
type Call struct {
	*stream
	s       *Sessions
	live    *Live
	options CallOptions
	ctx     context.Context
	cancel  context.CancelCauseFunc
	patient *time.Timer

	asks   asks
	writes callWrites // of the call record; guarded by Sessions.records

	ending sync.Once
	answer exchange.Answer
}

// Cancelled is why the context of a call ended that its client does not want any
// more (context.Cause): it is not answered.
type Cancelled struct{ Reason string }

func (c *Cancelled) Error() string { return "the client cancelled the call: " + c.Reason }

// OpenCall begins the call of a request. ctx gives its values to the call, not its
// end: a client that disconnects has not cancelled. An error is of kind Quota when
// too much is open in the session, Unavailable when the node has been drained.
func (s *Sessions) OpenCall(ctx context.Context, l *Live, request mcp.ID, carrier exchange.Stream, o CallOptions) (*Call, error) {
	select {
	case <-s.shut:
		return nil, errDraining()
	default:
	}
	select {
	case <-s.draining:
		s.late.Add(1)
	default:
	}
	c := s.newCall(ctx, l, request, carrier, o)
	sh := s.shard(l.Record.ID)
	sh.mu.Lock()
	h := sh.hubFor(l)
	if len(h.calls) >= maxCalls {
		sh.mu.Unlock()
		c.cancel(nil)
		return nil, fault.New(fault.Quota, "the session has %d calls in flight on this node, the limit", maxCalls).After(time.Second)
	}
	h.calls[c.id] = c
	c.shared = &h.ringBytes
	var early memory
	var outrun bool
	h.cancelled, early, outrun = recall(h.cancelled, request, time.Now())
	sh.mu.Unlock()
	s.metrics.calls.Inc()
	if outrun {
		c.cancel(&Cancelled{Reason: early.reason})
	}
	if !o.JSONOnly {
		c.patient = time.AfterFunc(patience, c.openNow)
	}
	return c, nil
}

func (s *Sessions) newCall(ctx context.Context, l *Live, request mcp.ID, carrier exchange.Stream, o CallOptions) *Call {
	c := &Call{s: s, live: l, options: o, stream: s.newStream(l, request, carrier)}
	c.ctx, c.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	if o.JSONOnly {
		c.ids, c.prime = false, false
	}
	return c
}

func (s *Sessions) newStream(l *Live, request mcp.ID, carrier exchange.Stream) *stream {
	v := l.Version()
	return &stream{
		id: s.newStreamID(), session: l.Record.ID, request: request, owner: s.c.Self, keys: s.keys,
		ids:     v.AtLeast(mcp.V20250326), // before it there was nothing to resume
		prime:   v.AtLeast(mcp.V20251125), // older clients do not know what it is
		events:  &s.events,
		carrier: carrier,
	}
}

// Context ends when the client cancels the call, on whatever node it does, when
// the session ends, and when the node gives the call up; context.Cause tells which:
// *Cancelled, HandedOver if another node goes on with the call, or a *fault.Error.
func (c *Call) Context() context.Context { return c.ctx }

// Request is the client's id of the call.
func (c *Call) Request() mcp.ID { return c.request }

// Notify sends a notification that belongs to the call. It is lost if the client
// is not there: only what must be answered, and the answer, is kept.
func (c *Call) Notify(m *mcp.Message) {
	if !c.options.JSONOnly {
		c.carry(m.Bytes(), false)
	}
}

// Finish ends the call with its answer, and gives what the carrier is to write; a
// nil answer is that of a call that was cancelled. A call that another node takes
// over (see Drain) is not answered here, whatever m is.
func (c *Call) Finish(m *mcp.Message) exchange.Answer {
	c.ending.Do(func() { c.answer = c.finish(m) })
	return c.answer
}

func (c *Call) finish(m *mcp.Message) exchange.Answer {
	if c.patient != nil {
		c.patient.Stop()
	}
	cancelled, handed := false, false
	if cause := context.Cause(c.ctx); cause != nil {
		_, cancelled = errors.AsType[*Cancelled](cause)
		_, handed = errors.AsType[HandedOver](cause)
	}
	if cancelled || handed {
		m = nil
	}
	answer := c.stream.finish(m)
	c.cancel(nil)
	c.asks.close()
	c.s.leave(c, !handed)
	return answer
}

// leave takes an ended call out of the calls in flight. Its stream is kept if the
// client may come back for it.
func (s *Sessions) leave(c *Call, answered bool) {
	now := time.Now()
	sh := s.shard(c.session)
	sh.mu.Lock()
	if h := sh.hubs[c.session]; h != nil {
		delete(h.calls, c.id)
		h.used = now
		h.answered = remember(h.answered, memory{request: c.request, until: now.Add(cancelMemory)})
		if c.resumable() {
			h.keepStream(c.stream, now)
		} else {
			c.discard()
		}
	} else {
		c.discard()
	}
	sh.mu.Unlock()
	s.metrics.calls.Dec()
	if answered {
		s.records.drop(c)
	}
}

// keepStream keeps the events of an answered call for a while; at the limit the
// oldest go.
func (h *hub) keepStream(st *stream, now time.Time) {
	for len(h.kept) >= maxKept {
		oldest := st
		for _, other := range h.kept {
			if oldest == st || other.keepUntil.Before(oldest.keepUntil) {
				oldest = other
			}
		}
		h.drop(oldest.id)
	}
	st.keepUntil = now.Add(keepFor)
	h.kept[st.id] = st
}
