package front

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/sse"
	"github.com/mcpraft/mcpraft/server/exchange"
	"github.com/mcpraft/mcpraft/server/mcp"
)

// contract is requests that the lane takes: net/http must answer them alike.
var contract = map[string]string{
	"request":        wire("/servers/a/mcp", ping, "Authorization: Bearer "+goodToken),
	"notification":   wire("/mcp", `{"jsonrpc":"2.0","method":"notifications/initialized"}`, "Authorization: Bearer "+goodToken),
	"batch":          wire("/mcp", "["+ping+"]", "Authorization: Bearer "+goodToken),
	"session":        wire("/mcp", `{"jsonrpc":"2.0","id":7,"method":"initialize"}`, "Authorization: Bearer "+goodToken),
	"stream":         wire("/mcp", `{"jsonrpc":"2.0","id":7,"method":"tools/call"}`, "Authorization: Bearer "+goodToken, "Accept: text/event-stream"),
	"JSON only":      wire("/mcp", `{"jsonrpc":"2.0","id":7,"method":"tools/call"}`, "Authorization: Bearer "+goodToken, "Accept: application/json"),
	"failure":        wire("/mcp", `{"jsonrpc":"2.0","id":7,"method":"resources/read"}`, "Authorization: Bearer "+goodToken),
	"large":          wire("/mcp", `{"jsonrpc":"2.0","id":7,"method":"tools/list"}`, "Authorization: Bearer "+goodToken),
	"large body":     wire("/mcp", `{"jsonrpc":"2.0","id":7,"method":"ping","params":{"x":"`+strings.Repeat("x", 300<<10)+`"}}`, "Authorization: Bearer "+goodToken),
	"empty":          wire("/mcp", "", "Authorization: Bearer "+goodToken),
	"no JSON":        wire("/mcp", "{", "Authorization: Bearer "+goodToken),
	"media type":     wire("/mcp", ping, "Authorization: Bearer "+goodToken, "Content-Type: text/html"),
	"encoding":       wire("/mcp", ping, "Authorization: Bearer "+goodToken, "Content-Encoding: gzip"),
	"no token":       wire("/mcp", ping),
	"wrong token":    wire("/mcp", ping, "Authorization: Bearer x"),
	"two tokens":     wire("/mcp", ping, "Authorization: Bearer "+goodToken, "Authorization: Bearer "+goodToken),
	"foreign host":   strings.Replace(wire("/mcp", ping, "Authorization: Bearer "+goodToken), "Host: localhost", "Host: evil.example", 1),
	"foreign origin": wire("/mcp", ping, "Authorization: Bearer "+goodToken, "Origin: https://evil.example"),
	"own origin":     wire("/mcp", ping, "Authorization: Bearer "+goodToken, "Origin: http://localhost:3000"),
	"nothing there":  wire("/nowhere", ping, "Authorization: Bearer "+goodToken),
	"discovery":      wire("/.well-known/oauth-protected-resource", "{}"),
	"headers":        wire("/mcp", ping, "authorization: bearer "+goodToken, "mcp-session-id:  s ", "MCP-Protocol-Version: 2025-06-18", "Mcp-Param-A: 1", "mcp-param-a: 2", "Mcp-Name:"),
}

// wire is a POST whose answers carry a known request id.
func wire(path, text string, headers ...string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: localhost\r\nMcpraft-Request-Id: the-contract\r\n%s\r\nContent-Length: %d\r\n\r\n%s",
		path, strings.Join(append(headers, "X: y"), "\r\n"), len(text), text)
}

// sightings are what a handler was told, in order.
type sightings struct {
	mu   sync.Mutex
	list []string
}

func (s *sightings) add(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, what)
}

func (s *sightings) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.list
	s.list = nil
	return list
}

// contractHandler answers in each of the ways that a handler can, and repeats what
// it was told of the request.
func contractHandler(seen *sightings) *fakeHandler {
	return &fakeHandler{
		post: func(_ context.Context, r *exchange.Request, m *mcp.Message, s exchange.Stream) (exchange.Answer, error) {
			param := ""
			if r.Param != nil {
				param, _ = r.Param("a")
			}
			seen.add(fmt.Sprintf("%q %q %v %q %v %q %v %v", r.Alias, r.Session, r.HasVersion, r.Version, r.HasName, param, r.JSONOnly, m.Method()))
			switch m.Method() {
			case mcp.ToolsCall:
				for range 2 {
					_ = s.Send(sse.Event{Data: []byte(`{"jsonrpc":"2.0","method":"notifications/message"}`), ID: "e", HasID: true})
				}
			case mcp.ResourcesRead:
				return exchange.Answer{}, fault.New(fault.Overloaded, "too much").After(3 * time.Second)
			case mcp.Initialize:
				return exchange.Answer{Message: mcp.Answer(m.ID(), nil), Session: "new"}, nil
			case mcp.ToolsList:
				return exchange.Answer{Message: mcp.Answer(m.ID(), []byte(`{"x":"`+strings.Repeat("y", 100<<10)+`"}`))}, nil
			}
			if m.Kind() != mcp.KindRequest {
				return exchange.Answer{}, nil
			}
			return exchange.Answer{Message: mcp.Answer(m.ID(), []byte(`{"ok":true}`))}, nil
		},
		batch: func(_ context.Context, _ *exchange.Request, list []*mcp.Message, _ exchange.Stream) ([]*mcp.Message, error) {
			seen.add(fmt.Sprint("batch of ", len(list)))
			return []*mcp.Message{mcp.Answer(list[0].ID(), nil)}, nil
		},
	}
}

// TestBothCarriersAnswerAlike sends the same bytes to the lane and to net/http, each
// request twice on one connection.
func TestBothCarriersAnswerAlike(t *testing.T) {
	var seen sightings
	f := newFront(t, contractHandler(&seen))
	lane, plain := httptest.NewUnstartedServer(nil), httptest.NewUnstartedServer(nil)
	server, netServer := f.Server(), f.netServer()
	done := make(chan error, 2)
	go func() { done <- server.Serve(lane.Listener) }()
	go func() { done <- netServer.Serve(plain.Listener) }()
	t.Cleanup(func() {
		server.Close()
		netServer.Close()
		<-done
		<-done
	})
	for name, text := range contract {
		t.Run(name, func(t *testing.T) {
			got, told := answers(t, lane.Listener.Addr(), text+text), seen.take()
			want, wantTold := answers(t, plain.Listener.Addr(), text+text), seen.take()
			if !slices.Equal(got, want) {
				t.Errorf("the lane answers\n%.400s\nnet/http answers\n%.400s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			if !slices.Equal(told, wantTold) {
				t.Errorf("the lane tells the handler\n%q\nnet/http tells it\n%q", told, wantTold)
			}
		})
	}
}

// answers are two answers to what is sent at once, as text.
func answers(t *testing.T, addr net.Addr, text string) (list []string) {
	t.Helper()
	nc, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	go func() { _, _ = io.WriteString(nc, text) }() // ends with the connection
	r := bufio.NewReader(nc)
	for range 2 {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return append(list, "no answer")
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		if resp.Header.Get("Date") == "" {
			t.Error("the answer has no Date")
		}
		resp.Header.Del("Date")
		list = append(list, fmt.Sprintf("%s %v %d %q close %v\n%s", resp.Status, resp.Header, resp.ContentLength, resp.TransferEncoding, resp.Close, body))
	}
	return list
}
