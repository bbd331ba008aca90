package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// A caller is an MCP client that keeps its connections, as real ones do, and goes
// to the next node only when one takes no connection.
type caller struct {
	c       *Cluster
	http    *http.Client
	at      int // node in use
	session string
}

func newCaller(t *testing.T, c *Cluster, at int) *caller {
	t.Helper()
	transport := new(http.Transport)
	t.Cleanup(transport.CloseIdleConnections)
	k := &caller{c: c, http: &http.Client{Transport: transport}, at: at}
	if said, err := k.post(t.Context(), "", `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"caller","version":"1"}}}`); err != nil || k.session == "" {
		t.Fatalf("initialize: %s, %v", said, err)
	}
	if said, err := k.post(t.Context(), "", `{"jsonrpc":"2.0","method":"notifications/initialized"}`); err != nil {
		t.Fatalf("initialized: %s, %v", said, err)
	}
	return k
}

// post gives the body of the answer. Anything but success is an error, and so is a
// connection that breaks: nothing is sent twice.
func (k *caller) post(ctx context.Context, accept, text string) (string, error) {
	var err error
	for range k.c.nodes {
		var r *http.Request
		r, err = http.NewRequestWithContext(ctx, http.MethodPost, "http://"+k.c.nodes[k.at].mcp+"/servers/demo/mcp", strings.NewReader(text))
		if err != nil {
			return "", err
		}
		r.Header.Set("Authorization", "Bearer "+k.c.token)
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Accept", "application/json, text/event-stream")
		if accept != "" {
			r.Header.Set("Accept", accept)
		}
		if k.session != "" {
			r.Header.Set("Mcp-Session-Id", k.session)
		}
		var a *http.Response
		if a, err = k.http.Do(r); err != nil {
			if isDial(unwrapped(err)) {
				k.at = (k.at + 1) % len(k.c.nodes)
				continue
			}
			return "", err
		}
		defer a.Body.Close()
		body, err := io.ReadAll(a.Body)
		if k.session == "" {
			k.session = a.Header.Get("Mcp-Session-Id")
		}
		if err == nil && a.StatusCode >= 300 {
			err = fmt.Errorf("status %d: %s", a.StatusCode, body)
		}
		return string(body), err
	}
	return "", err
}

// unwrapped is err without the method and the URL.
func unwrapped(err error) error {
	if inner, ok := err.(interface{ Unwrap() error }); ok {
		return inner.Unwrap()
	}
	return err
}

func (k *caller) call(ctx context.Context, accept, tool, arguments string) (string, error) {
	return k.post(ctx, accept, fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":%q,"arguments":%s}}`, tool, arguments))
}

// TestStoppingANodeFailsNoCallThatEndsInTime stops the leader with SIGTERM while
// clients work. No call fails that ends within the drain, begun before it or after,
// and none is done twice; one that takes longer is told that its outcome is unknown.
// The process ends in time, and well.
func TestStoppingANodeFailsNoCallThatEndsInTime(t *testing.T) {
	t.Parallel()
	c := NewCluster(t, "e2e", 3)
	c.settings = []string{"shutdown.drain=12s"} // of which 8 s are for calls
	c.StartAll()
	upstream := startCounted(t)
	if out, talk, code := c.Run("upstreams", "add", "demo", upstream.URL+"/mcp"); code != 0 {
		t.Fatalf("adding the upstream: %d\n%s%s", code, out, talk)
	}
	for i := range c.nodes {
		c.Ready(i)
	}
	stopped := c.Leader()
	var begun atomic.Int64
	done := make(chan struct{})
	var group sync.WaitGroup
	for w := range 6 { // quick calls, all of them at first to the node that stops
		k := newCaller(t, c, stopped)
		group.Go(func() {
			pace := time.NewTicker(10 * time.Millisecond) // the counter knows 10,000 keys
			defer pace.Stop()
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				case <-pace.C:
				}
				key := fmt.Sprintf("w%d-%d", w, n)
				begun.Add(1)
				if said, err := k.call(t.Context(), "", "count", `{"key":"`+key+`"}`); err != nil || !strings.Contains(said, `"key_calls":1`) {
					t.Errorf("call %s: %q, %v", key, said, err)
				}
			}
		})
	}
	slow, long := newCaller(t, c, stopped), newCaller(t, c, stopped)
	group.Go(func() {
		said, err := slow.call(t.Context(), "", "slow", `{"steps":5,"delay_ms":1000}`)
		if err != nil || !strings.Contains(said, "took 5 steps") {
			t.Errorf("a call of 5 s: %q, %v", said, err)
		}
	})
	group.Go(func() {
		said, err := long.call(t.Context(), "application/json", "slow", `{"steps":1,"delay_ms":60000}`)
		if err != nil || !strings.Contains(said, `"reason":"outcome_unknown"`) {
			t.Errorf("a call of 60 s: %q, %v", said, err)
		}
	})
	eventually(t, "load", func() bool { return begun.Load() > 200 })
	before := begun.Load()
	if err := syscall.Kill(c.nodes[stopped].pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := c.nodes[stopped].Wait(); code != 0 {
		t.Errorf("the node ends with %d", code)
	}
	close(done)
	group.Wait()
	upstream.mu.Lock()
	defer upstream.mu.Unlock()
	for key, times := range upstream.calls {
		if times > 1 {
			t.Errorf("call %s was done %d times", key, times)
		}
	}
	t.Logf("%d calls, %d of them after SIGTERM", begun.Load(), begun.Load()-before)
}
