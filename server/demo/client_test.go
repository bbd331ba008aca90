package demo

import (
	"bytes"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mcpraft/mcpraft/internal/sse"
	"github.com/mcpraft/mcpraft/server/mcp"
)

// A peer is the smallest client that can test the server.
type peer struct {
	t       testing.TB
	url     string
	headers map[string]string
}

// serve starts a server and gives a client of it.
func serve(t testing.TB) (*Server, *peer) {
	s := New()
	web := httptest.NewServer(s)
	t.Cleanup(web.Close)
	t.Cleanup(s.Close)
	return s, &peer{t: t, url: web.URL + "/mcp", headers: map[string]string{}}
}

// with is the peer with more headers.
func (p *peer) with(pairs ...string) *peer {
	out := &peer{t: p.t, url: p.url, headers: map[string]string{}}
	maps.Copy(out.headers, p.headers)
	for i := 0; i < len(pairs); i += 2 {
		out.headers[pairs[i]] = pairs[i+1]
	}
	return out
}

func (p *peer) do(method, body string) *http.Response {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), method, p.url, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	for k, v := range p.headers {
		if k == "Host" {
			req.Host = v
			continue
		}
		req.Header.Set(k, v)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// call posts a request and reads its answer, be it JSON or the end of a stream.
func (p *peer) call(method, params string) (*mcp.Message, int) {
	p.t.Helper()
	resp := p.do(http.MethodPost, request(method, params))
	defer resp.Body.Close()
	if isStream(resp) {
		return last(p.t, newEvents(resp)), resp.StatusCode
	}
	return message(p.t, resp.Body), resp.StatusCode
}

// result is the answer of a call that must succeed.
func (p *peer) result(method, params string) []byte {
	p.t.Helper()
	m, status := p.call(method, params)
	if m.Kind() != mcp.KindResult {
		p.t.Fatalf("%s answered %d %s", method, status, m.Bytes())
	}
	return m.Result()
}

// said is the text of a tool's result.
func (p *peer) said(name, arguments string) string {
	p.t.Helper()
	return saidIn(p.result(mcp.ToolsCall, `{"name":"`+name+`","arguments":`+arguments+`}`))
}

func saidIn(result []byte) string {
	block := bytes.TrimSuffix(bytes.TrimPrefix(mcp.Field(result, "content"), []byte("[")), []byte("]"))
	text, _ := mcp.Text(mcp.Field(block, "text"))
	return text
}

func request(method, params string) string {
	if strings.HasPrefix(method, "notifications/") {
		return string(mcp.Notification(method, []byte(params)).Bytes())
	}
	return string(mcp.Request("7", method, []byte(params)).Bytes())
}

// legacy opens a session.
func (p *peer) legacy(version, capabilities string) *peer {
	p.t.Helper()
	resp := p.do(http.MethodPost, request(mcp.Initialize, `{"protocolVersion":"`+version+`","capabilities":`+capabilities+`,"clientInfo":{"name":"t","version":"1"}}`))
	m := message(p.t, resp.Body)
	if got, _ := mcp.Text(mcp.Field(m.Result(), "protocolVersion")); got != version {
		p.t.Fatalf("initialize answered %s", m.Bytes())
	}
	out := p.with(mcp.HeaderSession, resp.Header.Get(mcp.HeaderSession), mcp.HeaderVersion, version)
	if resp := out.do(http.MethodPost, request(mcp.Initialized, "")); resp.StatusCode != http.StatusAccepted {
		p.t.Fatalf("initialized answered %d", resp.StatusCode)
	}
	return out
}

// modern makes the headers and params of a request of 2026-07-28.
func (p *peer) modern(method, name, params, capabilities string) (*peer, string) {
	pairs := []string{mcp.HeaderVersion, string(mcp.V20260728), mcp.HeaderMethod, method}
	if name != "" {
		pairs = append(pairs, mcp.HeaderName, name)
	}
	out := mcp.WithField([]byte(params), mcp.Quote(string(mcp.V20260728)), "_meta", mcp.MetaProtocolVersion)
	out = mcp.WithField(out, []byte(capabilities), "_meta", mcp.MetaClientCapabilities)
	return p.with(pairs...), string(out)
}

func isStream(resp *http.Response) bool {
	return strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream")
}

func newEvents(resp *http.Response) *sse.Reader { return sse.NewReader(resp.Body, 1<<20) }

// next is the next event that is not a comment.
func next(t testing.TB, r *sse.Reader) sse.Event {
	t.Helper()
	for {
		e, err := r.Next()
		if err != nil {
			t.Fatalf("the stream ended: %v", err)
		}
		if e.Data != nil {
			return e
		}
	}
}

// nextMessage is the next event that holds a message.
func nextMessage(t testing.TB, r *sse.Reader) (*mcp.Message, sse.Event) {
	t.Helper()
	for {
		e := next(t, r)
		if len(e.Data) > 0 {
			return message(t, bytes.NewReader(e.Data)), e
		}
	}
}

// last reads a stream to its answer.
func last(t testing.TB, r *sse.Reader) *mcp.Message {
	t.Helper()
	for {
		if m, _ := nextMessage(t, r); m.Method() == "" {
			return m
		}
	}
}

func message(t testing.TB, r io.Reader) *mcp.Message {
	t.Helper()
	body, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	m, err := mcp.Parse(body, mcp.Inbound)
	if err != nil {
		t.Fatalf("%q: %v", body, err)
	}
	return m
}
