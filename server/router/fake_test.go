package router

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/sse"
	"github.com/mcpraft/mcpraft/server/catalog"
	"github.com/mcpraft/mcpraft/server/exchange"
	"github.com/mcpraft/mcpraft/server/mcp"
	"github.com/mcpraft/mcpraft/server/session"
	"github.com/mcpraft/mcpraft/server/upstream"
)

var alice = record.Principal{Issuer: "https://issuer.example", Subject: "alice"}

// A world is a router between fake sessions and a fake upstream.
type world struct {
	*Router
	sessions  *fakeSessions
	upstreams *fakeUpstreams
	catalog   *fakeCatalog

	registered map[string]record.Upstream // that no catalogue has
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{sessions: &fakeSessions{live: make(map[string]*session.Live)}, upstreams: &fakeUpstreams{}, catalog: newFakeCatalog()}
	w.Router = New(Config{
		Sessions: w.sessions, Upstreams: w.upstreams, Catalog: w.catalog, Version: "1.2.3",
		Lookup: func(alias string) (record.Upstream, error) {
			u, ok := w.registered[alias]
			if !ok {
				return u, fault.New(fault.NotFound, "none")
			}
			return u, nil
		},
	})
	return w
}

// legacyUpstream makes the upstream one of version v with these capabilities.
func (w *world) legacyUpstream(v mcp.Version, capabilities string) {
	w.upstreams.opened = upstream.Opened{
		Initialize: []byte(`{"protocolVersion":"` + string(v) + `","capabilities":` + capabilities + `,"serverInfo":{"name":"up","version":"7"},"instructions":"be kind"}`),
		Version:    v,
	}
}

// modernUpstream makes the upstream one of 2026-07-28.
func (w *world) modernUpstream(capabilities string) {
	w.upstreams.opened = upstream.Opened{
		Initialize: []byte(`{"protocolVersion":"2026-07-28","capabilities":` + capabilities + `,"serverInfo":{"name":"up","version":"7"}}`),
		Discover:   []byte(`{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":` + capabilities + `,"instructions":"be kind","ttlMs":9000,"cacheScope":"public","x":1,"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"up","version":"7"}}}`),
		Modern:     true,
		Version:    mcp.V20260728,
	}
}

// answers makes the upstream answer every request with that result.
func (w *world) answers(result string) {
	w.upstreams.call = func(_ context.Context, _ upstream.Caller, m *mcp.Message, _ upstream.Sink) (*mcp.Message, error) {
		return mcp.Answer(m.ID(), []byte(result)), nil
	}
}

// refuses makes the upstream answer every request with that error.
func (w *world) refuses(code int, message, data string) {
	w.upstreams.call = func(_ context.Context, _ upstream.Caller, m *mcp.Message, _ upstream.Sink) (*mcp.Message, error) {
		e := &mcp.Error{Code: code, Message: message}
		if data != "" {
			e.Data = []byte(data)
		}
		return mcp.Failed(m.ID(), e), nil
	}
}

// open puts a session of alice at the upstream "files" into the world.
func (w *world) open(id string, client, up mcp.Version, capabilities string, change ...func(*record.Session)) *session.Live {
	l := &session.Live{ID: id, Record: record.Session{
		ID: "record-" + id, Principal: alice, State: record.Active, Protocol: string(client), Endpoint: "files",
		Capabilities: []byte(capabilities), ClientInfo: []byte(`{"name":"c"}`),
		Bindings: []record.Binding{{Alias: "files", Protocol: string(up)}},
	}}
	for _, f := range change {
		f(&l.Record)
	}
	w.sessions.put(l)
	return l
}

// A fakeSessions keeps sessions in a map.
type fakeSessions struct {
	mu        sync.Mutex
	live      map[string]*session.Live
	drafts    []*session.Draft
	createErr error
	changeErr error
	newest    *session.Live // as the cluster knows the session; nil: as everybody does
	newestErr error
	asked     int      // how often the cluster was
	delivered []string // methods, or "answer"
	levels    []string
	ended     []string
	calls     []*fakeCall
	ask       func(ctx context.Context, m *mcp.Message) (*mcp.Message, error) // what clients answer
	listen    func(ctx context.Context, o ListenOptions) error
}

func (f *fakeSessions) put(l *session.Live) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.live[l.ID] = l
}

func (f *fakeSessions) Create(_ context.Context, d *session.Draft) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.drafts = append(f.drafts, d)
	return "fresh", f.createErr
}

func (f *fakeSessions) Get(_ context.Context, id string, p record.Principal) (*session.Live, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if l := f.live[id]; l != nil && l.Record.Principal == p {
		return l, nil
	}
	return nil, fault.New(fault.NotFound, "no such session")
}

func (f *fakeSessions) Newest(_ context.Context, l *session.Live) (*session.Live, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	if f.newestErr != nil {
		return nil, f.newestErr
	}
	if now := f.newest; now != nil {
		return now, nil
	}
	return l, nil
}

func (f *fakeSessions) End(ctx context.Context, l *session.Live, letGo func(context.Context) error) error {
	f.ended = append(f.ended, l.ID)
	return letGo(ctx)
}

func (f *fakeSessions) SetLogLevel(_ context.Context, _ *session.Live, level string) error {
	f.levels = append(f.levels, level)
	return f.changeErr
}

func (f *fakeSessions) Subscribe(_ context.Context, l *session.Live, alias, uri string, events record.Events) error {
	return f.resubscribe(l, alias, uri, func(now record.Events) record.Events { return now | events })
}

func (f *fakeSessions) Unsubscribe(_ context.Context, l *session.Live, alias, uri string, events record.Events) error {
	return f.resubscribe(l, alias, uri, func(now record.Events) record.Events { return now &^ events })
}

func (f *fakeSessions) resubscribe(l *session.Live, alias, uri string, change func(record.Events) record.Events) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.changeErr != nil {
		return f.changeErr
	}
	next := &session.Live{ID: l.ID, Record: f.live[l.ID].Record}
	b := record.Binding{Alias: alias}
	if had := next.Record.Binding(alias); had != nil {
		b = *had
	}
	b.SetEvents(uri, change(b.Subscribed(uri)))
	next.Record.Bind(b)
	f.live[l.ID] = next
	return nil
}

func (f *fakeSessions) Deliver(_ context.Context, _ *session.Live, m *mcp.Message) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case m.Kind() == mcp.KindResult, m.Kind() == mcp.KindFailure:
		f.delivered = append(f.delivered, "answer")
	case m.Method() == mcp.Cancelled, m.Method() == mcp.Progress:
		f.delivered = append(f.delivered, m.Method())
	default:
		return false, nil
	}
	return true, nil
}

func (f *fakeSessions) OpenCall(ctx context.Context, l *session.Live, id mcp.ID, s exchange.Stream, o session.CallOptions) (Call, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := &fakeCall{id: id, stream: s, options: o, sessions: f}
	c.ctx, c.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	f.calls = append(f.calls, c)
	return c, nil
}

func (f *fakeSessions) Listen(ctx context.Context, _ *session.Live, _ exchange.Stream, o ListenOptions) error {
	return f.listen(ctx, o)
}

// A fakeCall shows what a call was given.
type fakeCall struct {
	id       mcp.ID
	stream   exchange.Stream
	options  session.CallOptions
	sessions *fakeSessions
	ctx      context.Context
	cancel   context.CancelCauseFunc
	at       []session.Upstream
	finished int
}

func (c *fakeCall) Context() context.Context { return c.ctx }
func (c *fakeCall) Request() mcp.ID          { return c.id }
func (c *fakeCall) Notify(m *mcp.Message)    { _ = c.stream.Send(sse.Event{Data: m.Bytes()}) }

func (c *fakeCall) Ask(ctx context.Context, m *mcp.Message) (*mcp.Message, error) {
	_ = c.stream.Send(sse.Event{ID: "1", HasID: true, Data: m.Bytes()})
	return c.sessions.ask(ctx, m)
}

func (c *fakeCall) Upstream(u session.Upstream) { c.at = append(c.at, u) }

func (c *fakeCall) Finish(m *mcp.Message) exchange.Answer {
	c.finished++
	if errors.As(context.Cause(c.ctx), new(*session.Cancelled)) {
		return exchange.Answer{}
	}
	return exchange.Answer{Message: m}
}

// A fakeUpstreams is one upstream that does as it is told, whatever it is called.
type fakeUpstreams struct {
	opened  upstream.Opened
	openErr error
	call    func(ctx context.Context, c upstream.Caller, m *mcp.Message, s upstream.Sink) (*mcp.Message, error)
	listen  func(ctx context.Context, c upstream.Caller, w upstream.Watch, deliver func(*mcp.Message)) error
	at      map[string]*fakeUpstreams // those that do something else, by alias
	resume  func(c upstream.Caller, last string, id mcp.ID) (*mcp.Message, error)

	mu       sync.Mutex
	opens    []upstream.Caller
	callers  []upstream.Caller
	sent     []*mcp.Message
	notified []string
	closed   []upstream.Caller
}

func (f *fakeUpstreams) Open(ctx context.Context, alias string, c upstream.Caller) (upstream.Opened, error) {
	if other := f.at[alias]; other != nil {
		return other.Open(ctx, "", c)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.opens = append(f.opens, c)
	return f.opened, f.openErr
}

func (f *fakeUpstreams) Call(ctx context.Context, alias string, c upstream.Caller, m *mcp.Message, s upstream.Sink) (*mcp.Message, error) {
	if other := f.at[alias]; other != nil {
		return other.Call(ctx, "", c, m, s)
	}
	f.mu.Lock()
	f.callers, f.sent = append(f.callers, c), append(f.sent, m)
	f.mu.Unlock()
	return f.call(ctx, c, m, s)
}

func (f *fakeUpstreams) Notify(ctx context.Context, alias string, c upstream.Caller, m *mcp.Message) error {
	if other := f.at[alias]; other != nil {
		return other.Notify(ctx, "", c, m)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.notified = append(f.notified, m.Method())
	return nil
}

func (f *fakeUpstreams) Resume(_ context.Context, _ string, c upstream.Caller, last string, _, id mcp.ID, _ upstream.Sink) (*mcp.Message, error) {
	return f.resume(c, last, id)
}

func (f *fakeUpstreams) Listen(ctx context.Context, alias string, c upstream.Caller, w upstream.Watch, deliver func(*mcp.Message)) error {
	if other := f.at[alias]; other != nil {
		return other.Listen(ctx, "", c, w, deliver)
	}
	return f.listen(ctx, c, w, deliver)
}

func (f *fakeUpstreams) Close(_ context.Context, _ string, c upstream.Caller) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = append(f.closed, c)
}

// lastSent is the newest request that the upstream got.
func (f *fakeUpstreams) lastSent(t *testing.T) (*mcp.Message, upstream.Caller) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.sent) == 0 {
		t.Fatal("nothing was sent upstream")
	}
	return f.sent[len(f.sent)-1], f.callers[len(f.callers)-1]
}

// A fakeCatalog is a catalogue that tests put upstreams into.
type fakeCatalog struct {
	mu     sync.Mutex
	view   *catalog.View
	slices map[string]*catalog.Slice
	tell   []func(catalog.Difference)
}

func newFakeCatalog() *fakeCatalog {
	return &fakeCatalog{view: catalog.NewView(), slices: make(map[string]*catalog.Slice)}
}

func (f *fakeCatalog) Now() *catalog.View {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.view
}

func (f *fakeCatalog) Watch(tell func(catalog.Difference)) { f.tell = append(f.tell, tell) }

// put gives an upstream the slice r with these items, in place of what it listed.
func (f *fakeCatalog) put(r *record.Slice, items ...record.ListItem) {
	f.change(func() { f.slices[r.ID.Alias] = catalog.NewSlice(r, items) })
}

// remove takes an upstream out.
func (f *fakeCatalog) remove(alias string) { f.change(func() { delete(f.slices, alias) }) }

func (f *fakeCatalog) change(do func()) {
	f.mu.Lock()
	do()
	old := f.view
	f.view = catalog.NewView(slices.Collect(maps.Values(f.slices))...)
	now := f.view
	f.mu.Unlock()
	for _, d := range catalog.Between(old, now) {
		for _, tell := range f.tell {
			tell(d)
		}
	}
}

// A fakeStream collects events.
type fakeStream struct {
	mu     sync.Mutex
	events []sse.Event
	err    error
}

func (s *fakeStream) Send(e sse.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	s.events = append(s.events, e)
	return nil
}

// data is the data of all events so far; comments stand as ":text".
func (s *fakeStream) data() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, e := range s.events {
		if e.Comment != "" {
			out = append(out, ":"+e.Comment)
			continue
		}
		out = append(out, string(e.Data))
	}
	return out
}

// A sent is one POST: what it says beside its body.
type sent struct {
	alias, session, version, method, name string
	params                                map[string]string // Mcp-Param headers
	jsonOnly                              bool
	principal                             record.Principal
	stream                                *fakeStream
}

func (s sent) request() *exchange.Request {
	q := &exchange.Request{
		ID: "req-1", Alias: s.alias, JSONOnly: s.jsonOnly,
		Caller:  exchange.Caller{Principal: alice, ClientID: "client", Method: "token"},
		Session: s.session, HasSession: s.session != "",
		Version: s.version, HasVersion: s.version != "",
		Method: s.method, HasMethod: s.method != "",
		Name: s.name, HasName: s.name != "",
	}
	if s.alias == "" {
		q.Alias = "files"
	}
	if s.alias == "-" {
		q.Alias = ""
	}
	if s.principal.Issuer != "" {
		q.Caller.Principal = s.principal
	}
	if s.params != nil {
		params := maps.Clone(s.params)
		q.Param = func(name string) (string, bool) {
			for k, v := range params {
				if strings.EqualFold(k, name) {
					return v, true
				}
			}
			return "", false
		}
	}
	return q
}

func parse(t testing.TB, body string) *mcp.Message {
	t.Helper()
	m, err := mcp.Parse([]byte(body), mcp.Inbound)
	if err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return m
}

// post sends body and gives the answer; an error fails the test.
func (w *world) post(t *testing.T, s sent, body string) exchange.Answer {
	t.Helper()
	a, err := w.postErr(t, s, body)
	if err != nil {
		t.Fatalf("POST %s: %v", body, err)
	}
	return a
}

func (w *world) postErr(t *testing.T, s sent, body string) (exchange.Answer, error) {
	t.Helper()
	stream := s.stream
	if stream == nil {
		stream = new(fakeStream)
	}
	return w.Post(t.Context(), s.request(), parse(t, body), stream)
}

// modernBody is a request of 2026-07-28 with these params, written without braces.
func modernBody(method, params string) string {
	if params != "" {
		params += ","
	}
	return `{"jsonrpc":"2.0","id":7,"method":"` + method + `","params":{` + params +
		`"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`
}

// modernSent are the headers that such a request has.
func modernSent(method, name string) sent {
	return sent{version: "2026-07-28", method: method, name: name}
}

// wantError checks code and HTTP status of an answer, and that it carries the id of
// the request.
func wantError(t *testing.T, a exchange.Answer, code, status int) *mcp.Error {
	t.Helper()
	if a.Message == nil || a.Message.Err() == nil {
		t.Fatalf("answer %s, want error %d", text(a.Message), code)
	}
	e := a.Message.Err()
	if a.Status == 0 {
		a.Status = 200
	}
	if e.Code != code || a.Status != status {
		t.Errorf("error %d with HTTP %d (%s), want %d with %d", e.Code, a.Status, e.Message, code, status)
	}
	return e
}

// wantResult checks the result of an answer, as text.
func wantResult(t *testing.T, a exchange.Answer, want string) {
	t.Helper()
	if a.Message == nil || string(a.Message.Result()) != want {
		t.Errorf("answer %s,\nwant result %s", text(a.Message), want)
	}
}

func text(m *mcp.Message) string {
	if m == nil {
		return "nothing"
	}
	return string(m.Bytes())
}
