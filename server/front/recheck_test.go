package front

import (
	"context"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/sse"
	"github.com/mcpraft/mcpraft/server/exchange"
	"github.com/mcpraft/mcpraft/server/mcp"
)

// revocableAuth knows tokens until they are revoked.
type revocableAuth struct {
	mu      sync.Mutex
	revoked string
	broken  bool
	looks   int
}

func (a *revocableAuth) Authenticate(_ context.Context, _, token string) (exchange.Caller, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.looks++
	switch {
	case a.broken:
		return exchange.Caller{}, fault.New(fault.Unavailable, "no keys at the moment")
	case token == a.revoked:
		return exchange.Caller{}, fault.New(fault.Unauthenticated, "the token was revoked")
	}
	return exchange.Caller{Principal: record.Principal{Issuer: "test", Subject: token}, Method: "token"}, nil
}

func (a *revocableAuth) change(how func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	how()
}

func TestStreamsEndWithinASecondWhenTheTokenIsRevoked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		auth := new(revocableAuth)
		ended := make(map[string]time.Time)
		var mu sync.Mutex
		hold := func(ctx context.Context, r *exchange.Request, stream exchange.Stream) {
			_ = stream.Send(sse.Event{Comment: "open"})
			<-ctx.Done()
			mu.Lock()
			defer mu.Unlock()
			ended[r.Session] = time.Now()
			if !strings.HasPrefix(r.Session, "stays") && context.Cause(ctx) != errRevoked {
				t.Errorf("%s ended with %v", r.Session, context.Cause(ctx))
			}
		}
		late := make(chan struct{})
		f := newFront(t, &fakeHandler{
			listen: func(ctx context.Context, r *exchange.Request, stream exchange.Stream) error {
				hold(ctx, r, stream)
				return nil
			},
			post: func(ctx context.Context, r *exchange.Request, m *mcp.Message, stream exchange.Stream) (exchange.Answer, error) {
				if r.Session == "late" { // becomes a stream after the revocation
					<-late
				}
				hold(ctx, r, stream)
				return exchange.Answer{Message: mcp.Answer(m.ID(), nil)}, nil
			},
		}, func(c *Config) { c.Authenticator, c.Loopback = auth, false })
		ctx, stop := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() { _ = f.Run(ctx) })
		visit := func(method, token, session, body string) {
			r := httptest.NewRequestWithContext(ctx, method, "http://gw/mcp", strings.NewReader(body))
			dress(r, "Authorization", "Bearer "+token, "Mcp-Session-Id", session, "Content-Type", "application/json", "Accept", "application/json, text/event-stream")
			all.Go(func() { f.ServeHTTP(httptest.NewRecorder(), r) })
		}
		call := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}`
		visit("GET", "bad", "get", "")
		visit("POST", "bad", "post", call)
		visit("POST", "bad", "late", call)
		visit("GET", "good", "stays1", "")
		visit("GET", "good", "stays2", "")
		synctest.Wait()
		auth.change(func() { auth.broken, auth.looks = true, 0 })
		f.Recheck()
		time.Sleep(time.Second)
		mu.Lock()
		auth.change(func() {
			if len(ended) != 0 || auth.looks != 2 {
				t.Errorf("%d streams ended though nobody could tell, after %d looks at 2 tokens", len(ended), auth.looks)
			}
		})
		mu.Unlock()
		auth.change(func() { auth.broken, auth.revoked = false, "bad" })
		revoked := time.Now()
		f.Recheck()
		time.Sleep(time.Minute)
		mu.Lock()
		if took := max(ended["get"].Sub(revoked), ended["post"].Sub(revoked)); len(ended) != 2 || took > time.Second {
			t.Errorf("ended: %v, want get and post within a second", ended)
		}
		mu.Unlock()
		close(late)
		time.Sleep(time.Second)
		mu.Lock()
		if _, ok := ended["late"]; len(ended) != 3 || !ok {
			t.Errorf("ended: %v, want the late stream, too", ended)
		}
		mu.Unlock()
		stop()
		all.Wait()
	})
}
