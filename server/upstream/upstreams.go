package upstream

import (
	"context"
	"crypto/tls"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/mcp"
)

// What a Config says by being silent.
const (
	DefaultTimeout = time.Minute      // of a request, while nothing is heard of it
	DefaultLongest = 30 * time.Minute // of a request that reports progress
	DefaultBudget  = 512 << 20        // bytes
	DefaultName    = "mcpraft"
)

// sweepEvery is how often Run looks for sessions that nobody uses.
const sweepEvery = time.Minute

// A Config is what the upstreams of a node are reached by.
type Config struct {
	// Lookup is the record of an upstream in this node's replica; the error is a
	// fault.NotFound if there is none. It is called once for each operation, from
	// any goroutine, and should cost no more than a map.
	Lookup func(alias string) (record.Upstream, error)

	// Rebound is told what a session of the gateway now holds at an upstream, the
	// upstream's session id in clear, when that has changed while serving a call:
	// opened late, or opened anew because the upstream had lost it. The caller
	// waits for it. Nil means that nobody wants to know.
	Rebound func(session string, now record.Binding)

	Secrets      *Secrets    // credentials of this node for upstreams; nil: none
	Credentials  Credentials // those of the cluster; nil: none
	AllowPrivate bool        // private and loopback addresses may be dialled
	TLS          *tls.Config // for https upstreams; nil: the system's roots, TLS 1.2 or newer

	// Dial replaces the dialler, for networks in memory. It must not lead to
	// addresses that a Guard would refuse. Nil means TCP behind a Guard.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)

	Budget  Budget        // of all message bytes in flight; nil: one of DefaultBudget for this package alone
	Timeout time.Duration // of a request whose upstream's record says nothing; 0 means DefaultTimeout
	Longest time.Duration // bound of a request whose time is extended by progress; 0 means DefaultLongest

	Name    string // of the gateway, in User-Agent and clientInfo; "" means DefaultName
	Version string // of the gateway, likewise; "" means "0"

	Children Children // what stdio upstreams run on; the zero value: they are refused

	Metrics *Metrics     // nil: counted nowhere
	Logger  *slog.Logger // nil means discard
}

func (c Config) withDefaults() Config {
	if c.Rebound == nil {
		c.Rebound = func(string, record.Binding) {}
	}
	if c.Dial == nil {
		dialer := &net.Dialer{Control: Guard{AllowPrivate: c.AllowPrivate}.Control, KeepAlive: tcpKeepAlive}
		c.Dial = dialer.DialContext
	}
	if c.Budget == nil {
		c.Budget = semaphore.NewWeighted(DefaultBudget)
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Longest == 0 {
		c.Longest = DefaultLongest
	}
	if c.Name == "" {
		c.Name = DefaultName
	}
	if c.Version == "" {
		c.Version = "0"
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics(nil)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Upstreams are the registered MCP servers as one node reaches them. All methods
// may be called from any goroutine.
//
// Errors are *fault.Error: NotFound for an unknown alias, Unavailable for a
// disabled one, Overloaded when a pool or the budget is full, Unreachable when
// nothing reached the upstream, OutcomeUnknown when something may have, Timeout
// when its time was up. What an upstream answers as a JSON-RPC error is no error
// but the answer.
type Upstreams struct {
	o      Config
	lastID atomic.Uint32
	info   []byte // the gateway's clientInfo

	mu      sync.Mutex // nothing blocks under it
	byAlias map[string]*upstream
	closed  bool

	readers sync.WaitGroup // of channels, keepers of children and what other nodes have begun here

	children *children
	remote   *remote
}

// New makes the upstreams of a node. Nothing is dialled before it is needed.
func New(o Config) *Upstreams {
	u := &Upstreams{o: o.withDefaults(), byAlias: make(map[string]*upstream)}
	u.lastID.Store(rand.Uint32()) // two nodes in one upstream session must not use the same ids
	u.children = newChildren(u)
	u.remote = newRemote(u)
	info := mcp.WithField(nil, mcp.Quote(u.o.Name), "name")
	u.info = mcp.WithField(info, mcp.Quote(u.o.Version), "version")
	return u
}

// Run ends upstream sessions that nobody uses any more until ctx ends, then all
// connections and what reads from them. Nothing may be begun afterwards.
func (u *Upstreams) Run(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	u.own(func() { u.children.tend(ctx) })
	for {
		select {
		case now := <-tick.C:
			for _, up := range u.all() {
				u.Refresh(up.rec.Alias)
				up.sweep(ctx, now)
			}
		case <-ctx.Done():
			u.close()
			return ctx.Err()
		}
	}
}

// Refresh looks at the record of an upstream. If it has changed, was disabled or
// removed, what is held open for the old one is let go, and listeners go on at
// the new one. Every operation does that, too, and Run once a minute.
func (u *Upstreams) Refresh(alias string) {
	_, _ = u.find(alias)
}

func (u *Upstreams) close() {
	u.mu.Lock()
	u.closed = true
	all := u.byAlias
	u.byAlias = make(map[string]*upstream)
	u.mu.Unlock()
	for _, up := range all {
		up.retire()
	}
	u.readers.Wait()
}

func (u *Upstreams) all() []*upstream {
	u.mu.Lock()
	defer u.mu.Unlock()
	list := make([]*upstream, 0, len(u.byAlias))
	for _, up := range u.byAlias {
		list = append(list, up)
	}
	return list
}

// find is the upstream of that name as its record now is.
func (u *Upstreams) find(alias string) (*upstream, error) {
	rec, err := u.o.Lookup(alias)
	if err != nil {
		if fault.Of(err) == fault.NotFound {
			u.replace(alias, nil)
		}
		return nil, err
	}
	if rec.Disabled {
		u.replace(alias, nil)
		return nil, fault.New(fault.Unavailable, "upstream %q is disabled", alias).
			WithHint("mcpraft upstreams enable %s", alias).WithDetail("upstream", alias)
	}
	if rec.Transport == record.TransportStdio && u.o.Children.Claims == nil {
		return nil, fault.New(fault.Unsupported, "upstream %q is a child process, which this node knows nothing of", alias).
			WithDetail("upstream", alias)
	}
	u.mu.Lock()
	up, closed := u.byAlias[alias], u.closed
	u.mu.Unlock()
	if closed {
		return nil, fault.New(fault.Unavailable, "this node is stopping")
	}
	if up != nil && up.rec.Revision == rec.Revision && up.rec.URL == rec.URL {
		return up, nil
	}
	fresh, err := newUpstream(u, rec)
	if err != nil {
		return nil, err
	}
	return u.replace(alias, fresh), nil
}

// replace puts fresh in the place of what is known under alias; what was there
// goes on with the calls that it has.
func (u *Upstreams) replace(alias string, fresh *upstream) *upstream {
	u.mu.Lock()
	old := u.byAlias[alias]
	switch {
	case fresh == nil:
		delete(u.byAlias, alias)
		if old != nil {
			u.o.Metrics.forget(alias)
		}
	case old != nil && old.rec.Revision == fresh.rec.Revision && old.rec.URL == fresh.rec.URL:
		u.mu.Unlock()
		return old // another caller was faster
	default:
		u.byAlias[alias] = fresh
	}
	u.mu.Unlock()
	if old != nil {
		old.retire()
	}
	return fresh
}

// nextID is the id of the next request to any upstream: a number of 31 bits,
// because there are servers that read no larger ones.
func (u *Upstreams) nextID() mcp.ID {
	return mcp.NumberID(int64(u.lastID.Add(1) & 0x7fffffff))
}

// Open makes sure that there is a way to the upstream for this caller, and gives
// what the upstream says of itself. For a caller that has an upstream session to
// itself it opens a new one, unless there is one that stands.
func (u *Upstreams) Open(ctx context.Context, alias string, c Caller) (Opened, error) {
	up, err := u.find(alias)
	if err != nil {
		return Opened{}, err
	}
	if up.stdio() {
		return up.openChild(ctx, &c)
	}
	return up.openGated(ctx, &c)
}

// Call sends a request for the caller and gives the upstream's answer under the
// request's own id. What comes before the answer goes to sink; nil drops it.
//
// When ctx ends the upstream is told, in its era's way, and the error is that of
// ctx.
func (u *Upstreams) Call(ctx context.Context, alias string, c Caller, m *mcp.Message, sink Sink) (*mcp.Message, error) {
	up, err := u.find(alias)
	if err != nil {
		return nil, err
	}
	if up.stdio() {
		return up.callChild(ctx, &c, m, sink)
	}
	return up.callGated(ctx, &c, m, sink)
}

// Notify sends a notification in the caller's upstream session. If there is no
// such session, or the upstream is modern, where clients notify nobody, nothing
// is sent.
func (u *Upstreams) Notify(ctx context.Context, alias string, c Caller, m *mcp.Message) error {
	up, err := u.find(alias)
	if err != nil {
		return err
	}
	if up.stdio() {
		return up.notifyChild(ctx, &c, m)
	}
	return up.count(up.notify(ctx, &c, m))
}

// Resume takes up the stream of a call that another node has begun, behind the
// event lastEventID, and gives the call's answer under id. The caller's Binding
// names the upstream session; request is the call's id there.
func (u *Upstreams) Resume(ctx context.Context, alias string, c Caller, lastEventID string, request, id mcp.ID, sink Sink) (*mcp.Message, error) {
	up, err := u.find(alias)
	if err != nil {
		return nil, err
	}
	if err := up.gate.enter(ctx, alias); err != nil {
		return nil, up.count(err)
	}
	defer up.gate.leave()
	answer, err := up.takeUp(ctx, &c, lastEventID, request, id, sink)
	return answer, up.count(err)
}

// Listen gives deliver what the upstream sends outside calls, one message at a
// time, until ctx ends; it reconnects by itself. It gives up, with an error, only
// when the upstream is no longer there to be listened to.
func (u *Upstreams) Listen(ctx context.Context, alias string, c Caller, w Watch, deliver func(*mcp.Message)) error {
	l := &listener{ups: u, alias: alias, caller: &c, watch: w, deliver: deliver}
	return l.run(ctx)
}

// Close ends the upstream session that the caller has to itself, if there is
// one: the upstream is told, and need not like it. It takes at most a few
// seconds.
func (u *Upstreams) Close(ctx context.Context, alias string, c Caller) {
	up, err := u.find(alias)
	if err != nil {
		return
	}
	if up.stdio() {
		up.endChild(ctx, &c)
		return
	}
	up.end(ctx, &c)
}

// Release lets go of what this node holds at upstreams for a session of the gateway
// that has ended, by the id of its record. It blocks for nothing and tells no
// upstream: Close does, on one node.
func (u *Upstreams) Release(session string) {
	for _, up := range u.all() {
		up.release(session)
	}
}

// HeaderParams are the arguments of a tool that a modern upstream wants repeated
// in headers, as the schema that it listed last says; false if this node has not
// seen the tool listed, or the upstream is legacy.
func (u *Upstreams) HeaderParams(alias, tool string) ([]mcp.HeaderParam, bool) {
	up, err := u.find(alias)
	if err != nil {
		return nil, false
	}
	return up.tools.params(tool)
}
