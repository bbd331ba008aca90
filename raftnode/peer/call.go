package peer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/frame"
)

// opPing is answered by every Port. The numbers of all other operations belong
// to the user.
const opPing uint16 = 0

// Status of an answer. docs/format/peer.md.
const (
	statusOK    uint8 = 0 // the body is the answer
	statusFault uint8 = 1 // the body is a wireFault
)

// A Handler answers the calls of one operation; many run at once. body is valid
// until it returns. ctx ends when the caller gives up, the connection ends or the
// Port stops. A *fault.Error reaches the caller with everything but its cause;
// any other error is Internal there and is logged here.
type Handler func(ctx context.Context, from From, body []byte) ([]byte, error)

type handler struct {
	serve  Handler
	before bool // allowed before membership
}

// A HandleOption is a property of an operation.
type HandleOption func(*handler)

// BeforeMembership allows an operation while the caller or this node belongs to
// no cluster yet: to say hello, to join, to adopt. Its handler decides by
// From.ClusterID what it may do.
func BeforeMembership() HandleOption { return func(h *handler) { h.before = true } }

// Handle registers the handler of an operation. Numbers are for ever; 0 is taken.
// To register one twice is a defect of the program, and panics.
func (p *Port) Handle(op uint16, serve Handler, options ...HandleOption) {
	h := handler{serve: serve}
	for _, option := range options {
		option(&h)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.handlers[op]; ok {
		panic(fmt.Sprintf("peer: operation %d is registered twice", op))
	}
	p.handlers[op] = h
}

// Call runs an operation on a node and waits for its answer. The connection is
// shared by all calls to that node, opened by the first and again when it is
// needed after it broke, with growing pauses between failures; while a node is
// known to be down its calls fail at once. The error is the handler's *fault.Error,
// or of kind
//
//   - Unreachable: there is no connection; the call was not run. ReasonOf tells why.
//   - Overloaded: the node has MaxInFlight calls of this connection; not run.
//   - OutcomeUnknown: the connection broke after the call was sent.
//   - Timeout: ctx ended; its cause is wrapped. The call may have been run.
//   - TooLarge: body is above Limits.MaxBody.
//
// A call is never sent twice.
func (p *Port) Call(ctx context.Context, node string, op uint16, body []byte) ([]byte, error) {
	l, err := p.link(node)
	if err != nil {
		return nil, p.called(err)
	}
	c, err := l.connection(ctx)
	if err != nil {
		return nil, p.called(err)
	}
	answer, err := c.call(ctx, op, body)
	return answer, p.called(err)
}

// CallAddr runs an operation on whatever node of the cluster listens at addr,
// over a connection of its own that is closed after. It is for the first words
// between nodes that do not know each other. Errors are those of Call.
func (p *Port) CallAddr(ctx context.Context, addr string, op uint16, body []byte) ([]byte, error) {
	ctx, stop := p.bind(ctx)
	defer stop()
	c, err := p.dialCalls(ctx, goal{protocol: protocolCalls, addr: addr})
	if err != nil {
		return nil, p.called(err)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer c.end(nil)
	wg.Go(func() { _ = c.frames.Run(c.ctx) }) // its error is that of the call
	answer, err := c.call(ctx, op, body)
	return answer, p.called(err)
}

// bind is ctx that also ends when the Port does.
func (p *Port) bind(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(p.ctx, func() { cancel(context.Cause(p.ctx)) })
	return ctx, func() { stop(); cancel(nil) }
}

// called counts a call of ours.
func (p *Port) called(err error) error {
	p.o.Metrics.call("out", err)
	return err
}

// A connection carries our calls to one node.
type connection struct {
	goal   goal
	own    Identity // what we said
	other  Identity // who answered
	frames *frame.Conn

	ctx  context.Context         // of frames.Run
	end  context.CancelCauseFunc // of ctx: ends the connection, saying why
	gone chan struct{}           // closed by its link when it has ended and another may follow
}

func (p *Port) frameOptions(h frame.Handler) frame.Options {
	return frame.Options{
		Handler:     h,
		MaxBody:     p.o.Limits.MaxBody,
		MaxInFlight: p.o.Limits.MaxInFlight,
		MaxBuffered: 4 * p.o.Limits.MaxBody,
		IdleTimeout: p.o.Limits.SilentAfter,
		Panicked: func(op uint16, value any, stack []byte) {
			p.log.Error("handler of a peer's call panicked", "op", op, "panic", value, "stack", string(stack))
		},
	}
}

func (p *Port) dialCalls(ctx context.Context, g goal) (*connection, error) {
	own := p.o.Identity()
	s, err := p.dial(ctx, g)
	if err != nil {
		return nil, err
	}
	c := &connection{goal: g, own: own, other: s.other, frames: frame.NewConn(s, p.frameOptions(nil)), gone: make(chan struct{})}
	c.ctx, c.end = context.WithCancelCause(p.ctx)
	return c, nil
}

func (c *connection) call(ctx context.Context, op uint16, body []byte) ([]byte, error) {
	status, answer, err := c.frames.Call(ctx, op, body)
	switch {
	case err != nil:
		return nil, c.describe(ctx, op, err)
	case status == statusOK:
		return answer, nil
	case status == statusFault:
		return nil, decodeFault(answer)
	default:
		return nil, fault.New(fault.Internal, "%s answered operation %d with status %d, which this node does not know", c.goal, op, status)
	}
}

// describe turns the error of a frame into a fault.
func (c *connection) describe(ctx context.Context, op uint16, err error) error {
	switch {
	case errors.Is(err, frame.ErrTooLarge) && errors.Is(err, frame.ErrNotRun):
		return fault.New(fault.TooLarge, "call of operation %d: %w", op, err)
	case ctx.Err() != nil:
		return fault.New(fault.Timeout, "%s has not answered operation %d: %w", c.goal, op, context.Cause(ctx))
	case errors.Is(err, frame.ErrBusy):
		return fault.New(fault.Overloaded, "%s has too many calls in flight", c.goal).After(100 * time.Millisecond)
	case errors.Is(err, frame.ErrNotRun):
		return unreachable(c.goal, err)
	case errors.Is(err, frame.ErrHandler), errors.Is(err, frame.ErrAnswerTooLarge):
		return fault.New(fault.Internal, "operation %d on %s: %w", op, c.goal, err)
	default:
		return fault.New(fault.OutcomeUnknown, "the connection to %s ended before operation %d was answered: %w", c.goal, op, err)
	}
}

// A session serves the calls of one connection.
type session struct {
	port     *Port
	from     From
	other    Identity
	frames   *frame.Conn
	standing atomic.Pointer[standing]
}

// standing is what a session may do as long as this node is own.
type standing struct {
	own    Identity
	member bool
	err    error
}

// serve answers the calls of s until it ends.
func (p *Port) serve(s *stream) {
	e := &session{
		port:  p,
		other: s.other,
		from: From{
			Node: s.other.Node, Disk: s.other.Disk, Process: s.other.Process,
			ClusterID: s.other.ClusterID, Addr: s.RemoteAddr().String(),
		},
	}
	e.frames = frame.NewConn(s, p.frameOptions(e))
	p.mu.Lock()
	p.serving[e] = struct{}{}
	p.mu.Unlock()
	err := e.frames.Run(p.ctx)
	p.mu.Lock()
	delete(p.serving, e)
	p.mu.Unlock()
	p.log.Debug("connection of a peer ended", "node", e.from.Node, "from", e.from.Addr, "error", err)
}

// ServeFrame answers one call.
func (e *session) ServeFrame(ctx context.Context, op uint16, body []byte) (uint8, []byte) {
	answer, err := e.answer(ctx, op, body)
	e.port.o.Metrics.call("in", err)
	if err == nil {
		return statusOK, answer
	}
	if fault.Of(err) == fault.Internal {
		e.port.log.Error("call of a peer", "node", e.from.Node, "op", op, "error", err)
	}
	return statusFault, encodeFault(err)
}

func (e *session) answer(ctx context.Context, op uint16, body []byte) ([]byte, error) {
	e.port.mu.Lock()
	h, ok := e.port.handlers[op]
	e.port.mu.Unlock()
	st := e.stands()
	switch {
	case st.err != nil:
		return nil, st.err
	case !ok:
		return nil, fault.New(fault.Unsupported, "node %s has no operation %d", st.own.Node, op).WithHint("update the older of the two nodes")
	case !st.member && !h.before:
		return nil, refuse(ReasonNoClusterID, fault.Unavailable, "operation %d needs both nodes in the cluster; node %s does not belong to it yet",
			op, outsider(st.own, e.other)).After(e.port.o.Limits.RedialMin)
	}
	return h.serve(ctx, e.from, body)
}

// stands is the standing of e; it is found again after this node has changed.
func (e *session) stands() *standing {
	own := e.port.o.Identity()
	if st := e.standing.Load(); st != nil && st.own == own {
		return st
	}
	st := &standing{own: own}
	st.member, st.err = meet(own, e.other)
	e.standing.Store(st)
	return st
}
