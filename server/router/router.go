package router

import (
	"context"
	"log/slog"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/catalog"
	"github.com/mcpraft/mcpraft/server/exchange"
	"github.com/mcpraft/mcpraft/server/mcp"
	"github.com/mcpraft/mcpraft/server/session"
	"github.com/mcpraft/mcpraft/server/upstream"
)

// Sessions is what the router needs of *session.Sessions; FromSessions makes one.
type Sessions interface {
	Create(ctx context.Context, d *session.Draft) (id string, err error)
	Get(ctx context.Context, id string, p record.Principal) (*session.Live, error)
	Newest(ctx context.Context, l *session.Live) (*session.Live, error)
	End(ctx context.Context, l *session.Live, letGo func(context.Context) error) error
	SetLogLevel(ctx context.Context, l *session.Live, level string) error
	Subscribe(ctx context.Context, l *session.Live, alias, uri string, events record.Events) error
	Unsubscribe(ctx context.Context, l *session.Live, alias, uri string, events record.Events) error
	Deliver(ctx context.Context, l *session.Live, m *mcp.Message) (handled bool, err error)
	OpenCall(ctx context.Context, l *session.Live, id mcp.ID, s exchange.Stream, o session.CallOptions) (Call, error)
	Listen(ctx context.Context, l *session.Live, s exchange.Stream, o ListenOptions) error
}

// A Call is what the router needs of *session.Call.
type Call interface {
	Context() context.Context
	Request() mcp.ID
	Notify(m *mcp.Message)
	Ask(ctx context.Context, m *mcp.Message) (*mcp.Message, error)
	Upstream(u session.Upstream)
	Finish(answer *mcp.Message) exchange.Answer
}

// A Listener is what the router needs of *session.Listener.
type Listener interface {
	Notify(m *mcp.Message) error
	Ask(ctx context.Context, m *mcp.Message) (*mcp.Message, error)
}

// ListenOptions are session.ListenOptions, field by field.
type ListenOptions struct {
	LastEventID string
	Source      func(ctx context.Context, to Listener) error
	Missed      func() []*mcp.Message
	Resume      func(c Call, u session.Upstream) (*mcp.Message, error)
	Progress    func(*mcp.Message)
}

// Upstreams is what the router needs of *upstream.Upstreams.
type Upstreams interface {
	Open(ctx context.Context, alias string, c upstream.Caller) (upstream.Opened, error)
	Call(ctx context.Context, alias string, c upstream.Caller, m *mcp.Message, s upstream.Sink) (*mcp.Message, error)
	Notify(ctx context.Context, alias string, c upstream.Caller, m *mcp.Message) error
	Resume(ctx context.Context, alias string, c upstream.Caller, lastEventID string, request, id mcp.ID, s upstream.Sink) (*mcp.Message, error)
	Listen(ctx context.Context, alias string, c upstream.Caller, w upstream.Watch, deliver func(*mcp.Message)) error
	Close(ctx context.Context, alias string, c upstream.Caller)
}

// Catalog is what the router needs of *catalog.Catalog.
type Catalog interface {
	// Now is what all upstreams list, as this node has applied it. It never changes.
	Now() *catalog.View
	// Watch calls f after each change of Now, in order. F must not block.
	Watch(f func(catalog.Difference))
}

// Config is what a Router is made of.
type Config struct {
	Sessions  Sessions // see FromSessions
	Upstreams Upstreams
	Catalog   Catalog // what the aggregate joins; nil: nothing

	// Lookup is the record of an upstream; the error is a fault.NotFound if there is
	// none. It is asked why the aggregate lacks what a client calls. Nil: nothing more
	// is said than that.
	Lookup func(alias string) (record.Upstream, error)

	Version string       // of the gateway, as clients of the aggregate see it
	Logger  *slog.Logger // nil means discard
}

// A Router is the exchange.Handler of this node. Any number of requests may be in
// it at once.
type Router struct {
	sessions  Sessions
	upstreams Upstreams
	catalog   Catalog
	lookup    func(alias string) (record.Upstream, error)
	log       *slog.Logger

	draining context.Context // ends by drain
	drain    context.CancelFunc

	profiles     *profiles
	published    *published
	declarations *declarations

	serverInfo []byte // of the aggregate
	lists      lists
	changes    changes
	watching   shares
	looked     lookups
}

var _ exchange.Handler = (*Router)(nil)

// New makes a Router. It starts nothing and holds nothing that must be closed.
func New(c Config) *Router {
	if c.Catalog == nil {
		c.Catalog = nothing{}
	}
	if c.Lookup == nil {
		c.Lookup = func(alias string) (record.Upstream, error) {
			return record.Upstream{}, fault.New(fault.NotFound, "there is no upstream %q", alias)
		}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	r := &Router{
		sessions: c.Sessions, upstreams: c.Upstreams, catalog: c.Catalog, lookup: c.Lookup, log: c.Logger,
		profiles: newProfiles(), published: newPublished(), declarations: newDeclarations(),
		serverInfo: serverInfoOf(c.Version),
	}
	r.catalog.Watch(r.changes.announce)
	r.draining, r.drain = context.WithCancel(context.Background())
	return r
}

// Drain ends the subscriptions of modern clients in order, because the node is
// about to stop: they come back to another one. Sessions are drained by
// session.Sessions.
func (r *Router) Drain() { r.drain() }

// nothing is a catalogue of no upstreams.
type nothing struct{}

func (nothing) Now() *catalog.View             { return emptyView }
func (nothing) Watch(func(catalog.Difference)) {}

var emptyView = catalog.NewView()

// Post answers one message.
func (r *Router) Post(ctx context.Context, q *exchange.Request, m *mcp.Message, s exchange.Stream) (exchange.Answer, error) {
	c := classify(q, m)
	switch {
	case c.modern:
		return r.modern(ctx, q, m, &c, s)
	case m.Method() == mcp.Initialize && m.Kind() == mcp.KindRequest:
		return r.initialize(ctx, q, m, &c)
	case q.HasSession:
		return r.inSession(ctx, q, m, &c, s)
	default:
		return outsideSession(q, m), nil
	}
}

// outsideSession answers a legacy message that names no session and opens none. A
// ping may be answered; nothing else can be.
func outsideSession(q *exchange.Request, m *mcp.Message) exchange.Answer {
	if m.Kind() == mcp.KindRequest && m.Method() == mcp.Ping {
		return exchange.Answer{Message: mcp.Answer(m.ID(), nil)}
	}
	return refuse(q, m, invalidRequest("the header %s is missing: open a session with initialize, or send the metadata of %s with each request", mcp.HeaderSession, mcp.V20260728))
}
