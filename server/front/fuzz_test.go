package front

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mcpraft/mcpraft/internal/sse"
	"github.com/mcpraft/mcpraft/server/exchange"
	"github.com/mcpraft/mcpraft/server/mcp"
)

// FuzzAdmission sends requests with any headers. Whatever they are: nothing
// breaks, the handler sees only callers with the token from hosts and pages that
// may call, and every body is JSON or an event stream.
func FuzzAdmission(f *testing.F) {
	f.Add("POST", "/mcp", "localhost", "", "Bearer "+goodToken, "application/json", "*/*", "abc", ping)
	f.Add("GET", "/servers/a/mcp", "127.0.0.1:7440", "http://localhost", "bearer  "+goodToken, "", "text/event-stream;q=0", "", "")
	f.Add("DELETE", "/mcp/", "[::1]", "null", "Bearer x", "text/html", "a;q=;;,", "s", "[]")
	f.Add("OPTIONS", "/.well-known/x", "evil.example", "https://gw.example", "", "", "", "", "")
	f.Fuzz(func(t *testing.T, method, path, host, origin, authorization, media, accept, session, text string) {
		if !isToken(method) || !strings.HasPrefix(path, "/") {
			return
		}
		r, err := http.NewRequest(method, "http://gw"+path, strings.NewReader(text))
		if err != nil {
			return
		}
		r.Host = host
		for name, value := range map[string]string{"Origin": origin, "Authorization": authorization, "Content-Type": media, "Accept": accept, "Mcp-Session-Id": session} {
			if value != "" {
				r.Header.Set(name, value)
			}
		}
		seen := func(req *exchange.Request) {
			token, _ := bearer(r.Header)
			allowed := origin == "" || origin == "https://gw.example" || strings.Contains(origin, "localhost") || strings.Contains(origin, "127.") || strings.Contains(origin, "::1") || strings.EqualFold(origin, "https://gw.example")
			if token != goodToken || !allowed || req.Caller.Principal.Subject != "alice" {
				t.Errorf("the handler was called for %q from %q", authorization, origin)
			}
		}
		h := &fakeHandler{
			post: func(_ context.Context, req *exchange.Request, m *mcp.Message, stream exchange.Stream) (exchange.Answer, error) {
				seen(req)
				return exchange.Answer{Message: mcp.Answer(m.ID(), nil)}, stream.Send(sse.Event{Comment: "x"})
			},
			batch: func(_ context.Context, req *exchange.Request, list []*mcp.Message, _ exchange.Stream) ([]*mcp.Message, error) {
				seen(req)
				return list, nil
			},
			listen: func(_ context.Context, req *exchange.Request, _ exchange.Stream) error { seen(req); return nil },
			end:    func(_ context.Context, req *exchange.Request) error { seen(req); return nil },
		}
		w := httptest.NewRecorder()
		newFront(t, h, func(c *Config) { c.Origins = []string{"https://gw.example"} }).ServeHTTP(w, r)
		if w.Body.Len() > 0 && w.Header().Get("Content-Type") != "text/event-stream" && !json.Valid(w.Body.Bytes()) {
			t.Errorf("%d %q is not JSON", w.Code, w.Body)
		}
	})
}
