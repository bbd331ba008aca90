package front

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/mcpraft/mcpraft/internal/sse"
	"github.com/mcpraft/mcpraft/server/exchange"
	"github.com/mcpraft/mcpraft/server/mcp"
	"github.com/mcpraft/mcpraft/test/model/memnet"
)

// inBubble runs a test in virtual time against a Front on a network in memory.
// dial opens connections to it; config is nil for plain text.
func inBubble(t *testing.T, h *fakeHandler, config *tls.Config, test func(t *testing.T, dial func(context.Context) (net.Conn, error))) {
	synctest.Test(t, func(t *testing.T) {
		network := memnet.New()
		l, err := network.Host("gw").Listen("gw:7440")
		if err != nil {
			t.Fatal(err)
		}
		if config != nil {
			l = tls.NewListener(l, config)
		}
		server := newFront(t, h, func(c *Config) { c.Loopback = false }).Server()
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = server.Serve(l)
		}()
		test(t, func(ctx context.Context) (net.Conn, error) { return network.Host("client").Dial(ctx, "gw:7440") })
		server.Close()
		<-done
	})
}

func writeRequest(t *testing.T, nc net.Conn, method, text string) {
	t.Helper()
	_, err := fmt.Fprintf(nc, "%s /mcp HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer %s\r\nAccept: text/event-stream\r\nMcp-Session-Id: abc\r\nContent-Length: %d\r\n\r\n%s", method, goodToken, len(text), text)
	if err != nil {
		t.Fatal(err)
	}
}

func TestASilentStreamIsKeptAlive(t *testing.T) {
	h := &fakeHandler{listen: func(_ context.Context, _ *exchange.Request, stream exchange.Stream) error {
		_ = stream.Send(sse.Event{Data: []byte("first")})
		time.Sleep(40 * time.Second)
		_ = stream.Send(sse.Event{Data: []byte("second")}) // 40 s: comments at 15 s, 30 s, then at 55 s
		time.Sleep(20 * time.Second)
		return nil
	}}
	inBubble(t, h, nil, func(t *testing.T, dial func(context.Context) (net.Conn, error)) {
		nc, err := dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		begun := time.Now()
		writeRequest(t, nc, "GET", "")
		resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		if want := "data: first\n\n: keep-alive\n\n: keep-alive\n\ndata: second\n\n: keep-alive\n\n"; err != nil || string(text) != want {
			t.Errorf("stream = %q, %v; want %q", text, err, want)
		}
		if took := time.Since(begun); took != time.Minute {
			t.Errorf("it took %v", took)
		}
	})
}

func TestAClientThatDoesNotReadIsCut(t *testing.T) {
	var sent chan error // made in the bubble
	h := &fakeHandler{listen: func(ctx context.Context, _ *exchange.Request, stream exchange.Stream) error {
		large := []byte(strings.Repeat("x", memnet.Window/4))
		for {
			if err := stream.Send(sse.Event{Data: large}); err != nil {
				if ctx.Err() == nil {
					t.Error("the context goes on")
				}
				if again := stream.Send(sse.Event{Data: large}); again == nil {
					t.Error("the next event was taken")
				}
				sent <- err
				return err
			}
		}
	}}
	inBubble(t, h, nil, func(t *testing.T, dial func(context.Context) (net.Conn, error)) {
		sent = make(chan error, 1)
		nc, err := dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		begun := time.Now()
		writeRequest(t, nc, "GET", "")
		if err := <-sent; err == nil {
			t.Error("no error")
		}
		if took := time.Since(begun); took != eventTimeout {
			t.Errorf("it took %v, want %v", took, eventTimeout)
		}
	})
}

func TestASlowAnswerIsNotCut(t *testing.T) {
	h := &fakeHandler{post: func(_ context.Context, _ *exchange.Request, m *mcp.Message, _ exchange.Stream) (exchange.Answer, error) {
		time.Sleep(10 * time.Minute)
		return exchange.Answer{Message: mcp.Answer(m.ID(), nil)}, nil
	}}
	inBubble(t, h, nil, func(t *testing.T, dial func(context.Context) (net.Conn, error)) {
		nc, err := dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		answers := bufio.NewReader(nc)
		for i := range 2 { // the second time deadlines of the first are long over
			writeRequest(t, nc, "POST", ping)
			resp, err := http.ReadResponse(answers, nil)
			if err != nil || resp.StatusCode != 200 {
				t.Fatalf("answer %d = %v, %v", i, resp, err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			time.Sleep(idleTimeout - time.Second)
		}
	})
}

func TestASlowBodyIsGivenUp(t *testing.T) {
	for token, want := range map[string]int{goodToken: 400, "wrong": 401} {
		testSlowBody(t, token, want)
	}
}

func testSlowBody(t *testing.T, token string, want int) {
	h := &fakeHandler{}
	inBubble(t, h, nil, func(t *testing.T, dial func(context.Context) (net.Conn, error)) {
		nc, err := dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		begun := time.Now()
		fmt.Fprintf(nc, "POST /mcp HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer %s\r\nContent-Length: 100\r\n\r\n{", token)
		resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
		if err != nil || resp.StatusCode != want || time.Since(begun) != bodyTimeout || h.calls.Load() != 0 {
			t.Errorf("with %s after %v: %v, %v", token, time.Since(begun), resp, err)
		}
	})
}

func TestHTTP2KeepsSilentStreams(t *testing.T) {
	certificates := httptest.NewUnstartedServer(nil)
	certificates.StartTLS()
	certificates.Close()
	h := &fakeHandler{post: func(_ context.Context, _ *exchange.Request, m *mcp.Message, stream exchange.Stream) (exchange.Answer, error) {
		_ = stream.Send(sse.Event{Data: []byte("1")})
		time.Sleep(14 * time.Second) // longer than eventTimeout, shorter than a comment's
		_ = stream.Send(sse.Event{Data: []byte("2")})
		time.Sleep(5 * time.Minute)
		return exchange.Answer{Message: mcp.Answer(m.ID(), nil)}, nil
	}}
	config := &tls.Config{Certificates: certificates.TLS.Certificates, NextProtos: []string{"h2"}}
	inBubble(t, h, config, func(t *testing.T, dial func(context.Context) (net.Conn, error)) {
		transport := &http.Transport{
			DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
			ForceAttemptHTTP2: true,
		}
		defer transport.CloseIdleConnections()
		r, _ := http.NewRequestWithContext(t.Context(), "POST", "https://gw:7440/mcp", strings.NewReader(ping))
		dress(r)
		resp, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.ProtoMajor != 2 || !strings.HasPrefix(string(text), "data: 1\n\ndata: 2\n\n: keep-alive\n\n") || !strings.HasSuffix(string(text), "\"result\":{}}\n\n") {
			t.Errorf("%s stream = %q, %v", resp.Proto, text, err)
		}
	})
}

func TestWhoAsksInVainForMemoryIsToldToComeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		budget := semaphore.NewWeighted(1 << 20)
		f := newFront(t, &fakeHandler{}, func(c *Config) { c.Budget = budget })
		post := func() *httptest.ResponseRecorder {
			r := httptest.NewRequest("POST", "http://localhost/mcp", strings.NewReader(ping))
			dress(r)
			w := httptest.NewRecorder()
			f.ServeHTTP(w, r)
			return w
		}
		if !budget.TryAcquire(1 << 20) {
			t.Fatal("the budget is not free")
		}
		begun := time.Now()
		if w := post(); w.Code != 503 || w.Header().Get("Retry-After") == "" || time.Since(begun) != budgetTimeout {
			t.Errorf("answer after %v = %d %s", time.Since(begun), w.Code, w.Body)
		}
		time.AfterFunc(budgetTimeout/2, func() { budget.Release(1 << 20) })
		if w := post(); w.Code != 200 {
			t.Errorf("when there is room in time: %d %s", w.Code, w.Body)
		}
		if !budget.TryAcquire(1 << 20) {
			t.Error("the budget was not given back whole")
		}
	})
}

func TestKeepAliveStopsWithTheStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFront(t, &fakeHandler{listen: func(_ context.Context, _ *exchange.Request, stream exchange.Stream) error {
			return errors.Join(stream.Send(sse.Event{Comment: "open"}))
		}})
		r := httptest.NewRequest("GET", "http://localhost/mcp", nil)
		dress(r, "Mcp-Session-Id", "abc")
		w := httptest.NewRecorder()
		f.ServeHTTP(w, r)
		time.Sleep(10 * exchange.KeepAlive)
		if w.Body.String() != ": open\n\n" || f.streams.count() != 0 {
			t.Errorf("stream = %q, %d open", w.Body, f.streams.count())
		}
	})
}
