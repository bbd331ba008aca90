package upstream

import (
	"context"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode/peer"
	"github.com/mcpraft/mcpraft/server/mcp"
)

// ours is the upstream, caller and process that an operation of another node is
// for: a process of this node, or the operation has come to the wrong one.
func (r *remote) ours(q *operation) (*upstream, *Caller, key, error) {
	up, err := r.ups.find(q.Alias)
	if err != nil {
		return nil, nil, key{}, err
	}
	if !up.stdio() {
		return nil, nil, key{}, fault.New(fault.Invalid, "upstream %q is no process", q.Alias)
	}
	c := q.Caller.caller()
	k := up.childKey(c)
	return up, c, k, up.holds(k)
}

func (r *remote) serveOpen(ctx context.Context, _ peer.From, q *operation) (openedAnswer, error) {
	up, c, k, err := r.ours(q)
	if err != nil {
		return openedAnswer{}, err
	}
	opened, err := up.openHeld(ctx, k, c)
	return openedAnswer{Initialize: opened.Initialize, Version: string(opened.Version)}, err
}

func (r *remote) serveCall(ctx context.Context, from peer.From, q *operation) ([]byte, error) {
	up, c, k, err := r.ours(q)
	if err != nil {
		return nil, err
	}
	m, err := mcp.Parse(clone(q.Message), mcp.FromUpstream)
	if err != nil {
		return nil, fault.New(fault.Invalid, "what node %s sends is no message: %w", from.Node, err)
	}
	var sink Sink
	if q.ID != 0 {
		sink = &farSink{remote: r, node: from.Node, operation: q.ID, ctx: ctx}
	}
	answer, err := up.callHeld(ctx, k, c, m, sink)
	if err != nil {
		return nil, err
	}
	return answer.Bytes(), nil
}

func (r *remote) serveNotify(ctx context.Context, from peer.From, q *operation) (empty, error) {
	up, c, k, err := r.ours(q)
	if err != nil {
		return empty{}, err
	}
	m, err := mcp.Parse(clone(q.Message), mcp.FromUpstream)
	if err != nil {
		return empty{}, fault.New(fault.Invalid, "what node %s sends is no message: %w", from.Node, err)
	}
	return empty{}, up.notifyHeld(ctx, k, c, m)
}

func (r *remote) serveEnd(ctx context.Context, _ peer.From, q *operation) (empty, error) {
	up, _, k, err := r.ours(q)
	if err != nil {
		return empty{}, err
	}
	if !k.own() {
		return empty{}, fault.New(fault.Invalid, "that process of upstream %q belongs to more than one session", q.Alias)
	}
	up.endHeld(ctx, k)
	return empty{}, nil
}

// serveListen holds a stream for another node until it ends or that node gives
// up.
func (r *remote) serveListen(ctx context.Context, from peer.From, q *operation) (empty, error) {
	up, c, k, err := r.ours(q)
	if err != nil {
		return empty{}, err
	}
	far := &farSink{remote: r, node: from.Node, operation: q.ID, ctx: ctx}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	far.failed = cancel
	w := Watch{
		Tools: q.Watch.Tools, Prompts: q.Watch.Prompts, Resources: q.Watch.Resources, URIs: q.Watch.URIs,
		Begun: func() { far.tell(newsStanding, nil) },
	}
	if q.Watch.Asks {
		w.Ask = far.Ask
	}
	l := &listener{ups: r.ups, alias: q.Alias, caller: c, watch: w, deliver: far.Notification}
	if err := up.admit(l, func() { cancel(errRetired) }); err != nil {
		return empty{}, err
	}
	defer up.dismiss(l)
	return empty{}, up.count(l.held(ctx, up, k))
}

// errRetired says that the record of an upstream has changed.
var errRetired = fault.New(fault.Unavailable, "the upstream has changed")

func clone(data []byte) []byte { return append([]byte(nil), data...) }

// A farSink is the sink of a call that another node has for its caller.
type farSink struct {
	remote    *remote
	node      string
	operation uint64 // its number there
	ctx       context.Context
	failed    context.CancelCauseFunc // nil: a message that is lost is no reason to end
}

// Notification tells the other node, and waits until it has heard: its caller is to
// see things in order.
func (s *farSink) Notification(m *mcp.Message) { s.tell(newsMessage, m.Bytes()) }

func (s *farSink) tell(kind newsKind, message []byte) {
	ctx, cancel := context.WithTimeout(s.ctx, tellLimit)
	defer cancel()
	_, err := callPeer[empty](ctx, s.remote, s.node, opTell, &news{ID: s.operation, Kind: kind, Message: message})
	if err != nil && s.failed != nil {
		s.failed(err)
	}
}

// Ask has the caller's client asked on the other node.
func (s *farSink) Ask(ctx context.Context, m *mcp.Message) (*mcp.Message, error) {
	data, err := callPeer[[]byte](ctx, s.remote, s.node, opAsk, &news{ID: s.operation, Message: m.Bytes()})
	if err != nil {
		return nil, err
	}
	return mcp.Parse(data, mcp.Inbound)
}

// Progressed is nothing to a process: what it sends has no numbers.
func (s *farSink) Progressed(string, string, mcp.ID) {}
