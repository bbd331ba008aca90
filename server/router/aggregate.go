package router

import (
	"context"
	"sync"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/exchange"
	"github.com/mcpraft/mcpraft/server/mcp"
	"github.com/mcpraft/mcpraft/server/session"
	"github.com/mcpraft/mcpraft/server/upstream"
)

// The aggregate is the endpoint that joins all upstreams. What it lists, and says of
// itself, it has from the catalogue; what it is called with goes to the upstream
// that the catalogue names, by a session there that is opened when it is first
// needed. So an upstream that is in trouble is in trouble alone.

// joinedRequest answers a modern request to the aggregate.
func (r *Router) joinedRequest(ctx context.Context, q *exchange.Request, m *mcp.Message, c *claim, caller upstream.Caller, s exchange.Stream) (exchange.Answer, error) {
	method := m.Method()
	if _, ok := listings[method]; ok {
		return r.list(q, m, c, mcp.V20260728), nil
	}
	switch {
	case method == mcp.Discover:
		return exchange.Answer{Message: mcp.Answer(m.ID(), r.joinedDiscovery())}, nil
	case method == mcp.SubscriptionsListen:
		return r.joinedListen(ctx, q, m, c, caller, s)
	case mcp.LegacyOnly(method), isTask(method):
		return refuse(q, m, noMethod(method)), nil
	}
	to, e := r.targetOf(r.catalog.Now(), m, c.params)
	if e != nil {
		return refuse(q, m, e), nil
	}
	return r.relay(ctx, q, to, c, caller, s)
}

// inJoinedSession answers a request of a session of the aggregate.
func (r *Router) inJoinedSession(ctx context.Context, q *exchange.Request, m *mcp.Message, c *claim, l *session.Live, s exchange.Stream) (exchange.Answer, error) {
	method := m.Method()
	if _, ok := listings[method]; ok {
		return inOK(r.list(q, m, c, l.Version())), nil
	}
	if method == mcp.SetLevel {
		return r.setJoinedLevel(ctx, q, m, c, l)
	}
	to, e := r.targetOf(r.catalog.Now(), m, c.params)
	if e != nil {
		return inOK(refuse(q, m, e)), nil
	}
	switch method {
	case mcp.ResourcesSub:
		return r.subscribeJoined(ctx, q, to, c, l, s)
	case mcp.ResourcesUnsub:
		return r.unsubscribeJoined(ctx, q, to, c, l, s)
	default:
		return r.call(ctx, q, to, l, s, nil)
	}
}

// tellWait bounds what is said to the upstreams of a session on its behalf.
const tellWait = 3 * time.Second

// atOpened calls f for each upstream where the session has something that can be
// told: modern ones keep nothing between calls. It waits for all of them, for no
// longer than tellWait; none can keep the others from being told.
func (r *Router) atOpened(ctx context.Context, l *session.Live, f func(ctx context.Context, alias string)) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tellWait)
	defer cancel()
	var wg sync.WaitGroup
	for i := range l.Record.Bindings {
		b := &l.Record.Bindings[i] // at most record.MaxBindings
		if b.Protocol != "" && !mcp.Version(b.Protocol).Modern() {
			wg.Go(func() { f(ctx, b.Alias) })
		}
	}
	wg.Wait()
}

// joinedNotification tells every opened upstream what a client says to its server.
// Only of the client's roots it can be said what it means to all of them.
func (r *Router) joinedNotification(ctx context.Context, q *exchange.Request, m *mcp.Message, l *session.Live) {
	if m.Method() != mcp.RootsListChanged {
		r.log.Debug("a notification that is for no upstream in particular is dropped", "request_id", q.ID, "method", m.Method())
		return
	}
	r.atOpened(ctx, l, func(ctx context.Context, alias string) { r.notify(ctx, q, alias, m, l) })
}

// setJoinedLevel notes the level in the session, and has it set wherever the session
// was opened. What is opened later is told then, and modern upstreams with each call.
func (r *Router) setJoinedLevel(ctx context.Context, q *exchange.Request, m *mcp.Message, c *claim, l *session.Live) (exchange.Answer, error) {
	level, e := levelOf(c)
	if e != nil {
		return inOK(refuse(q, m, e)), nil
	}
	return r.noted(ctx, q, m, func(ctx context.Context) error {
		if err := r.sessions.SetLogLevel(ctx, l, level); err != nil {
			return err
		}
		r.atOpened(ctx, l, func(ctx context.Context, alias string) { r.tellLevel(ctx, q, m, l, alias) })
		return nil
	})
}

// tellLevel sets the level at one upstream. One that has no log, or does not answer,
// leaves the level what it is for the others.
func (r *Router) tellLevel(ctx context.Context, q *exchange.Request, m *mcp.Message, l *session.Live, alias string) {
	if s, ok := r.catalog.Now().Slice(alias); ok && s.Capabilities != nil && mcp.Field(s.Capabilities, "logging") == nil {
		return
	}
	caller, _, err := r.sessionCaller(alias, l)
	if err == nil {
		var answer *mcp.Message
		answer, err = r.upstreams.Call(ctx, alias, caller, m, nil)
		if err == nil && answer.Err() != nil {
			err = answer.Err()
		}
	}
	if err != nil {
		r.log.Debug("an upstream did not take the log level of a session", "request_id", q.ID, "upstream", alias, "error", err)
	}
}

// maxInterests bounds the subscriptions of a session at all upstreams together.
const maxInterests = 1024

// subscribeJoined notes a subscription with the events that are wanted: the
// protocol's updates, if nothing is said. Creation and deletion come from the
// catalogue, updates from the upstream, which must offer them.
func (r *Router) subscribeJoined(ctx context.Context, q *exchange.Request, to *target, c *claim, l *session.Live, s exchange.Stream) (exchange.Answer, error) {
	m := to.request
	uri, _ := mcp.Text(mcp.Field(m.Params(), "uri"))
	events, said, e := eventsOf(c.params)
	if !said {
		events = record.EventUpdate
	}
	if e == nil && events&record.EventUpdate != 0 && !r.tellsUpdates(to.alias) {
		e = &mcp.Error{
			Code:    mcp.CodeMethodNotFound,
			Message: "upstream " + to.alias + ` does not tell of updates; subscribe with "events":["create","delete"]`,
		}
	}
	if e == nil && len(interests(l)) >= maxInterests {
		e = mcp.FromFault(fault.New(fault.Quota, "the session has %d subscriptions, the limit", maxInterests), q.ID)
	}
	if e != nil {
		return inOK(refuse(q, m, e)), nil
	}
	note := func(ctx context.Context) error { return r.sessions.Subscribe(ctx, l, to.alias, uri, events) }
	if events&(record.EventUpdate|record.EventCreate) == record.EventUpdate && !r.isModern(to.alias, l) {
		return r.call(ctx, q, to.without("events"), l, s, note)
	}
	return r.noted(ctx, q, m, note)
}

// unsubscribeJoined takes events back: all, if nothing is said. The upstream hears of
// it when it was told of the subscription and no updates are wanted any more.
func (r *Router) unsubscribeJoined(ctx context.Context, q *exchange.Request, to *target, c *claim, l *session.Live, s exchange.Stream) (exchange.Answer, error) {
	m := to.request
	uri, _ := mcp.Text(mcp.Field(m.Params(), "uri"))
	events, said, e := eventsOf(c.params)
	if e != nil {
		return inOK(refuse(q, m, e)), nil
	}
	if !said {
		events = record.AllEvents
	}
	note := func(ctx context.Context) error { return r.sessions.Unsubscribe(ctx, l, to.alias, uri, events) }
	if r.told(l, to.alias, uri) && events&record.EventUpdate != 0 && !r.isModern(to.alias, l) {
		return r.call(ctx, q, to.without("events"), l, s, note)
	}
	return r.noted(ctx, q, m, note)
}

// told reports whether the upstream was told of a subscription by its request.
func (r *Router) told(l *session.Live, alias, uri string) bool {
	b := toldUpstream(l.Record.Binding(alias))
	return b != nil && b.Subscribed(uri) != 0
}

// isModern reports whether an upstream, for a session, is one of the modern era.
func (r *Router) isModern(alias string, l *session.Live) bool {
	if b := l.Record.Binding(alias); b != nil && b.Protocol != "" {
		return mcp.Version(b.Protocol).Modern()
	}
	return r.listedVersion(alias).Modern()
}

// tellsUpdates reports whether an upstream says that it tells when its resources
// change. One that has not said anything yet is asked.
func (r *Router) tellsUpdates(alias string) bool {
	s, ok := r.catalog.Now().Slice(alias)
	return !ok || s.Capabilities == nil || string(mcp.Field(s.Capabilities, "resources", "subscribe")) == "true"
}
