package upstream

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode/peer"
	"github.com/mcpraft/mcpraft/server/mcp"
)

// Peers are the other nodes; *raftnode.Node is one.
type Peers interface {
	Handle(op uint16, h peer.Handler)
	Call(ctx context.Context, node string, op uint16, body []byte) ([]byte, error)
}

const (
	// maxHops is how many operations of this node may be at other nodes' processes at
	// once; connections between nodes carry a limited number of calls, not these
	// alone.
	maxHops = 512

	// tellLimit bounds one message to the node that asked.
	tellLimit = 30 * time.Second
)

// detailHop marks a fault that ended the hop to another node, with its name.
const detailHop = "node"

// A remote carries operations to the processes of other nodes, and those of other
// nodes to ours. The operation goes as a whole; what comes before its answer is
// told, or asked, in calls the other way, in order.
type remote struct {
	ups     *Upstreams
	peers   Peers
	hops    *semaphore.Weighted
	parcels parcels

	mu   sync.Mutex
	last uint64
	mine map[uint64]*hop // operations of ours at other nodes
}

// A hop is an operation of ours at another node.
type hop struct {
	node string
	hear func(m *mcp.Message)
	ask  func(ctx context.Context, m *mcp.Message) (*mcp.Message, error) // nil refuses
	up   func()                                                          // the stream stands; nil: of no interest
	ctx  context.Context
}

func newRemote(u *Upstreams) *remote {
	r := &remote{
		ups: u, peers: u.o.Children.Peers, hops: semaphore.NewWeighted(maxHops),
		parcels: parcels{budget: u.o.Budget, come: make(map[parcelKey]*parcel)},
		last:    rand.Uint64(), mine: make(map[uint64]*hop),
	}
	r.parcels.last = rand.Uint64() // of another process of this node there may be parts left
	if r.peers == nil {
		return r
	}
	r.peers.Handle(opPart, r.part)
	handle(r, opOpen, r.serveOpen)
	handle(r, opCall, r.serveCall)
	handle(r, opNotify, r.serveNotify)
	handle(r, opListen, r.serveListen)
	handle(r, opEnd, r.serveEnd)
	handle(r, opTell, r.serveTell)
	handle(r, opAsk, r.serveAsk)
	handle(r, opProcess, r.serveProcesses)
	handle(r, opLog, r.serveLog)
	return r
}

// hopFault is the error of a call to another node as the caller of an upstream may
// read it.
func hopFault(node string, err error) error {
	switch fault.Of(err) {
	case fault.Unreachable:
		f := fault.New(fault.Unreachable, "node %s, which runs the process, cannot be reached", node).WithDetail(detailHop, node).After(time.Second)
		f.Cause = err
		return f
	case fault.OutcomeUnknown:
		f := fault.New(fault.OutcomeUnknown, "node %s, which ran the process, was lost during the call", node).
			WithHint("whether the call was carried out is not known").WithDetail(detailHop, node)
		f.Cause = err
		return f
	}
	return err
}

// begin enters a hop; the other node knows it by the number. end must be called.
func (r *remote) begin(h *hop) (number uint64, end func(), err error) {
	if !r.hops.TryAcquire(1) {
		return 0, nil, fault.New(fault.Overloaded, "%d operations of this node are at processes of other nodes", maxHops).After(time.Second)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last++
	number = r.last
	r.mine[number] = h
	return number, func() {
		r.mu.Lock()
		delete(r.mine, number)
		r.mu.Unlock()
		r.hops.Release(1)
	}, nil
}

func (r *remote) open(ctx context.Context, up *upstream, claim record.Claim, c *Caller) (Opened, error) {
	a, err := callPeer[openedAnswer](ctx, r, claim.Node, opOpen, &operation{Alias: up.rec.Alias, Caller: c.wire()})
	if err != nil {
		return Opened{}, err
	}
	return Opened{Initialize: a.Initialize, Version: mcp.Version(a.Version)}, nil
}

func (r *remote) call(ctx context.Context, up *upstream, claim record.Claim, c *Caller, m *mcp.Message, sink Sink) (*mcp.Message, error) {
	h := &hop{node: claim.Node, ctx: ctx, hear: func(*mcp.Message) {}}
	if sink != nil {
		h.hear, h.ask = sink.Notification, sink.Ask
	}
	number, end, err := r.begin(h)
	if err != nil {
		return nil, err
	}
	defer end()
	data, err := callPeer[[]byte](ctx, r, claim.Node, opCall, &operation{Alias: up.rec.Alias, Caller: c.wire(), Message: m.Bytes(), ID: number})
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, err
	}
	return mcp.Parse(data, mcp.FromUpstream)
}

func (r *remote) notify(ctx context.Context, up *upstream, claim record.Claim, c *Caller, m *mcp.Message) error {
	_, err := callPeer[empty](ctx, r, claim.Node, opNotify, &operation{Alias: up.rec.Alias, Caller: c.wire(), Message: m.Bytes()})
	return err
}

// end has the node that runs the process of c end it, if there is one.
func (r *remote) end(ctx context.Context, up *upstream, c *Caller) error {
	claim, err := up.ups.o.Children.Claims.Known(up.claim(up.childKey(c)))
	if fault.Of(err) == fault.NotFound {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = callPeer[empty](ctx, r, claim.Node, opEnd, &operation{Alias: up.rec.Alias, Caller: c.wire()})
	return err
}

// listen holds one stream at another node.
func (r *remote) listen(ctx context.Context, up *upstream, claim record.Claim, l *listener) error {
	h := &hop{node: claim.Node, ctx: ctx, hear: l.deliver, ask: l.watch.Ask, up: func() { l.standing(true) }}
	number, end, err := r.begin(h)
	if err != nil {
		return err
	}
	defer end()
	w := l.watch
	_, err = callPeer[empty](ctx, r, claim.Node, opListen, &operation{
		Alias: up.rec.Alias, Caller: l.caller.wire(), ID: number,
		Watch: wireWatch{Tools: w.Tools, Prompts: w.Prompts, Resources: w.Resources, URIs: w.URIs, Asks: w.Ask != nil},
	})
	return err
}

// hopOf is the operation of ours that a node speaks of.
func (r *remote) hopOf(from peer.From, number uint64) (*hop, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if h := r.mine[number]; h != nil && h.node == from.Node {
		return h, nil
	}
	return nil, fault.New(fault.NotFound, "that operation has ended")
}

func (r *remote) serveTell(_ context.Context, from peer.From, q *news) (empty, error) {
	h, err := r.hopOf(from, q.ID)
	if err != nil {
		return empty{}, err
	}
	if q.Kind == newsStanding {
		if h.up != nil {
			h.up()
		}
		return empty{}, nil
	}
	m, err := mcp.Parse(q.Message, mcp.FromUpstream)
	if err != nil {
		return empty{}, fault.New(fault.Invalid, "what node %s tells is no message: %w", from.Node, err)
	}
	h.hear(m)
	return empty{}, nil
}

func (r *remote) serveAsk(ctx context.Context, from peer.From, q *news) ([]byte, error) {
	h, err := r.hopOf(from, q.ID)
	if err != nil {
		return nil, err
	}
	if h.ask == nil {
		return nil, fault.New(fault.Unsupported, "no client is there to answer")
	}
	m, err := mcp.Parse(q.Message, mcp.FromUpstream)
	if err != nil {
		return nil, fault.New(fault.Invalid, "what node %s asks is no message: %w", from.Node, err)
	}
	answer, err := h.ask(ctx, m)
	if err != nil {
		return nil, err
	}
	return answer.Bytes(), nil
}
