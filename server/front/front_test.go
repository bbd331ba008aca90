package front

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"golang.org/x/sync/semaphore"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/sse"
	"github.com/mcpraft/mcpraft/server/exchange"
	"github.com/mcpraft/mcpraft/server/mcp"
)

const goodToken = "good-token"

// fakeAuth knows one token, and who has it.
type fakeAuth struct{ expires time.Time }

func (f fakeAuth) Authenticate(_ context.Context, _, credentials string) (exchange.Caller, error) {
	if credentials != goodToken {
		return exchange.Caller{}, fault.New(fault.Unauthenticated, "the token is not known").WithHint("get another")
	}
	return exchange.Caller{Principal: record.Principal{Issuer: "test", Subject: "alice"}, Method: "token", Expires: f.expires}, nil
}

// fakeHandler is a Handler whose methods are chosen by a test; those that are not
// fail it.
type fakeHandler struct {
	t      testing.TB
	post   func(ctx context.Context, r *exchange.Request, m *mcp.Message, s exchange.Stream) (exchange.Answer, error)
	batch  func(ctx context.Context, r *exchange.Request, list []*mcp.Message, s exchange.Stream) ([]*mcp.Message, error)
	listen func(ctx context.Context, r *exchange.Request, s exchange.Stream) error
	end    func(ctx context.Context, r *exchange.Request) error
	calls  atomic.Int64
}

func (h *fakeHandler) Post(ctx context.Context, r *exchange.Request, m *mcp.Message, s exchange.Stream) (exchange.Answer, error) {
	h.calls.Add(1)
	if h.post == nil {
		return exchange.Answer{Message: mcp.Answer(m.ID(), []byte(`{"ok":true}`))}, nil
	}
	return h.post(ctx, r, m, s)
}

func (h *fakeHandler) Batch(ctx context.Context, r *exchange.Request, list []*mcp.Message, s exchange.Stream) ([]*mcp.Message, error) {
	h.calls.Add(1)
	if h.batch == nil {
		h.t.Error("Batch was called")
		return nil, nil
	}
	return h.batch(ctx, r, list, s)
}

func (h *fakeHandler) Listen(ctx context.Context, r *exchange.Request, s exchange.Stream) error {
	h.calls.Add(1)
	if h.listen == nil {
		h.t.Error("Listen was called")
		return nil
	}
	return h.listen(ctx, r, s)
}

func (h *fakeHandler) End(ctx context.Context, r *exchange.Request) error {
	h.calls.Add(1)
	if h.end == nil {
		h.t.Error("End was called")
		return nil
	}
	return h.end(ctx, r)
}

func newFront(t testing.TB, h *fakeHandler, change ...func(*Config)) *Front {
	t.Helper()
	h.t = t
	c := Config{
		Handler: h, Authenticator: fakeAuth{}, Budget: semaphore.NewWeighted(512 << 20), Loopback: true,
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	for _, f := range change {
		f(&c)
	}
	f, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// A site is a Front that is served at an address.
type site struct {
	*Front
	addr string
	url  string
}

func serve(t testing.TB, h *fakeHandler, change ...func(*Config)) *site {
	t.Helper()
	f := newFront(t, h, change...)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := f.Server()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() {
		server.Close()
		<-done
	})
	return &site{Front: f, addr: l.Addr().String(), url: "http://" + l.Addr().String()}
}

// request builds a good one: what a test wants otherwise it changes.
func (s *site) request(t testing.TB, method, path, text string, headers ...string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.url+path, strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	dress(r, headers...)
	return r
}

func dress(r *http.Request, headers ...string) {
	r.Header.Set("Authorization", "Bearer "+goodToken)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json, text/event-stream")
	for i := 0; i < len(headers); i += 2 {
		switch {
		case headers[i+1] == "":
			r.Header.Del(headers[i])
		case headers[i] == "Host":
			r.Host = headers[i+1]
		default:
			r.Header.Set(headers[i], headers[i+1])
		}
	}
}

// An outcome is an answer with its body read.
type outcome struct {
	*http.Response
	text string
}

func (s *site) do(t testing.TB, method, path, text string, headers ...string) outcome {
	t.Helper()
	return read(t, s.request(t, method, path, text, headers...))
}

func read(t testing.TB, r *http.Request) outcome {
	t.Helper()
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return outcome{resp, string(body)}
}

// failure is the JSON-RPC error of o; a test fails if o is none.
func (o outcome) failure(t testing.TB) (code int, message, id string) {
	t.Helper()
	var body struct {
		Version string          `json:"jsonrpc"`
		ID      json.RawMessage `json:"id"`
		Error   struct {
			Code    int    `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
	}
	if err := json.Unmarshal([]byte(o.text), &body); err != nil || body.Version != "2.0" || body.Error.Message == "" {
		t.Fatalf("%d %s is not a JSON-RPC error (%v)", o.StatusCode, o.text, err)
	}
	if got := o.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("an error of type %q", got)
	}
	return body.Error.Code, body.Error.Message, string(body.ID)
}

const ping = `{"jsonrpc":"2.0","id":7,"method":"ping"}`

func TestAnAnswerIsOneJSONBody(t *testing.T) {
	s := serve(t, &fakeHandler{})
	o := s.do(t, "POST", "/mcp", ping)
	if o.StatusCode != 200 || o.text != `{"jsonrpc":"2.0","id":7,"result":{"ok":true}}` {
		t.Errorf("answer = %d %s", o.StatusCode, o.text)
	}
	if o.ContentLength != int64(len(o.text)) || o.Header.Get("Content-Type") != "application/json" || o.Header.Get("Mcp-Session-Id") != "" || o.Header.Get(HeaderRequestID) == "" {
		t.Errorf("headers = %v", o.Header)
	}
}

func TestTheHandlerLearnsWhatTheHeadersSay(t *testing.T) {
	var got exchange.Request
	s := serve(t, &fakeHandler{post: func(_ context.Context, r *exchange.Request, m *mcp.Message, _ exchange.Stream) (exchange.Answer, error) {
		got = *r
		if value, ok := r.Param("region"); !ok || value != "eu-1" {
			t.Errorf("Mcp-Param-Region = %q, %v", value, ok)
		}
		if _, ok := r.Param("zone"); ok {
			t.Error("a parameter that was not sent is there")
		}
		return exchange.Answer{Message: mcp.Answer(m.ID(), nil), Session: "s-1"}, nil
	}})
	r := s.request(t, "POST", "/servers/time/mcp", ping,
		"mcp-session-id", "  abc  ", "mcp-protocol-version", "2025-11-25", "Mcp-Method", "ping", "Mcp-Param-Region", "eu-1",
		"Last-Event-ID", "e-9", HeaderRequestID, "mine-1")
	r.Header["Mcp-Name"] = []string{"a", "b"}
	o := read(t, r)
	if got.Alias != "time" || got.Session != "abc" || !got.HasSession || got.Version != "2025-11-25" || got.Method != "ping" ||
		got.Name != "a, b" || !got.HasName || got.LastEventID != "e-9" || got.ID != "mine-1" || got.JSONOnly || got.Caller.Principal.Subject != "alice" {
		t.Errorf("request = %+v", got)
	}
	if o.Header.Get("Mcp-Session-Id") != "s-1" || o.Header.Get(HeaderRequestID) != "mine-1" {
		t.Errorf("headers = %v", o.Header)
	}
}

func TestANotificationIsAcceptedWithoutABody(t *testing.T) {
	s := serve(t, &fakeHandler{post: func(context.Context, *exchange.Request, *mcp.Message, exchange.Stream) (exchange.Answer, error) {
		return exchange.Answer{}, nil
	}})
	if o := s.do(t, "POST", "/mcp", `{"jsonrpc":"2.0","method":"notifications/initialized"}`); o.StatusCode != 202 || o.text != "" {
		t.Errorf("answer = %d %q", o.StatusCode, o.text)
	}
}

func TestSizeComesBeforeEverything(t *testing.T) {
	h := &fakeHandler{}
	s := serve(t, h)
	nc, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	// No token, a foreign page, a foreign host, and no byte of the body is sent.
	fmt.Fprintf(nc, "POST /mcp HTTP/1.1\r\nHost: evil.example\r\nOrigin: https://evil.example\r\nContent-Length: %d\r\n\r\n", MaxBody+1)
	resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
	if err != nil || resp.StatusCode != 413 || h.calls.Load() != 0 {
		t.Errorf("answer = %v, %v", resp, err)
	}
}

func TestABodyIsCutAtTheLimitWhileItIsRead(t *testing.T) {
	h := &fakeHandler{}
	s := serve(t, h)
	for size, want := range map[int]int{MaxBody: 200, MaxBody + 1: 413} {
		text := ping + strings.Repeat(" ", size-len(ping))
		for _, declared := range []bool{true, false} {
			r := s.request(t, "POST", "/mcp", text)
			if !declared {
				r.ContentLength = -1
				r.Body = io.NopCloser(struct{ io.Reader }{strings.NewReader(text)})
			}
			if o := read(t, r); o.StatusCode != want {
				t.Errorf("%d bytes, declared %v: %d %s, want %d", size, declared, o.StatusCode, o.text, want)
			}
		}
	}
}

func TestABodyTakesMemoryForWhatCameOnly(t *testing.T) {
	budget := semaphore.NewWeighted(MaxBody + 1)
	s := serve(t, &fakeHandler{}, func(c *Config) { c.Budget = budget })
	nc, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	fmt.Fprintf(nc, "POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n{", goodToken, MaxBody)
	if o := s.do(t, "POST", "/mcp", ping+strings.Repeat(" ", MaxBody/2)); o.StatusCode != 200 {
		t.Errorf("beside a body of which one byte came: %d %s", o.StatusCode, o.text)
	}
}

func TestForeignHostsAndOriginsAreRefused(t *testing.T) {
	loopback := serve(t, &fakeHandler{}, func(c *Config) { c.Origins = []string{"https://gw.example", "vscode-webview://panel"} })
	open := serve(t, &fakeHandler{}, func(c *Config) { c.Loopback, c.Origins = false, []string{"https://gw.example:8443"} })
	for _, test := range []struct {
		s            *site
		host, origin string
		want         int
	}{
		{loopback, "127.0.0.1:1", "", 200},
		{loopback, "localhost", "", 200},
		{loopback, "LOCALHOST:7440", "", 200},
		{loopback, "[::1]:7440", "", 200},
		{loopback, "127.8.9.1", "", 200},
		{loopback, "gw.example", "", 200}, // a proxy in front, whose origin is allowed
		{loopback, "evil.example", "", 403},
		{loopback, "localhost.evil.example", "", 403},
		{loopback, "127.0.0.1.evil.example", "", 403},
		{loopback, "10.0.0.1", "", 403},
		{loopback, "localhost", "http://localhost:6274", 200},
		{loopback, "localhost", "http://127.0.0.1", 200},
		{loopback, "localhost", "https://[::1]:3000", 200},
		{loopback, "localhost", "https://gw.example", 200},
		{loopback, "localhost", "https://GW.example", 200},
		{loopback, "localhost", "vscode-webview://panel", 200},
		{loopback, "localhost", "http://gw.example", 403},
		{loopback, "localhost", "https://gw.example:444", 403},
		{loopback, "localhost", "https://gw.example/", 403},
		{loopback, "localhost", "null", 403},
		{loopback, "localhost", "http://localhost.evil.example", 403},
		{loopback, "localhost", "http://localhost@evil.example", 403},
		{loopback, "localhost", "file://localhost", 403},
		{open, "anything.example", "", 200},
		{open, "anything.example", "https://gw.example:8443", 200},
		{open, "anything.example", "https://gw.example", 403},
		{open, "anything.example", "http://localhost:3000", 403},
	} {
		o := test.s.do(t, "POST", "/mcp", ping, "Host", test.host, "Origin", test.origin)
		if o.StatusCode != test.want {
			t.Errorf("host %q, origin %q: %d, want %d", test.host, test.origin, o.StatusCode, test.want)
			continue
		}
		if o.StatusCode == 403 {
			if _, _, id := o.failure(t); id != "" || o.Header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("host %q, origin %q: %s %v", test.host, test.origin, o.text, o.Header)
			}
		} else if o.Header.Get("Access-Control-Allow-Origin") != test.origin {
			t.Errorf("origin %q may read answers to %q", test.origin, o.Header.Get("Access-Control-Allow-Origin"))
		}
	}
}

func TestTwoOriginsAreNone(t *testing.T) {
	s := serve(t, &fakeHandler{})
	r := s.request(t, "POST", "/mcp", ping)
	r.Header["Origin"] = []string{"http://localhost", "http://localhost"}
	if o := read(t, r); o.StatusCode != 403 {
		t.Errorf("answer = %d", o.StatusCode)
	}
}

func TestAPreflightNeedsNoTokenAndAnAllowedPage(t *testing.T) {
	s := serve(t, &fakeHandler{})
	o := s.do(t, "OPTIONS", "/servers/time/mcp", "", "Authorization", "", "Origin", "http://localhost:6274",
		"Access-Control-Request-Headers", "authorization, mcp-param-region, mcp-param-a b, x-evil, mcp-param-(x)")
	allowed := o.Header.Get("Access-Control-Allow-Headers")
	if o.StatusCode != 204 || o.Header.Get("Access-Control-Allow-Origin") != "http://localhost:6274" ||
		!strings.Contains(o.Header.Get("Access-Control-Allow-Methods"), "DELETE") || o.Header.Get("Vary") != "Origin" {
		t.Errorf("answer = %d %v", o.StatusCode, o.Header)
	}
	for header, want := range map[string]bool{"Mcp-Session-Id": true, "Last-Event-ID": true, "MCP-Protocol-Version": true, "mcp-param-region": true, "x-evil": false, "a b": false, "(x)": false} {
		if strings.Contains(allowed, header) != want {
			t.Errorf("allowed headers %q, %s wanted: %v", allowed, header, want)
		}
	}
	if o := s.do(t, "OPTIONS", "/mcp", "", "Origin", "https://evil.example"); o.StatusCode != 403 {
		t.Errorf("a foreign page: %d", o.StatusCode)
	}
}

func TestOAuthClientsFindJSONWithoutAnIssuer(t *testing.T) {
	s := serve(t, &fakeHandler{})
	for _, path := range []string{"/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/mcp", "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration/mcp", "/register", "/authorize", "/token", "/", "/sse"} {
		for _, method := range []string{"GET", "POST"} {
			o := s.do(t, method, path, "", "Authorization", "")
			var body struct {
				Error struct{ Code, Message, Hint string } `json:"error"`
			}
			if err := json.Unmarshal([]byte(o.text), &body); err != nil || o.StatusCode != 404 || body.Error.Code != "not_found" || !strings.Contains(body.Error.Hint, "/servers/") {
				t.Errorf("%s %s = %d %s", method, path, o.StatusCode, o.text)
			}
		}
	}
}

func TestMetadataNeedsNoToken(t *testing.T) {
	s := serve(t, &fakeHandler{}, func(c *Config) {
		c.Metadata = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "{}", r.URL.Path) })
		c.Challenge = func(r *http.Request, err error) string { return "Bearer resource_metadata=\"" + r.URL.Path + "\"" }
	})
	if o := s.do(t, "GET", "/.well-known/oauth-protected-resource/mcp", "", "Authorization", ""); o.StatusCode != 200 || o.text != "{}/.well-known/oauth-protected-resource/mcp" {
		t.Errorf("metadata = %d %s", o.StatusCode, o.text)
	}
	if o := s.do(t, "POST", "/mcp", ping, "Authorization", ""); o.Header.Get("WWW-Authenticate") != `Bearer resource_metadata="/mcp"` {
		t.Errorf("challenge = %v", o.Header)
	}
}

func TestNobodyPassesWithoutAToken(t *testing.T) {
	h := &fakeHandler{}
	s := serve(t, h)
	for _, header := range []string{"", "Bearer", "Bearer ", "Basic " + goodToken, goodToken, "Bearer wrong", "Bearer " + goodToken + "x"} {
		for _, method := range []string{"POST", "GET", "DELETE"} {
			o := s.do(t, method, "/mcp", ping, "Authorization", header, "Mcp-Session-Id", "abc")
			if _, message, _ := o.failure(t); o.StatusCode != 401 || o.Header.Get("WWW-Authenticate") != "Bearer" || message == "" {
				t.Errorf("%s with %q: %d %s %v", method, header, o.StatusCode, o.text, o.Header)
			}
		}
	}
	r := s.request(t, "POST", "/mcp", ping)
	r.Header.Add("Authorization", "Bearer "+goodToken)
	if o := read(t, r); o.StatusCode != 401 {
		t.Errorf("two headers: %d", o.StatusCode)
	}
	if h.calls.Load() != 0 {
		t.Error("the handler was called")
	}
}

func TestUnknownMethodsAreToldWhatThereIs(t *testing.T) {
	s := serve(t, &fakeHandler{})
	for _, method := range []string{"PUT", "PATCH", "TRACE", "BREW"} {
		o := s.do(t, method, "/mcp", "")
		if code, _, _ := o.failure(t); o.StatusCode != 405 || o.Header.Get("Allow") != corsMethods || code != -32601 {
			t.Errorf("%s = %d %s %v", method, o.StatusCode, o.text, o.Header)
		}
	}
	if o := s.do(t, "HEAD", "/mcp", ""); o.StatusCode != 405 {
		t.Errorf("HEAD = %d", o.StatusCode)
	}
	if o := s.do(t, "GET", "/mcp", ""); o.StatusCode != 405 || o.Header.Get("Allow") == "" {
		t.Errorf("GET without a session = %d %v", o.StatusCode, o.Header)
	}
	if o := s.do(t, "DELETE", "/mcp", ""); o.StatusCode != 400 {
		t.Errorf("DELETE without a session = %d", o.StatusCode)
	}
}

func TestOnlyAnotherMediaTypeIsRefused(t *testing.T) {
	s := serve(t, &fakeHandler{})
	for media, want := range map[string]int{
		"": 200, "application/json": 200, "application/json; charset=utf-8": 200, "Application/JSON;charset=UTF-8": 200,
		"application/vnd.api+json": 200, "application/json-rpc": 200, "text/json": 200, "text/plain": 200, "application/octet-stream": 200,
		"application/x-www-form-urlencoded": 415, "multipart/form-data; boundary=x": 415, "text/html": 415, "image/png": 415, "application/xml": 415,
	} {
		if o := s.do(t, "POST", "/mcp", ping, "Content-Type", media); o.StatusCode != want {
			t.Errorf("%q: %d, want %d", media, o.StatusCode, want)
		}
	}
	if o := s.do(t, "POST", "/mcp", ping, "Content-Encoding", "gzip"); o.StatusCode != 415 {
		t.Errorf("gzip: %d", o.StatusCode)
	}
}

func TestNoAcceptHeaderIsRefused(t *testing.T) {
	var jsonOnly bool
	s := serve(t, &fakeHandler{post: func(_ context.Context, r *exchange.Request, m *mcp.Message, stream exchange.Stream) (exchange.Answer, error) {
		jsonOnly = r.JSONOnly
		if err := stream.Send(sse.Event{Data: []byte(`{"progress":1}`)}); err != nil {
			return exchange.Answer{}, err
		}
		return exchange.Answer{Message: mcp.Answer(m.ID(), nil)}, nil
	}})
	for accept, want := range map[string]bool{
		"": true, "*/*": true, "application/json": true, "text/html": true, "nonsense;;,": true, "text/event-stream;q=0": true, "text/event-stream;q=0.0, */*": true,
		"application/json, text/event-stream": false, "text/event-stream": false, "TEXT/Event-Stream; q=0.5": false, "text/*": false,
	} {
		o := s.do(t, "POST", "/mcp", ping, "Accept", accept)
		streamed := o.Header.Get("Content-Type") == "text/event-stream"
		if o.StatusCode != 200 || jsonOnly != want || streamed == want {
			t.Errorf("Accept %q: %d, JSON only %v, streamed %v", accept, o.StatusCode, jsonOnly, streamed)
		}
	}
}

func TestMalformedMessagesAreJSONRPCErrors(t *testing.T) {
	h := &fakeHandler{}
	s := serve(t, h)
	for text, want := range map[string]int{
		``: mcp.CodeParse, `{`: mcp.CodeParse, `nonsense`: mcp.CodeParse, `{"jsonrpc":"2.0","id":1}`: mcp.CodeInvalidRequest,
		`"text"`: mcp.CodeInvalidRequest, `[]`: mcp.CodeInvalidRequest, `{"jsonrpc":"2.0","id":{},"method":"ping"}`: mcp.CodeInvalidRequest,
	} {
		o := s.do(t, "POST", "/mcp", text)
		if code, _, _ := o.failure(t); o.StatusCode != 400 || code != want {
			t.Errorf("%q: %d %s, want %d", text, o.StatusCode, o.text, want)
		}
	}
	if h.calls.Load() != 0 {
		t.Error("the handler was called")
	}
}

func TestErrorsOfTheHandlerFollowTheTable(t *testing.T) {
	var failure error
	s := serve(t, &fakeHandler{
		post: func(context.Context, *exchange.Request, *mcp.Message, exchange.Stream) (exchange.Answer, error) {
			return exchange.Answer{}, failure
		},
		listen: func(context.Context, *exchange.Request, exchange.Stream) error { return failure },
		end:    func(context.Context, *exchange.Request) error { return failure },
	})
	for _, test := range []struct {
		err       error
		post, get int
	}{
		{fault.New(fault.NotFound, "no such session"), 404, 404},
		{fault.New(fault.NoLeader, "no leader").After(1500 * time.Millisecond), 503, 503},
		{fault.New(fault.Quota, "too many"), 429, 429},
		{fault.New(fault.Forbidden, "a policy"), 200, 403},
		{fault.New(fault.Forbidden, "a scope").WithDetail("scope", "mcp:call"), 403, 403},
		{fault.New(fault.MethodNotAllowed, "the stream is finished"), 405, 405},
		{errors.New("a secret of ours"), 500, 500},
	} {
		failure = test.err
		o := s.do(t, "POST", "/mcp", ping)
		if code, message, id := o.failure(t); o.StatusCode != test.post || id != "7" || code != fault.Of(failure).RPC() || strings.Contains(message, "secret") {
			t.Errorf("%v: POST = %d %s", failure, o.StatusCode, o.text)
		}
		if test.post == 503 && o.Header.Get("Retry-After") != "2" {
			t.Errorf("%v: Retry-After %q", failure, o.Header.Get("Retry-After"))
		}
		if scoped := test.post == 403; scoped != (o.Header.Get("WWW-Authenticate") != "") {
			t.Errorf("%v: challenge %q", failure, o.Header.Get("WWW-Authenticate"))
		}
		for _, method := range []string{"GET", "DELETE"} {
			if o := s.do(t, method, "/mcp", "", "Mcp-Session-Id", "abc"); o.StatusCode != test.get {
				t.Errorf("%v: %s = %d %s", failure, method, o.StatusCode, o.text)
			}
		}
	}
}

func TestAnAnswerKeepsItsStatus(t *testing.T) {
	s := serve(t, &fakeHandler{post: func(_ context.Context, _ *exchange.Request, m *mcp.Message, _ exchange.Stream) (exchange.Answer, error) {
		return exchange.Answer{Message: mcp.Failed(m.ID(), &mcp.Error{Code: mcp.CodeHeaderMismatch, Message: "differs"}), Status: 400}, nil
	}})
	o := s.do(t, "POST", "/mcp", ping)
	if code, _, id := o.failure(t); o.StatusCode != 400 || code != mcp.CodeHeaderMismatch || id != "7" {
		t.Errorf("answer = %d %s", o.StatusCode, o.text)
	}
}

func TestABatchIsAnsweredAsOneArray(t *testing.T) {
	s := serve(t, &fakeHandler{batch: func(_ context.Context, r *exchange.Request, list []*mcp.Message, stream exchange.Stream) ([]*mcp.Message, error) {
		var answers []*mcp.Message
		for _, m := range list {
			if r.Session == "stream" {
				_ = stream.Send(sse.Event{Comment: "open"})
			}
			if m.Kind() == mcp.KindRequest {
				answers = append(answers, mcp.Answer(m.ID(), nil))
			}
		}
		return answers, nil
	}})
	two := `[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":2,"method":"ping"}]`
	if o := s.do(t, "POST", "/mcp", two); o.text != `[{"jsonrpc":"2.0","id":1,"result":{}},{"jsonrpc":"2.0","id":2,"result":{}}]` {
		t.Errorf("two = %d %s", o.StatusCode, o.text)
	}
	if o := s.do(t, "POST", "/mcp", `[{"jsonrpc":"2.0","method":"notifications/initialized"}]`); o.StatusCode != 202 || o.text != "" {
		t.Errorf("notifications = %d %s", o.StatusCode, o.text)
	}
	if o := s.do(t, "POST", "/mcp", two, "Mcp-Session-Id", "stream"); strings.Count(o.text, "data: {") != 2 {
		t.Errorf("streamed = %s", o.text)
	}
}

func TestTheFirstEventMakesAStream(t *testing.T) {
	s := serve(t, &fakeHandler{post: func(_ context.Context, _ *exchange.Request, m *mcp.Message, stream exchange.Stream) (exchange.Answer, error) {
		if err := stream.Send(sse.Event{ID: "e-1", HasID: true}); err != nil {
			t.Error(err)
		}
		return exchange.Answer{Message: mcp.Answer(m.ID(), nil), EventID: "e-2", Session: "never", Status: 400}, nil
	}})
	o := s.do(t, "POST", "/mcp", ping)
	want := "id: e-1\ndata: \n\nid: e-2\ndata: {\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{}}\n\n"
	if o.StatusCode != 200 || o.text != want {
		t.Errorf("stream = %d %q, want %q", o.StatusCode, o.text, want)
	}
	for header, value := range map[string]string{"Content-Type": "text/event-stream", "X-Accel-Buffering": "no", "Cache-Control": "no-cache, no-transform", "Mcp-Session-Id": ""} {
		if got := o.Header.Get(header); got != value {
			t.Errorf("%s = %q, want %q", header, got, value)
		}
	}
}

func TestAnErrorOnAStreamIsItsLastEvent(t *testing.T) {
	s := serve(t, &fakeHandler{post: func(_ context.Context, _ *exchange.Request, _ *mcp.Message, stream exchange.Stream) (exchange.Answer, error) {
		_ = stream.Send(sse.Event{Comment: "open"})
		return exchange.Answer{}, fault.New(fault.Unreachable, "the upstream is gone")
	}})
	o := s.do(t, "POST", "/mcp", ping)
	if o.StatusCode != 200 || !strings.Contains(o.text, `"id":7`) || !strings.Contains(o.text, "the upstream is gone") {
		t.Errorf("stream = %d %s", o.StatusCode, o.text)
	}
}

func TestEventsArriveOneByOne(t *testing.T) {
	next := make(chan struct{})
	s := serve(t, &fakeHandler{listen: func(_ context.Context, _ *exchange.Request, stream exchange.Stream) error {
		for i := range 3 {
			if err := stream.Send(sse.Event{Data: fmt.Appendf(nil, "%d", i)}); err != nil {
				return err
			}
			<-next
		}
		return nil
	}})
	resp, err := http.DefaultClient.Do(s.request(t, "GET", "/mcp", "", "Mcp-Session-Id", "abc", "Accept", ""))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	events := sse.NewReader(resp.Body, 1<<10)
	for i := range 3 {
		e, err := events.Next()
		if err != nil || string(e.Data) != fmt.Sprint(i) {
			t.Fatalf("event %d = %q, %v", i, e.Data, err)
		}
		next <- struct{}{}
	}
	if _, err := events.Next(); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
}

func TestAListenerThatSentNothingIsAnEmptyStream(t *testing.T) {
	s := serve(t, &fakeHandler{listen: func(context.Context, *exchange.Request, exchange.Stream) error { return nil }})
	if o := s.do(t, "GET", "/mcp", "", "Mcp-Session-Id", "abc"); o.StatusCode != 200 || o.Header.Get("Content-Type") != "text/event-stream" || o.text != "" {
		t.Errorf("answer = %d %q %v", o.StatusCode, o.text, o.Header)
	}
}

func TestSendAfterTheAnswerIsAnError(t *testing.T) {
	kept := make(chan exchange.Stream, 1)
	s := serve(t, &fakeHandler{post: func(_ context.Context, _ *exchange.Request, m *mcp.Message, stream exchange.Stream) (exchange.Answer, error) {
		kept <- stream
		return exchange.Answer{Message: mcp.Answer(m.ID(), nil)}, nil
	}})
	s.do(t, "POST", "/mcp", ping)
	if err := (<-kept).Send(sse.Event{Comment: "late"}); err == nil {
		t.Error("no error")
	}
}

func TestManyMaySendAtOnce(t *testing.T) {
	s := serve(t, &fakeHandler{post: func(_ context.Context, _ *exchange.Request, m *mcp.Message, stream exchange.Stream) (exchange.Answer, error) {
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 50 {
					_ = stream.Send(sse.Event{Data: []byte("x")})
				}
			})
		}
		wg.Wait()
		return exchange.Answer{Message: mcp.Answer(m.ID(), nil)}, nil
	}})
	if o := s.do(t, "POST", "/mcp", ping); strings.Count(o.text, "data: x\n\n") != 400 {
		t.Errorf("%d events", strings.Count(o.text, "data: x\n\n"))
	}
}

func TestTheContextEndsWhenTheClientLeaves(t *testing.T) {
	running, ended := make(chan struct{}), make(chan struct{})
	s := serve(t, &fakeHandler{post: func(ctx context.Context, _ *exchange.Request, _ *mcp.Message, _ exchange.Stream) (exchange.Answer, error) {
		close(running)
		<-ctx.Done()
		close(ended)
		return exchange.Answer{}, ctx.Err()
	}})
	ctx, leave := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() {
		resp, err := http.DefaultClient.Do(s.request(t, "POST", "/mcp", ping).WithContext(ctx))
		if err == nil {
			resp.Body.Close()
		}
		gone <- err
	}()
	<-running
	leave()
	<-ended
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("the client got %v", err)
	}
}

func TestStreamsEndWithTheCredentials(t *testing.T) {
	s := serve(t, &fakeHandler{listen: func(ctx context.Context, _ *exchange.Request, stream exchange.Stream) error {
		_ = stream.Send(sse.Event{Comment: "open"})
		<-ctx.Done()
		if !errors.Is(context.Cause(ctx), errExpired) {
			t.Errorf("cause = %v", context.Cause(ctx))
		}
		return nil
	}}, func(c *Config) { c.Authenticator = fakeAuth{expires: time.Now().Add(100 * time.Millisecond)} })
	s.do(t, "GET", "/mcp", "", "Mcp-Session-Id", "abc")
}

func TestStreamsEndWhenTheNodeStops(t *testing.T) {
	opened := make(chan struct{}, 2)
	s := serve(t, &fakeHandler{listen: func(ctx context.Context, _ *exchange.Request, stream exchange.Stream) error {
		_ = stream.Send(sse.Event{Comment: "open"})
		opened <- struct{}{}
		<-ctx.Done()
		return stream.Send(sse.Event{Comment: "bye"})
	}})
	texts := make(chan string, 2)
	get := func() { texts <- s.do(t, "GET", "/mcp", "", "Mcp-Session-Id", "abc").text }
	go get()
	<-opened
	s.EndStreams()
	go get() // one that comes late
	for range 2 {
		if text := <-texts; !strings.Contains(text, "bye") {
			t.Errorf("stream = %q", text)
		}
	}
}

func TestAPrincipalHoldsSoManyStreams(t *testing.T) {
	opened, closing := make(chan struct{}), make(chan struct{})
	s := serve(t, &fakeHandler{listen: func(_ context.Context, _ *exchange.Request, stream exchange.Stream) error {
		_ = stream.Send(sse.Event{Comment: "open"})
		opened <- struct{}{}
		<-closing
		return nil
	}}, func(c *Config) { c.StreamsPerPrincipal = 2 })
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() { s.do(t, "GET", "/mcp", "", "Mcp-Session-Id", "abc") })
		<-opened
	}
	o := s.do(t, "GET", "/mcp", "", "Mcp-Session-Id", "abc")
	if _, message, _ := o.failure(t); o.StatusCode != 429 || !strings.Contains(message, "2 streams") {
		t.Errorf("the third: %d %s", o.StatusCode, o.text)
	}
	listen := `{"jsonrpc":"2.0","id":"s1","method":"subscriptions/listen","params":{}}`
	if o := s.do(t, "POST", "/mcp", listen); o.StatusCode != 429 {
		t.Errorf("a subscription: %d %s", o.StatusCode, o.text)
	}
	if o := s.do(t, "POST", "/mcp", ping); o.StatusCode != 200 {
		t.Errorf("a call: %d %s", o.StatusCode, o.text)
	}
	close(closing)
	wg.Wait()
	go func() { <-opened }()
	if o := s.do(t, "GET", "/mcp", "", "Mcp-Session-Id", "abc"); o.StatusCode != 200 {
		t.Errorf("afterwards: %d %s", o.StatusCode, o.text)
	}
}

func TestAFullNodeRefusesAtOnce(t *testing.T) {
	running, finish := make(chan struct{}), make(chan struct{})
	s := serve(t, &fakeHandler{post: func(_ context.Context, _ *exchange.Request, m *mcp.Message, _ exchange.Stream) (exchange.Answer, error) {
		running <- struct{}{}
		<-finish
		return exchange.Answer{Message: mcp.Answer(m.ID(), nil)}, nil
	}}, func(c *Config) { c.Requests = 1 })
	var wg sync.WaitGroup
	wg.Go(func() {
		if o := s.do(t, "POST", "/mcp", ping); o.StatusCode != 200 {
			t.Errorf("the first: %d", o.StatusCode)
		}
	})
	<-running
	if o := s.do(t, "POST", "/mcp", ping); o.StatusCode != 503 || o.Header.Get("Retry-After") == "" {
		t.Errorf("the second: %d %s", o.StatusCode, o.text)
	}
	close(finish)
	wg.Wait()
}

func TestABrokenHandlerIsAnInternalError(t *testing.T) {
	var log bytes.Buffer
	s := serve(t, &fakeHandler{post: func(context.Context, *exchange.Request, *mcp.Message, exchange.Stream) (exchange.Answer, error) {
		panic("a secret of ours")
	}}, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	o := s.do(t, "POST", "/mcp", ping, HeaderRequestID, "find-me")
	if _, message, id := o.failure(t); o.StatusCode != 500 || id != "7" || strings.Contains(message, "secret") {
		t.Errorf("answer = %d %s", o.StatusCode, o.text)
	}
	if !strings.Contains(log.String(), "find-me") || !strings.Contains(log.String(), "a secret of ours") {
		t.Errorf("log = %s", log.String())
	}
}

func TestHeadersAboveTheLimitAreRefused(t *testing.T) {
	h := &fakeHandler{}
	s := serve(t, h)
	if o := s.do(t, "POST", "/mcp", ping, "X-Large", strings.Repeat("x", MaxHeader+8<<10)); o.StatusCode != http.StatusRequestHeaderFieldsTooLarge || h.calls.Load() != 0 {
		t.Errorf("answer = %d", o.StatusCode)
	}
}

func TestASlashAtTheEndIsNoDifference(t *testing.T) {
	s := serve(t, &fakeHandler{})
	for path, want := range map[string]int{
		"/mcp": 200, "/mcp/": 200, "/servers/a/mcp": 200, "/servers/a/mcp/": 200, "/servers/a-9/mcp": 200,
		"/servers//mcp": 404, "/servers/a/b/mcp": 404, "/servers/mcp": 404, "/servers/a": 404, "/mcp/x": 404, "/MCP": 404, "//mcp": 404,
	} {
		if o := s.do(t, "POST", path, ping); o.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, o.StatusCode, want)
		}
	}
}

func TestWhatHappensIsCounted(t *testing.T) {
	registry := prometheus.NewRegistry()
	s := serve(t, &fakeHandler{}, func(c *Config) { c.Registerer = registry })
	s.do(t, "POST", "/mcp", ping)
	s.do(t, "POST", "/mcp", ping)
	s.do(t, "POST", "/mcp", `{"jsonrpc":"2.0","id":7,"method":"made/up"}`)
	s.do(t, "POST", "/mcp", ping, "Authorization", "")
	s.do(t, "BREW", "/mcp", ping)
	for key, want := range map[[2]string]float64{{"ping", "2xx"}: 2, {"other", "2xx"}: 1, {"other", "4xx"}: 1, {"POST", "4xx"}: 1} {
		counter := s.metrics.requests[key[0]][key[1][0]-'0']
		if got := testutil.ToFloat64(counter); got != want {
			t.Errorf("%v = %v, want %v", key, got, want)
		}
	}
	if n, err := testutil.GatherAndCount(registry); err != nil || n == 0 {
		t.Errorf("gathered %d, %v", n, err)
	}
}

func TestMistakesOfTheConfigurationAreReportedTogether(t *testing.T) {
	_, err := New(Config{Requests: -1, Origins: []string{"https://gw.example/path"}})
	for _, want := range []string{"handler:", "authenticator:", "budget:", "requests:", "https://gw.example/path"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New = %v, which does not mention %s", err, want)
		}
	}
}

func TestHTTP2OverTLS(t *testing.T) {
	f := newFront(t, &fakeHandler{
		post: func(_ context.Context, r *exchange.Request, m *mcp.Message, stream exchange.Stream) (exchange.Answer, error) {
			if r.Session == "stream" {
				_ = stream.Send(sse.Event{Data: []byte("1")})
			}
			return exchange.Answer{Message: mcp.Answer(m.ID(), nil), Session: "s-1"}, nil
		},
	})
	server := httptest.NewUnstartedServer(f)
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	for _, session := range []string{"", "stream"} {
		r, _ := http.NewRequestWithContext(t.Context(), "POST", server.URL+"/mcp", strings.NewReader(ping))
		dress(r, "Mcp-Session-Id", session)
		resp, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.ProtoMajor != 2 || resp.StatusCode != 200 || !strings.Contains(string(text), `"id":7`) {
			t.Errorf("%s %d %s %v", resp.Proto, resp.StatusCode, text, err)
		}
	}
}

// A TLS listener of our own, as the wiring has it: the server is given *tls.Conn.
func TestHTTP2IsChosenOnAHandedConnection(t *testing.T) {
	f := newFront(t, &fakeHandler{})
	certificates := httptest.NewUnstartedServer(f)
	certificates.StartTLS()
	defer certificates.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := f.Server()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(tls.NewListener(l, &tls.Config{Certificates: certificates.TLS.Certificates, NextProtos: []string{"h2", "http/1.1"}}))
	}()
	defer func() {
		server.Close()
		<-done
	}()
	for _, h2 := range []bool{true, false} {
		transport := certificates.Client().Transport.(*http.Transport).Clone()
		transport.ForceAttemptHTTP2 = h2
		if !h2 {
			transport.TLSClientConfig.NextProtos = []string{"http/1.1"}
		}
		r, _ := http.NewRequestWithContext(t.Context(), "POST", "https://"+l.Addr().String()+"/mcp", strings.NewReader(ping))
		dress(r)
		resp, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if want := map[bool]int{true: 2, false: 1}[h2]; resp.ProtoMajor != want || resp.StatusCode != 200 {
			t.Errorf("%s %d, want HTTP/%d", resp.Proto, resp.StatusCode, want)
		}
		transport.CloseIdleConnections()
	}
}
