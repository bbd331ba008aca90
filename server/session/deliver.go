package session

import (
	"context"
	"strings"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode/peer"
	"github.com/mcpraft/mcpraft/server/mcp"
)

const (
	saidWait  = 3 * time.Second // for the node that asked
	saidRetry = 100 * time.Millisecond
	maxSaid   = 4<<20 - 4<<10 // bytes of an answer to another node: its frame has room for them
	askWait   = time.Second   // for the other nodes, of a cancellation
	maxReason = 1 << 10       // bytes of a cancellation's reason
)

// Deliver hands in a message of the client that is no request: its answer to a
// request of ours, a cancellation, or progress on a request of ours. They may
// concern a call on any node. handled is false for any other notification, which is
// the caller's to deal with.
//
// What nobody waits for (any more) is dropped without an error, as JSON-RPC wants.
func (s *Sessions) Deliver(ctx context.Context, l *Live, m *mcp.Message) (handled bool, err error) {
	switch {
	case m.Kind() == mcp.KindResult || m.Kind() == mcp.KindFailure:
		text, ok := m.ID().Text()
		if !ok {
			return true, nil
		}
		return true, s.said(ctx, l, text, m)
	case m.Kind() != mcp.KindNotification:
		return false, nil
	case m.Method() == mcp.Cancelled:
		s.cancelCall(ctx, l, m)
		return true, nil
	case m.Method() == mcp.Progress:
		text, ok := mcp.Text(mcp.Field(m.Params(), "progressToken"))
		if !ok {
			return true, nil
		}
		return true, s.said(ctx, l, text, m)
	default:
		return false, nil
	}
}

// said brings what a client said to a request, named by a token, to the node that
// asked.
func (s *Sessions) said(ctx context.Context, l *Live, text string, m *mcp.Message) error {
	t, ok := parseToken(s.keys, l.Record.ID, text)
	if !ok || t.kind != tokenAsk {
		return nil
	}
	if t.node == s.c.Self {
		s.hear(l.Record.ID, t.stream, t.sequence, m)
		return nil
	}
	if len(m.Bytes()) > maxSaid {
		return fault.New(fault.TooLarge, "the answer has %d bytes, the limit is %d", len(m.Bytes()), maxSaid)
	}
	q := &saidRequest{Session: l.Record.ID, Stream: t.stream, Number: t.sequence, Message: m.Bytes()}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saidWait)
	defer cancel()
	for {
		// To say it twice does no harm: the first answer counts.
		_, err := call[saidAnswer](ctx, s, t.node, opSaid, q)
		if err == nil {
			return nil
		}
		select {
		case <-time.After(saidRetry):
		case <-ctx.Done():
			s.log.Info("a client's answer did not reach the node that asked, which is gone or cut off", "node", t.node, "error", err)
			return nil
		}
	}
}

// hear gives what a client said to whoever asked it on this node.
func (s *Sessions) hear(session string, stream record.ID, number uint64, m *mcp.Message) bool {
	sh := s.shard(session)
	sh.mu.Lock()
	var a *asks
	if h := sh.hubs[session]; h != nil {
		a = h.asksOf(stream)
	}
	sh.mu.Unlock()
	return a != nil && a.take(number, m)
}

func (h *hub) asksOf(stream record.ID) *asks {
	if c := h.calls[stream]; c != nil {
		return &c.asks
	}
	for _, l := range h.listeners {
		if l.id == stream {
			return &l.asks
		}
	}
	return nil
}

func (s *Sessions) serveSaid(_ context.Context, _ peer.From, q *saidRequest) (saidAnswer, error) {
	m, err := mcp.Parse(append([]byte(nil), q.Message...), mcp.Inbound)
	if err != nil {
		return saidAnswer{}, fault.New(fault.Invalid, "the answer of a client does not parse: %w", err)
	}
	return saidAnswer{Taken: s.hear(q.Session, q.Stream, q.Number, m)}, nil
}

// cancelKind says what a node does with a cancellation. Numbers are for ever.
type cancelKind uint8

const (
	cancelLook     cancelKind = 0 // tell what it would concern
	cancelRunning  cancelKind = 1 // cancel the one call under that id
	cancelRemember cancelKind = 2 // cancel the call that comes
)

// cancelCall carries a client's cancellation out, wherever the call is. It first
// asks all nodes: clients that use one id for everything must not lose the wrong
// call, so an id that is in use more than once cancels none, and one whose call
// was answered a moment ago is not remembered. A cancellation that is ahead of its
// call is remembered on all nodes.
func (s *Sessions) cancelCall(ctx context.Context, l *Live, m *mcp.Message) {
	request, ok := mcp.ParseID(mcp.Field(m.Params(), "requestId"))
	if !ok {
		return
	}
	reason, _ := mcp.Text(mcp.Field(m.Params(), "reason"))
	if len(reason) > maxReason {
		reason = strings.ToValidUTF8(reason[:maxReason], "")
	}
	q := &cancelRequest{Session: l.Record.ID, Request: string(request), Reason: reason}
	ctx = context.WithoutCancel(ctx) // a client may hang up at once
	own := s.cancelHere(q)
	answers, _ := askOthers[cancelAnswer](ctx, s, askWait, opCancel, q)
	running, answered := own.Running, own.Answered
	for _, a := range answers {
		running += a.Running
		answered = answered || a.Answered
	}
	switch {
	case running == 1:
		q.Act = cancelRunning
	case running == 0 && !answered:
		q.Act = cancelRemember
	default:
		return
	}
	s.cancelHere(q)
	for node, a := range answers {
		if q.Act == cancelRunning && a.Running == 0 {
			delete(answers, node)
		}
	}
	if q.Act == cancelRemember || len(answers) > 0 {
		askOthers[cancelAnswer](ctx, s, askWait, opCancel, q)
	}
}

func (s *Sessions) serveCancel(_ context.Context, _ peer.From, q *cancelRequest) (cancelAnswer, error) {
	if err := record.ValidSessionID(q.Session); err != nil {
		return cancelAnswer{}, err
	}
	return s.cancelHere(q), nil
}

// cancelHere does on this node what q says.
func (s *Sessions) cancelHere(q *cancelRequest) (a cancelAnswer) {
	now := time.Now()
	request := mcp.ID(q.Request)
	sh := s.shard(q.Session)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	h := sh.hubs[q.Session]
	if h == nil && q.Act != cancelRemember {
		return a
	}
	h = sh.hubOf(q.Session)
	var found *Call
	for _, c := range h.calls {
		if c.request == request {
			found = c
			a.Running++
		}
	}
	for _, m := range h.answered {
		a.Answered = a.Answered || m.request == request && now.Before(m.until)
	}
	switch {
	case q.Act == cancelRunning && a.Running == 1, q.Act == cancelRemember && a.Running == 1 && !a.Answered:
		found.cancel(&Cancelled{Reason: q.Reason})
	case q.Act == cancelRemember && a.Running == 0 && !a.Answered:
		h.cancelled = remember(h.cancelled, memory{request: request, reason: q.Reason, until: now.Add(cancelMemory)})
	}
	return a
}
