package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A frontNode answers its name on the MCP port and says of itself whether it is
// ready.
type frontNode struct {
	*httptest.Server
	ready atomic.Bool
}

func newFrontNode(t *testing.T, name string) *frontNode {
	n := new(frontNode)
	n.ready.Store(true)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /name", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, name) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !n.ready.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	n.Server = httptest.NewServer(mux)
	t.Cleanup(n.Close)
	return n
}

func (n *frontNode) target() devTarget {
	return devTarget{mcp: strings.TrimPrefix(n.URL, "http://"), probe: n.URL + "/readyz"}
}

// startFront runs a front port over nodes and returns its base URL.
func startFront(t *testing.T, nodes ...*frontNode) string {
	t.Helper()
	l, err := net.Listen("tcp", loopback(0))
	if err != nil {
		t.Fatal(err)
	}
	var targets []devTarget
	for _, n := range nodes {
		targets = append(targets, n.target())
	}
	f := newDevFront(l, targets)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("front: %v", err)
		}
	})
	return "http://" + l.Addr().String()
}

// whoAnswers asks over a connection of its own.
func whoAnswers(t *testing.T, base string) string {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: frontHold + 5*time.Second}
	resp, err := client.Get(base + "/name")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	name, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(name)
}

// eventually waits until want holds; the test ends when it does not within 10 s.
func eventually(t *testing.T, what string, want func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(10 * time.Second)
	for !want() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

func TestFrontStaysWithANodeUntilItIsNotReady(t *testing.T) {
	a, b := newFrontNode(t, "a"), newFrontNode(t, "b")
	b.ready.Store(false)
	base := startFront(t, a, b)
	eventually(t, "a answers", func() bool { return whoAnswers(t, base) == "a" })

	b.ready.Store(true)
	for range 10 {
		if who := whoAnswers(t, base); who != "a" {
			t.Fatalf("%s answers while a is ready", who)
		}
	}
	a.ready.Store(false)
	eventually(t, "b takes over", func() bool { return whoAnswers(t, base) == "b" })
	a.ready.Store(true)
	for range 10 {
		if who := whoAnswers(t, base); who != "b" {
			t.Fatalf("%s answers while b is ready", who)
		}
	}
}

func TestFrontPassesADeadNodeOver(t *testing.T) {
	a, b := newFrontNode(t, "a"), newFrontNode(t, "b")
	base := startFront(t, a, b)
	who := whoAnswers(t, base)
	map[string]*frontNode{"a": a, "b": b}[who].Close()
	other := map[string]string{"a": "b", "b": "a"}[who]
	if now := whoAnswers(t, base); now != other {
		t.Errorf("%q answers after %s died, want %s at once", now, who, other)
	}
}

func TestFrontUsesANodeThatIsNotReadyWhenNoneIs(t *testing.T) {
	a := newFrontNode(t, "a")
	a.ready.Store(false)
	if who := whoAnswers(t, startFront(t, a)); who != "a" {
		t.Errorf("%q answers, want a: a known session needs no leader", who)
	}
}

func TestFrontEndsConnectionsOfADeadNode(t *testing.T) {
	l, err := net.Listen("tcp", loopback(0))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	node := new(frontNode)
	node.Server = httptest.NewUnstartedServer(http.NotFoundHandler())
	node.URL = "http://" + l.Addr().String()
	base := startFront(t, node)

	client, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := io.WriteString(client, "x"); err != nil {
		t.Fatal(err)
	}
	for { // the probes of the front come to the same port
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		first := make([]byte, 1)
		_, _ = io.ReadFull(conn, first)
		conn.Close()
		if first[0] == 'x' {
			break
		}
	}
	if _, err := client.Read(make([]byte, 1)); err == nil {
		t.Error("the client's connection lives on without its node")
	}
}
