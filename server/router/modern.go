package router

import (
	"context"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/sse"
	"github.com/mcpraft/mcpraft/server/exchange"
	"github.com/mcpraft/mcpraft/server/mcp"
	"github.com/mcpraft/mcpraft/server/upstream"
)

// modern answers one message of the stateless era.
func (r *Router) modern(ctx context.Context, q *exchange.Request, m *mcp.Message, c *claim, s exchange.Stream) (exchange.Answer, error) {
	switch m.Kind() {
	case mcp.KindRequest:
		if e := checkModern(q, m, c); e != nil {
			return refuse(q, m, e), nil
		}
		return r.modernRequest(ctx, q, m, c, s)
	case mcp.KindNotification:
		// The revision defines none over HTTP, nor which headers one has.
		if c.version != nil {
			if e := checkVersion(q, c); e != nil {
				return refuse(q, m, e), nil
			}
		}
		return exchange.Answer{}, nil
	default:
		return refuse(q, m, invalidRequest("a client of %s answers nothing: there are no requests to it", q.Version)), nil
	}
}

// checkModern finds what is wrong with a modern request before anybody is asked to
// do it.
func checkModern(q *exchange.Request, m *mcp.Message, c *claim) *mcp.Error {
	if e := checkVersion(q, c); e != nil {
		return e
	}
	if capabilities := mcp.Field(c.meta, mcp.MetaClientCapabilities); len(capabilities) == 0 || capabilities[0] != '{' {
		return invalidParams("%s in params._meta is missing or not an object", mcp.MetaClientCapabilities)
	}
	if level := mcp.Field(c.meta, mcp.MetaLogLevel); level != nil {
		if name, _ := mcp.Text(level); severity(name) < 0 {
			return invalidParams("%s in params._meta is none of the levels debug to emergency", mcp.MetaLogLevel)
		}
	}
	return checkNames(q, m, c)
}

func (r *Router) modernRequest(ctx context.Context, q *exchange.Request, m *mcp.Message, c *claim, s exchange.Stream) (exchange.Answer, error) {
	caller := modernCaller(q, c)
	if q.Alias == "" {
		return r.joinedRequest(ctx, q, m, c, caller, s)
	}
	switch method := m.Method(); {
	case method == mcp.Discover:
		return r.discover(ctx, q, m, caller)
	case method == mcp.SubscriptionsListen:
		return r.subscribe(ctx, q, m, c, caller, s)
	case mcp.LegacyOnly(method), isTask(method):
		return refuse(q, m, noMethod(method)), nil
	default:
		return r.relay(ctx, q, verbatim(q, m), c, caller, s)
	}
}

// isTask reports whether method belongs to tasks, which nobody is offered yet.
func isTask(method string) bool {
	switch method {
	case mcp.TasksGet, mcp.TasksUpdate, mcp.TasksCancel, mcp.TasksList, mcp.TasksResult:
		return true
	default:
		return false
	}
}

// modernCaller is the sender of a modern request as upstreams know it: all there
// is to know is in the request.
func modernCaller(q *exchange.Request, c *claim) upstream.Caller {
	level, _ := mcp.Text(mcp.Field(c.meta, mcp.MetaLogLevel))
	return upstream.Caller{
		Principal:    q.Caller.Principal,
		Capabilities: mcp.Field(c.meta, mcp.MetaClientCapabilities),
		ClientInfo:   mcp.Field(c.meta, mcp.MetaClientInfo),
		Modern:       true,
		LogLevel:     level,
	}
}

// relay takes a modern request to its upstream and the answer back. ctx ends when
// the client is gone, which cancels the call.
func (r *Router) relay(ctx context.Context, q *exchange.Request, to *target, c *claim, caller upstream.Caller, s exchange.Stream) (exchange.Answer, error) {
	m := to.request
	p, err := r.profile(ctx, to.alias, caller)
	if err != nil {
		return r.notCalled(q, m, err)
	}
	capabilities := mcp.ParseClientCapabilities(caller.Capabilities)
	caller.Capabilities = declared(caller.Capabilities, eras{client: mcp.V20260728, upstream: p.version})
	if m.Method() == mcp.ToolsCall {
		if e := r.checkMirrored(ctx, q, to, p, r.lister(to.alias, caller)); e != nil {
			return refuse(q, m, e), nil
		}
	}
	if !p.modern() {
		if _, ok := mcp.RequestState(c.params); ok {
			return refuse(q, m, invalidParams("params.requestState was not issued here")), nil
		}
		m = withoutInput(m)
	}

	call := &modernCall{route: to.route, stream: s, level: severity(caller.LogLevel)}
	call.openLater(q)
	answer, err := r.upstreams.Call(ctx, to.alias, caller, m, call)
	call.settle()
	if err != nil {
		return r.notCalled(q, m, err)
	}
	if m.Method() == mcp.ToolsList && answer.Err() == nil {
		first := mcp.Field(c.params, "cursor") == nil
		r.published.relayed(listKey{to.alias, q.Caller.Principal}, first, answer.Result())
	}
	return modernAnswer(to.answer(m.Method(), forModern(q, m, p, capabilities, answer))), nil
}

// modernAnswer gives a message of the upstream the status of its code.
func modernAnswer(m *mcp.Message) exchange.Answer {
	a := exchange.Answer{Message: m}
	if e := m.Err(); e != nil {
		a.Status = statusOf(e.Code)
	}
	return a
}

// withoutInput is m without answers to requests that a legacy upstream never made.
func withoutInput(m *mcp.Message) *mcp.Message {
	if mcp.Field(m.Params(), "inputResponses") == nil {
		return m
	}
	return m.WithParams(mcp.WithoutField(m.Params(), "inputResponses"))
}

// notCalled is the answer to a request whose call came to nothing. What the
// carrier can say better in HTTP is its error; everything else is the answer of
// this request, in 200 like any other. At the aggregate that is all: there the
// state of one upstream is not that of the endpoint.
func (r *Router) notCalled(q *exchange.Request, m *mcp.Message, err error) (exchange.Answer, error) {
	if q.Alias != "" && (refusedBefore(err) || fault.Of(err) == fault.NotFound) {
		return exchange.Answer{}, err
	}
	return exchange.Answer{Message: mcp.Failed(m.ID(), mcp.FromFault(err, q.ID))}, nil
}

// lister gives the pages of the upstream's tools/list, for the router itself.
func (r *Router) lister(alias string, caller upstream.Caller) pageFunc {
	return func(ctx context.Context, cursor []byte) ([]byte, error) {
		params := []byte("{}")
		if cursor != nil {
			params = mcp.WithField(params, cursor, "cursor")
		}
		answer, err := r.upstreams.Call(ctx, alias, caller, mcp.Request(listID, mcp.ToolsList, params), nil)
		if err != nil {
			return nil, err
		}
		if e := answer.Err(); e != nil {
			return nil, e
		}
		return answer.Result(), nil
	}
}

// listID is the id of requests of our own; upstreams see others anyway.
var listID = mcp.NumberID(1)

// patience is how long a request may be without an answer before its client is
// shown an event stream: proxies and clients give silent connections up.
const patience = 5 * time.Second

// A modernCall is a modern request that an upstream works on: what comes before
// the answer passes through it.
type modernCall struct {
	route
	stream exchange.Stream
	level  int // severity of the least severe log message that is wanted; -1: none

	patient *time.Timer   // nil: the client takes no stream
	opened  chan struct{} // closed when patient has fired and is done
}

// openLater opens the stream by a comment when patience is over.
func (c *modernCall) openLater(q *exchange.Request) {
	if q.JSONOnly {
		return
	}
	c.opened = make(chan struct{})
	c.patient = time.AfterFunc(patience, func() {
		defer close(c.opened)
		_ = c.stream.Send(sse.Event{Comment: "working"}) // the client is gone: so will ctx be
	})
}

// settle ends what openLater began; nothing is sent afterwards.
func (c *modernCall) settle() {
	if c.patient != nil && !c.patient.Stop() {
		<-c.opened
	}
}

// Notification passes on what a modern client may hear on a request's stream: its
// progress, and log messages of the level that it asked for.
func (c *modernCall) Notification(m *mcp.Message) {
	switch m.Method() {
	case mcp.Progress:
	case mcp.LogMessage:
		if !c.wants(m) {
			return
		}
	default:
		return
	}
	_ = c.stream.Send(sse.Event{Data: c.notification(m).Bytes()}) // the client is gone: so will ctx be
}

func (c *modernCall) wants(message *mcp.Message) bool {
	level, _ := mcp.Text(mcp.Field(message.Params(), "level"))
	return c.level >= 0 && severity(level) >= c.level
}

// Ask is only called by legacy upstreams: modern ones ask in their result.
func (c *modernCall) Ask(_ context.Context, m *mcp.Message) (*mcp.Message, error) {
	return askModern(m)
}

// Progressed is of no use: a modern stream cannot be taken up again.
func (c *modernCall) Progressed(string, string, mcp.ID) {}
