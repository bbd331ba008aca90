package upstream_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/sse"
	"github.com/mcpraft/mcpraft/server/mcp"
	"github.com/mcpraft/mcpraft/server/upstream"
	"github.com/mcpraft/mcpraft/test/model/memnet"
)

// A fake is an MCP server that behaves as its script says: by JSON-RPC method,
// or by "GET" and "DELETE". What the script leaves out is done properly.
type fake struct {
	modern   bool   // of the modern era; otherwise legacy
	version  string // negotiated by initialize
	sessions bool   // gives session ids

	mu    sync.Mutex
	on    map[string]func(*hit)
	hits  []*hit
	live  map[string]bool
	count int
}

// A hit is one request to the fake.
type hit struct {
	http.ResponseWriter
	in   *http.Request
	fake *fake
	what string // JSON-RPC method, HTTP method, or "answer" for what answers a request of the fake
	m    *mcp.Message
}

func legacy() *fake {
	return &fake{version: "2025-11-25", sessions: true, on: make(map[string]func(*hit)), live: make(map[string]bool)}
}

func modern() *fake {
	return &fake{modern: true, on: make(map[string]func(*hit)), live: make(map[string]bool)}
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := &hit{ResponseWriter: w, in: r, fake: f, what: r.Method}
	if r.Method == http.MethodPost {
		data, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		if h.m, err = mcp.Parse(data, mcp.Inbound); err != nil {
			panic(fmt.Sprintf("the client posted %q: %v", data, err))
		}
		if h.what = h.m.Method(); h.what == "" {
			h.what = "answer"
		}
	}
	f.mu.Lock()
	f.hits = append(f.hits, h)
	script := f.on[h.what]
	f.mu.Unlock()
	if script != nil {
		script(h)
		return
	}
	h.behave()
}

// behave is what a proper server does.
func (h *hit) behave() {
	f := h.fake
	switch {
	case h.what == "server/discover" && f.modern:
		h.result(`{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"ttlMs":0,"cacheScope":"private"}`)
	case f.modern && h.m == nil:
		h.WriteHeader(http.StatusMethodNotAllowed)
	case f.modern:
		h.modernCall()
	case h.what == "server/discover":
		h.fail(http.StatusBadRequest, -32000, "Bad Request: no valid session")
	case h.what == "initialize":
		h.initialize()
	case f.sessions && !f.knows(h.in.Header.Get("Mcp-Session-Id")):
		http.Error(h, "session not found", http.StatusNotFound)
	case h.what == "DELETE":
		f.forget(h.in.Header.Get("Mcp-Session-Id"))
		h.WriteHeader(http.StatusNoContent)
	case h.m == nil:
		h.WriteHeader(http.StatusMethodNotAllowed)
	case h.m.Kind() != mcp.KindRequest:
		h.WriteHeader(http.StatusAccepted)
	default:
		h.result(`{}`)
	}
}

func (h *hit) modernCall() {
	switch {
	case mcp.LegacyOnly(h.what):
		h.fail(http.StatusNotFound, mcp.CodeMethodNotFound, "unknown method")
	case h.in.Header.Get("Mcp-Protocol-Version") != "2026-07-28":
		h.WriteHeader(http.StatusBadRequest)
	case h.what == "tools/list":
		h.result(`{"resultType":"complete","tools":[],"ttlMs":0,"cacheScope":"private"}`)
	default:
		h.result(`{"resultType":"complete"}`)
	}
}

func (h *hit) initialize() {
	h.fake.mu.Lock()
	h.fake.count++
	id := "s" + strconv.Itoa(h.fake.count)
	h.fake.live[id] = true
	h.fake.mu.Unlock()
	if h.fake.sessions {
		h.Header().Set("Mcp-Session-Id", id)
	}
	h.result(fmt.Sprintf(`{"protocolVersion":%q,"capabilities":{"tools":{},"logging":{}},"serverInfo":{"name":"fake","version":"1"}}`, h.fake.version))
}

func (f *fake) knows(id string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.live[id]
}

// forget ends sessions as a restart does; without ids it ends all.
func (f *fake) forget(ids ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(ids) == 0 {
		clear(f.live)
	}
	for _, id := range ids {
		delete(f.live, id)
	}
}

func (f *fake) script(what string, do func(*hit)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.on[what] = do
}

// seen are the requests of one kind so far.
func (f *fake) seen(what string) []*hit {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(f.hits), func(h *hit) bool { return h.what != what })
}

func (h *hit) result(result string) { h.write(mcp.Answer(h.m.ID(), []byte(result))) }

func (h *hit) write(m *mcp.Message) {
	h.Header().Set("Content-Type", "application/json")
	h.Write(m.Bytes())
}

func (h *hit) fail(status, code int, message string) {
	h.Header().Set("Content-Type", "application/json")
	h.WriteHeader(status)
	h.Write(mcp.Failed(h.m.ID(), &mcp.Error{Code: code, Message: message}).Bytes())
}

// raw answers 200 with this content type and body.
func (h *hit) raw(contentType, body string) {
	h.Header().Set("Content-Type", contentType)
	io.WriteString(h, body)
}

// stream begins an event stream.
func (h *hit) stream(events ...sse.Event) {
	h.Header().Set("Content-Type", "text/event-stream")
	h.send(events...)
}

func (h *hit) send(events ...sse.Event) {
	for _, e := range events {
		h.Write(sse.Append(nil, e))
	}
	h.ResponseWriter.(http.Flusher).Flush()
}

// answer is the event that answers the request of h.
func (h *hit) answer(result string) sse.Event {
	return sse.Event{Data: mcp.Answer(h.m.ID(), []byte(result)).Bytes()}
}

func (h *hit) param(path ...string) string { return string(mcp.Field(h.m.Params(), path...)) }

// gone waits until the client has closed the connection.
func (h *hit) gone() { <-h.in.Context().Done() }

func event(data string) sse.Event { return sse.Event{Data: []byte(data)} }

func numbered(id, data string) sse.Event {
	return sse.Event{ID: id, HasID: true, Data: []byte(data)}
}

// A bed is a fake and the upstreams of a node that reach it as "up", in a
// bubble.
type bed struct {
	*testing.T
	net  *memnet.Network
	fake *fake
	ups  *upstream.Upstreams

	mu      sync.Mutex
	rec     record.Upstream
	rebound []string // "session>id"
	bound   []record.Binding
}

const (
	address = "up.example:80"
	elapsed = 10 * time.Hour // longer than anything may take
)

// inBubble runs a test against f in virtual time. What is left running at its
// end fails it.
func inBubble(t *testing.T, f *fake, test func(b *bed), change ...func(*upstream.Config)) {
	synctest.Test(t, func(t *testing.T) {
		b := &bed{T: t, net: memnet.New(), fake: f}
		b.rec = record.Upstream{Alias: "up", Transport: "http", URL: "http://" + address + "/mcp", Revision: 1}
		defer b.serve(address, f)()
		config := upstream.Config{
			Lookup: b.lookup, Rebound: b.note, Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
			Dial: func(ctx context.Context, _, addr string) (net.Conn, error) { return b.net.Host("node").Dial(ctx, addr) },
		}
		for _, c := range change {
			c(&config)
		}
		b.ups = upstream.New(config)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { b.ups.Run(ctx) })
		test(b)
		cancel()
		running.Wait()
	})
}

// serve runs a handler at an address until the function it gives is called.
func (b *bed) serve(at string, h http.Handler) (stop func()) {
	host, _, _ := net.SplitHostPort(at)
	ln, err := b.net.Host(host).Listen(at)
	if err != nil {
		b.Fatal(err)
	}
	var running sync.WaitGroup // Close does not wait for handlers
	counted := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		running.Add(1)
		defer running.Done()
		h.ServeHTTP(w, r)
	})
	server := &http.Server{Handler: counted, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	running.Go(func() { server.Serve(ln) })
	return func() {
		server.Close()
		running.Wait()
	}
}

func (b *bed) lookup(alias string) (record.Upstream, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if alias != b.rec.Alias {
		return record.Upstream{}, fault.New(fault.NotFound, "no upstream %q", alias)
	}
	return b.rec, nil
}

// change puts another record in place.
func (b *bed) change(edit func(*record.Upstream)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	edit(&b.rec)
	b.rec.Revision++
}

func (b *bed) note(session string, now record.Binding) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rebound = append(b.rebound, session+">"+string(now.Session))
	b.bound = append(b.bound, now)
}

// user is a caller with a session of that id.
func user(session string) upstream.Caller {
	return upstream.Caller{
		Principal: record.Principal{Issuer: "i", Subject: "u"}, Session: session,
		Capabilities: []byte(`{"roots":{}}`), ClientInfo: []byte(`{"name":"client","version":"9"}`),
	}
}

func bound(session, id string) upstream.Caller {
	c := user(session)
	c.Binding = &record.Binding{Alias: "up", Protocol: "2025-11-25", Session: []byte(id)}
	return c
}

// call calls a tool for c.
func (b *bed) call(c upstream.Caller, sink upstream.Sink) (*mcp.Message, error) {
	return b.request(c, "tools/call", `{"name":"t","arguments":{}}`, sink)
}

func (b *bed) request(c upstream.Caller, method, params string, sink upstream.Sink) (*mcp.Message, error) {
	return b.ups.Call(b.Context(), "up", c, mcp.Request(`"client-1"`, method, []byte(params)), sink)
}

// ok calls a tool and expects a result under the client's id.
func (b *bed) ok(c upstream.Caller, sink upstream.Sink) *mcp.Message {
	b.Helper()
	answer, err := b.call(c, sink)
	if err != nil {
		b.Fatalf("the call failed: %v", err)
	}
	if answer.Kind() != mcp.KindResult || answer.ID() != `"client-1"` {
		b.Fatalf("the call gave %s", answer.Bytes())
	}
	return answer
}

// wantFault checks the kind of an error and that its message says the words.
func (b *bed) wantFault(err error, kind fault.Kind, words ...string) {
	b.Helper()
	if fault.Of(err) != kind {
		b.Fatalf("the error is %v (%v), want %v", err, fault.Of(err), kind)
	}
	for _, word := range words {
		if !strings.Contains(fault.As(err).Message, word) {
			b.Errorf("the message %q does not say %q", fault.As(err).Message, word)
		}
	}
}

func (b *bed) wantSeen(what string, want int) {
	b.Helper()
	if got := len(b.fake.seen(what)); got != want {
		b.Errorf("%d × %s reached the upstream, want %d", got, what, want)
	}
}

// A sink collects what comes before an answer.
type sink struct {
	mu       sync.Mutex
	messages []*mcp.Message
	progress []string
	ask      func(context.Context, *mcp.Message) (*mcp.Message, error)
}

func (s *sink) Notification(m *mcp.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.messages = append(s.messages, m)
}

func (s *sink) Ask(ctx context.Context, m *mcp.Message) (*mcp.Message, error) { return s.ask(ctx, m) }

func (s *sink) Progressed(eventID, session string, _ mcp.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.progress = append(s.progress, eventID+"@"+session)
}
