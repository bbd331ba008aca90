package router

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/server/exchange"
	"github.com/mcpraft/mcpraft/server/mcp"
	"github.com/mcpraft/mcpraft/server/session"
	"github.com/mcpraft/mcpraft/server/upstream"
)

// Sessions is what the router needs of *session.Sessions; FromSessions makes one.
type Sessions interface {
	Create(ctx context.Context, d *session.Draft) (id string, err error)
	Get(ctx context.Context, id string, p record.Principal) (*session.Live, error)
	End(ctx context.Context, l *session.Live, letGo func(context.Context) error) error
	SetLogLevel(ctx context.Context, l *session.Live, level string) error
	Subscribe(ctx context.Context, l *session.Live, alias, uri string) error
	Unsubscribe(ctx context.Context, l *session.Live, alias, uri string) error
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

// Config is what a Router is made of.
type Config struct {
	Sessions  Sessions // see FromSessions
	Upstreams Upstreams

	// Aliases lists the upstreams that the caller of the aggregate may be told of.
	// Nil: none is named.
	Aliases func() []string
	Logger  *slog.Logger // nil means discard
}

// A Router is the exchange.Handler of this node. Any number of requests may be in
// it at once.
type Router struct {
	sessions  Sessions
	upstreams Upstreams
	aliases   func() []string
	log       *slog.Logger

	draining context.Context // ends by drain
	drain    context.CancelFunc

	profiles     *profiles
	published    *published
	declarations *declarations
}

var _ exchange.Handler = (*Router)(nil)

// New makes a Router. It starts nothing and holds nothing that must be closed.
func New(c Config) *Router {
	if c.Aliases == nil {
		c.Aliases = func() []string { return nil }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	r := &Router{
		sessions: c.Sessions, upstreams: c.Upstreams, aliases: c.Aliases, log: c.Logger,
		profiles: newProfiles(), published: newPublished(), declarations: newDeclarations(),
	}
	r.draining, r.drain = context.WithCancel(context.Background())
	return r
}

// Drain ends the subscriptions of modern clients in order, because the node is
// about to stop: they come back to another one. Sessions are drained by
// session.Sessions.
func (r *Router) Drain() { r.drain() }

// Post answers one message.
func (r *Router) Post(ctx context.Context, q *exchange.Request, m *mcp.Message, s exchange.Stream) (exchange.Answer, error) {
	if q.Alias == "" {
		return r.aggregate(q, m), nil
	}
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

// maxNamed is how many upstreams an error names.
const maxNamed = 20

// aggregate refuses a message to the aggregate, which this version does not serve,
// and says where the upstreams are.
func (r *Router) aggregate(q *exchange.Request, m *mcp.Message) exchange.Answer {
	text := "this endpoint does not join upstreams yet: each has its own, /servers/{alias}/mcp"
	if aliases := slices.Sorted(slices.Values(r.aliases())); len(aliases) > 0 {
		more := ""
		if len(aliases) > maxNamed {
			aliases, more = aliases[:maxNamed], ", …"
		}
		text += " (here " + strings.Join(aliases, ", ") + more + ")"
	}
	e := impossible("no_aggregate", "%s", text)
	return exchange.Answer{Message: mcp.Failed(m.ID(), traced(q, e)), Status: http.StatusNotFound}
}

// outsideSession answers a legacy message that names no session and opens none. A
// ping may be answered; nothing else can be.
func outsideSession(q *exchange.Request, m *mcp.Message) exchange.Answer {
	if m.Kind() == mcp.KindRequest && m.Method() == mcp.Ping {
		return exchange.Answer{Message: mcp.Answer(m.ID(), nil)}
	}
	return refuse(q, m, invalidRequest("the header %s is missing: open a session with initialize, or send the metadata of %s with each request", mcp.HeaderSession, mcp.V20260728))
}
