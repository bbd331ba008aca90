package upstream_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/mcp"
	"github.com/mcpraft/mcpraft/server/upstream"
)

// A wireServer is an upstream over real TCP that answers initialize as it should,
// and each tools/call by the bytes that its script gives for the how-manieth it is;
// "" closes the connection. After an answer it may say more, or close.
type wireServer struct {
	t      *testing.T
	ups    *upstream.Upstreams
	answer func(call int, id string) (text string, then func(net.Conn))

	mu    sync.Mutex
	conns int
	calls int
	gone  chan struct{} // a then has been called
	ended chan struct{} // a connection has ended
}

func newWireServer(t *testing.T, answer func(call int, id string) (string, func(net.Conn))) *wireServer {
	t.Helper()
	s := &wireServer{t: t, answer: answer, gone: make(chan struct{}, 64), ended: make(chan struct{}, 64)}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.ups = upstream.New(upstream.Config{AllowPrivate: true, Lookup: func(string) (record.Upstream, error) {
		return record.Upstream{Alias: "up", Transport: "http", URL: "http://" + l.Addr().String() + "/mcp", Revision: 1}, nil
	}})
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { nc.Close() })
			s.mu.Lock()
			s.conns++
			s.mu.Unlock()
			serving.Go(func() { s.serve(nc) })
		}
	})
	t.Cleanup(serving.Wait)
	t.Cleanup(func() { l.Close() })
	return s
}

func (s *wireServer) serve(nc net.Conn) {
	defer func() {
		nc.Close()
		s.ended <- struct{}{}
	}()
	r := bufio.NewReader(nc)
	for {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		m, err := mcp.Parse(body, mcp.Inbound)
		if err != nil {
			s.t.Errorf("the upstream got %q: %v", body, err)
			return
		}
		text, then := s.reply(m)
		if text == "" {
			return
		}
		if _, err := io.WriteString(nc, text); err != nil {
			return
		}
		if then != nil {
			then(nc)
			s.gone <- struct{}{}
		}
	}
}

func (s *wireServer) reply(m *mcp.Message) (text string, then func(net.Conn)) {
	switch {
	case m.Kind() != mcp.KindRequest:
		return "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n", nil
	case m.Method() == mcp.ToolsCall:
		s.mu.Lock()
		s.calls++
		n := s.calls
		s.mu.Unlock()
		return s.answer(n, string(m.ID()))
	case m.Method() == mcp.Initialize:
		return jsonAnswer("Mcp-Session-Id: s\r\n", string(m.ID()), `{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"n","version":"1"}}`), nil
	}
	text = fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"no such method"}}`, m.ID())
	return fmt.Sprintf("HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(text), text), nil
}

func jsonAnswer(headers, id, result string) string {
	text := fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":%s}`, id, result)
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n%s", headers, len(text), text)
}

// counts are how many connections there were, and how many calls came.
func (s *wireServer) counts() (conns, calls int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns, s.calls
}

func (s *wireServer) call() error {
	m, err := mcp.Parse([]byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo"}}`), mcp.Inbound)
	if err != nil {
		s.t.Fatal(err)
	}
	_, err = s.ups.Call(s.t.Context(), "up", user("a"), m, nil)
	return err
}

// twentyCalls makes as many calls, which must succeed, and reports how many
// connections there were in all.
func (s *wireServer) twentyCalls() (conns int) {
	s.t.Helper()
	for range 20 {
		if err := s.call(); err != nil {
			s.t.Fatal(err)
		}
	}
	conns, _ = s.counts()
	return conns
}

func TestConnectionsAreUsedAgain(t *testing.T) {
	chunk := func(id string) string {
		text := fmt.Sprintf("event: message\ndata: {\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":{}}\n\n", id)
		return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(text), text)
	}
	for name, answer := range map[string]func(int, string) (string, func(net.Conn)){
		"JSON":   func(_ int, id string) (string, func(net.Conn)) { return jsonAnswer("", id, "{}"), nil },
		"stream": func(_ int, id string) (string, func(net.Conn)) { return chunk(id), nil },
		"interim answers": func(_ int, id string) (string, func(net.Conn)) {
			return "HTTP/1.1 103 Early Hints\r\n\r\n" + jsonAnswer("", id, "{}"), nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			if conns := newWireServer(t, answer).twentyCalls(); conns != 1 {
				t.Errorf("%d connections", conns)
			}
		})
	}
}

func TestConnectionsThatTheUpstreamEndsAreNotUsedAgain(t *testing.T) {
	for name, headers := range map[string]string{"Connection: close": "Connection: close\r\n", "Keep-Alive of a second": "Keep-Alive: max=5, timeout=1\r\n"} {
		t.Run(name, func(t *testing.T) {
			s := newWireServer(t, func(_ int, id string) (string, func(net.Conn)) { return jsonAnswer(headers, id, "{}"), nil })
			if conns := s.twentyCalls(); conns != 20 {
				t.Errorf("%d connections for 20 calls", conns)
			}
		})
	}
}

// What has happened to an idle connection is seen before it is used: no call fails,
// and none is sent twice.
func TestAnIdleConnectionIsLookedAtBeforeItIsUsed(t *testing.T) {
	for name, then := range map[string]func(net.Conn){
		"closed": func(nc net.Conn) { nc.Close() },
		"unasked": func(nc net.Conn) {
			_, _ = io.WriteString(nc, "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newWireServer(t, func(_ int, id string) (string, func(net.Conn)) { return jsonAnswer("", id, "{}"), then })
			for i := range 5 {
				if err := s.call(); err != nil {
					t.Fatalf("call %d: %v", i+1, err)
				}
				<-s.gone
			}
			if _, calls := s.counts(); calls != 5 {
				t.Errorf("the upstream saw %d calls", calls)
			}
		})
	}
}

func TestWhatBreaksAfterItWasSentIsNotSentAgain(t *testing.T) {
	for name, broken := range map[string]string{
		"no answer":    "",
		"half a head":  "HTTP/1.1 200 OK\r\nContent-Le",
		"half a body":  "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{",
		"endless head": "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 200<<10),
		"no HTTP":      "hello\r\n\r\n",
		"an upgrade":   "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			s := newWireServer(t, func(call int, id string) (string, func(net.Conn)) {
				if call == 2 {
					return broken, func(nc net.Conn) { nc.Close() }
				}
				return jsonAnswer("", id, "{}"), nil
			})
			if err := s.call(); err != nil {
				t.Fatal(err)
			}
			if err := s.call(); fault.Of(err) != fault.OutcomeUnknown {
				t.Errorf("error = %v (%v)", err, fault.Of(err))
			}
			if _, calls := s.counts(); calls != 2 {
				t.Errorf("the upstream saw %d calls", calls)
			}
			if err := s.call(); err != nil {
				t.Errorf("the next call: %v", err)
			}
		})
	}
}

func TestALargeRequestArrivesWhole(t *testing.T) {
	s := newWireServer(t, func(_ int, id string) (string, func(net.Conn)) { return jsonAnswer("", id, "{}"), nil })
	for _, size := range []int{10, 60 << 10, 70 << 10, 3 << 20} {
		m, err := mcp.Parse(fmt.Appendf(nil, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":%q}}`, strings.Repeat("x", size)), mcp.Inbound)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.ups.Call(t.Context(), "up", user("a"), m, nil); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

func TestIdleConnectionsEndWithTheNode(t *testing.T) {
	s := newWireServer(t, func(_ int, id string) (string, func(net.Conn)) { return jsonAnswer("", id, "{}"), nil })
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = s.ups.Run(ctx) })
	s.twentyCalls()
	if n := s.ups.Stats()[0].Connections; n != 1 {
		t.Errorf("%d connections", n)
	}
	stop()
	running.Wait()
	<-s.ended
}
