package router

import (
	"context"
	"net/http"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/exchange"
	"github.com/mcpraft/mcpraft/server/mcp"
	"github.com/mcpraft/mcpraft/server/session"
	"github.com/mcpraft/mcpraft/server/upstream"
)

// live is the session that q names, if it is one of this endpoint, and q one that
// it takes. Any legacy revision is good for any session: clients are careless with
// the header, and the session knows its own.
func (r *Router) live(ctx context.Context, q *exchange.Request) (*session.Live, error) {
	l, err := r.sessions.Get(ctx, q.Session, q.Caller.Principal)
	if err != nil {
		return nil, err
	}
	if l.Record.Endpoint != q.Alias {
		return nil, fault.New(fault.NotFound, "the session belongs to another endpoint than %q", q.Alias).
			WithHint("open a session here: send initialize without %s", mcp.HeaderSession)
	}
	if v := mcp.Version(q.Version); q.HasVersion && !v.Known() && !v.Modern() {
		return nil, fault.New(fault.Invalid, "the header %s is %q, which is no revision; this session speaks %s", mcp.HeaderVersion, q.Version, l.Version())
	}
	return l, nil
}

// inSession takes a message of a session.
func (r *Router) inSession(ctx context.Context, q *exchange.Request, m *mcp.Message, c *claim, s exchange.Stream) (exchange.Answer, error) {
	l, err := r.live(ctx, q)
	if err != nil {
		return exchange.Answer{}, err
	}
	if m.Kind() == mcp.KindRequest {
		return r.sessionRequest(ctx, q, m, c, l, s)
	}
	return exchange.Answer{}, r.sessionMessage(ctx, q, m, l)
}

// sessionMessage takes what is not answered: the client's answers, cancellations
// and progress, which belong to a call on some node, and what the upstream should
// hear.
func (r *Router) sessionMessage(ctx context.Context, q *exchange.Request, m *mcp.Message, l *session.Live) error {
	handled, err := r.sessions.Deliver(ctx, l, m)
	if handled || err != nil {
		return err
	}
	if m.Method() == mcp.Initialized {
		return nil // that it has spoken is known to the session; the upstream was told by us
	}
	switch {
	case mcp.ModernOnly(m.Method()):
	case q.Alias == "":
		r.joinedNotification(ctx, q, m, l)
	default:
		r.notify(ctx, q, q.Alias, m, l)
	}
	return nil
}

// notify tells an upstream of a session. A notification that does not arrive is
// nobody's failure: JSON-RPC has no answer for it.
func (r *Router) notify(ctx context.Context, q *exchange.Request, alias string, m *mcp.Message, l *session.Live) {
	caller, _, err := r.sessionCaller(alias, l)
	if err == nil {
		err = r.upstreams.Notify(ctx, alias, caller, m)
	}
	if err != nil {
		r.log.Debug("a notification did not reach the upstream", "request_id", q.ID, "upstream", alias, "method", m.Method(), "error", err)
	}
}

// sessionCaller is a session as its upstream knows it, and the eras at both ends.
func (r *Router) sessionCaller(alias string, l *session.Live) (upstream.Caller, eras, error) {
	binding, err := l.Binding(alias)
	if err != nil {
		return upstream.Caller{}, eras{}, err
	}
	path := eras{client: l.Version(), upstream: r.listedVersion(alias)}
	if binding != nil && binding.Protocol != "" {
		path.upstream = mcp.Version(binding.Protocol)
	}
	return upstream.Caller{
		Principal:    l.Record.Principal,
		Session:      l.Record.ID,
		Capabilities: r.declarations.of(l.Record.Capabilities, path),
		ClientInfo:   l.Record.ClientInfo,
		Binding:      toldUpstream(binding),
		Version:      l.Version(),
		LogLevel:     l.Record.LogLevel,
	}, path, nil
}

// listedVersion is the revision that the catalogue knows an upstream by, for who
// has nothing there yet.
func (r *Router) listedVersion(alias string) mcp.Version {
	if s, ok := r.catalog.Now().Slice(alias); ok && mcp.Version(s.Protocol).Known() {
		return mcp.Version(s.Protocol)
	}
	return mcp.NewestLegacy
}

// sessionRequest answers a request of a session. Failures of the protocol are 200
// in the legacy era.
func (r *Router) sessionRequest(ctx context.Context, q *exchange.Request, m *mcp.Message, c *claim, l *session.Live, s exchange.Stream) (exchange.Answer, error) {
	method := m.Method()
	switch {
	case method == mcp.Ping:
		return exchange.Answer{Message: mcp.Answer(m.ID(), nil)}, nil
	case mcp.ModernOnly(method), isTask(method):
		answer := refuse(q, m, noMethod(method))
		answer.Status = http.StatusOK
		return answer, nil
	case q.Alias == "":
		return r.inJoinedSession(ctx, q, m, c, l, s)
	case method == mcp.SetLevel:
		return r.setLevel(ctx, q, m, c, l, s)
	case method == mcp.ResourcesSub, method == mcp.ResourcesUnsub:
		return r.setSubscription(ctx, q, m, c, l, s)
	default:
		return r.call(ctx, q, verbatim(q, m), l, s, nil)
	}
}

// setLevel notes the level in the session, where any node finds it, after the
// upstream has taken it. A modern upstream is told with each call.
func (r *Router) setLevel(ctx context.Context, q *exchange.Request, m *mcp.Message, c *claim, l *session.Live, s exchange.Stream) (exchange.Answer, error) {
	level, e := levelOf(c)
	if e != nil {
		return inOK(refuse(q, m, e)), nil
	}
	note := func(ctx context.Context) error { return r.sessions.SetLogLevel(ctx, l, level) }
	if modernBinding(q.Alias, l) {
		return r.noted(ctx, q, m, note)
	}
	return r.call(ctx, q, verbatim(q, m), l, s, note)
}

// levelOf is the level that logging/setLevel asks for.
func levelOf(c *claim) (string, *mcp.Error) {
	level, _ := mcp.Text(mcp.Field(c.params, "level"))
	if severity(level) < 0 {
		return "", invalidParams("params.level of %s is none of the levels debug to emergency", mcp.SetLevel)
	}
	return level, nil
}

// setSubscription notes a subscription, or its end, in the session, after the
// upstream has taken it. A modern upstream is told by the session's listener.
func (r *Router) setSubscription(ctx context.Context, q *exchange.Request, m *mcp.Message, c *claim, l *session.Live, s exchange.Stream) (exchange.Answer, error) {
	uri, ok := mcp.Text(mcp.Field(c.params, "uri"))
	if !ok || uri == "" {
		return inOK(refuse(q, m, invalidParams("params.uri of %s is missing", m.Method()))), nil
	}
	change := r.sessions.Subscribe
	if m.Method() == mcp.ResourcesUnsub {
		change = r.sessions.Unsubscribe
	}
	note := func(ctx context.Context) error { return change(ctx, l, q.Alias, uri, record.EventUpdate) }
	if !modernBinding(q.Alias, l) {
		return r.call(ctx, q, verbatim(q, m), l, s, note)
	}
	caller, _, err := r.sessionCaller(q.Alias, l)
	if err != nil {
		return exchange.Answer{}, err
	}
	p, err := r.profile(ctx, q.Alias, caller)
	if err != nil {
		return exchange.Answer{}, err
	}
	if string(mcp.Field(p.initialize, "capabilities", "resources", "subscribe")) != "true" {
		return inOK(refuse(q, m, noMethod(m.Method()))), nil
	}
	return r.noted(ctx, q, m, note)
}

// noted answers a request that is done once the session has it.
func (r *Router) noted(ctx context.Context, q *exchange.Request, m *mcp.Message, note func(context.Context) error) (exchange.Answer, error) {
	if err := note(ctx); err != nil {
		return exchange.Answer{Message: mcp.Failed(m.ID(), mcp.FromFault(err, q.ID))}, nil
	}
	return exchange.Answer{Message: mcp.Answer(m.ID(), nil)}, nil
}

func modernBinding(alias string, l *session.Live) bool {
	b := l.Record.Binding(alias)
	return b != nil && mcp.Version(b.Protocol).Modern()
}

// inOK is an answer as the legacy era carries failures.
func inOK(a exchange.Answer) exchange.Answer {
	a.Status = http.StatusOK
	return a
}

// End ends a session for its client, and what it holds at the upstream.
func (r *Router) End(ctx context.Context, q *exchange.Request) error {
	if !q.HasSession {
		if q.HasVersion && mcp.Version(q.Version).Modern() {
			return errNoSuchStream()
		}
		return fault.New(fault.Invalid, "the header %s is missing: which session should end?", mcp.HeaderSession)
	}
	l, err := r.live(ctx, q)
	if err != nil {
		return err
	}
	return r.sessions.End(ctx, l, func(ctx context.Context) error {
		bindings, err := l.Bindings()
		if err != nil {
			return err
		}
		for i := range bindings {
			r.letGo(ctx, l, &bindings[i])
		}
		return nil
	})
}

func (r *Router) letGo(ctx context.Context, l *session.Live, b *record.Binding) {
	r.upstreams.Close(ctx, b.Alias, upstream.Caller{Principal: l.Record.Principal, Session: l.Record.ID, Binding: b})
}

func errNoSuchStream() *fault.Error {
	return fault.New(fault.MethodNotAllowed, "only POST is served without a session").
		WithHint("open a session with initialize, or send requests of %s by POST", mcp.V20260728)
}
