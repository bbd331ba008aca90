package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mcpraft/mcpraft/server/demo"
)

// A counted upstream is the demo server with a look at what reaches it: how often
// each call that must not be done twice was asked for.
type countedUpstream struct {
	*httptest.Server
	mu    sync.Mutex
	calls map[string]int // by key
}

func startCounted(t *testing.T) *countedUpstream {
	t.Helper()
	u := &countedUpstream{calls: make(map[string]int)}
	server := demo.New()
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		u.count(body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		server.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		server.Close()
		u.CloseClientConnections()
		u.Close()
	})
	return u
}

func (u *countedUpstream) count(body []byte) {
	var m struct {
		Method string
		Params struct {
			Name      string
			Arguments struct{ Key string }
		}
	}
	if json.Unmarshal(body, &m) != nil || m.Method != "tools/call" || m.Params.Name != "count" {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.calls[m.Params.Arguments.Key]++
}

// An outcome is one line of test/peers/load.mjs.
type outcome struct {
	Kind    string // session, count, list, confirm, slow, silent, progress
	Key     string
	Outcome string // ok, failed, lost
	Why     string
	Heard   int // progress: notifications
	MS      int
}

// TestClientsSurviveKills lets official clients of both eras work through a
// balancer while every node in turn is killed and started again. Nothing is lost
// (each step is answered or fails with a reason), no call is done twice, and a
// session keeps its id.
func TestClientsSurviveKills(t *testing.T) {
	t.Parallel()
	c := StartCluster(t, 3)
	upstream := startCounted(t)
	if out, talk, code := c.Run("upstreams", "add", "demo", upstream.URL+"/mcp"); code != 0 {
		t.Fatalf("adding the upstream: %d\n%s%s", code, out, talk)
	}
	for i := range c.nodes {
		c.Ready(i)
	}
	url := startBalancer(t, "", c.mcp()...).URL + "/servers/demo/mcp"
	clients := map[string][]string{
		"sdk 1, legacy":     {"legacy.mjs", url, c.token, "25"},
		"sdk 2, legacy":     {"modern.mjs", url, c.token, "25", "legacy"},
		"sdk 2, 2026-07-28": {"modern.mjs", url, c.token, "25", "2026-07-28"},
	}
	outputs := make(map[string]string)
	var mu sync.Mutex
	var running sync.WaitGroup
	for name, args := range clients {
		script := peerFile(t, args[0])
		running.Go(func() {
			text, code := node(t, t.TempDir(), nil, append([]string{script}, args[1:]...)...)
			if code != 0 {
				t.Errorf("%s ends with %d:\n%s", name, code, lastLines(text, 20))
			}
			mu.Lock()
			defer mu.Unlock()
			outputs[name] = text
		})
	}
	done := make(chan struct{})
	go func() { running.Wait(); close(done) }()
	kills := c.killInTurn(done, 2*time.Second)
	for name, text := range outputs {
		judge(t, name, text, upstream)
	}
	t.Logf("%d kills", kills)
}

// killInTurn kills one node after the other, each once the one before is ready
// again and pause has passed, until done.
func (c *Cluster) killInTurn(done <-chan struct{}, pause time.Duration) (kills int) {
	c.t.Helper()
	for {
		select {
		case <-done:
			return kills
		case <-time.After(pause):
		}
		i := kills % len(c.nodes)
		c.nodes[i].Kill()
		kills++
		select {
		case <-done:
		case <-time.After(pause / 4):
		}
		c.Start(i)
		c.Ready(i)
	}
}

// judge counts what a client saw and compares it with what the upstream did.
func judge(t *testing.T, name, text string, upstream *countedUpstream) {
	t.Helper()
	counts := make(map[string]int)
	reasons := make(map[string]int)
	var sessions []string
	for line := range strings.Lines(text) {
		var o outcome
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Logf("%s says %s", name, line)
			continue
		}
		counts[o.Kind+" "+o.Outcome]++
		switch {
		case o.Kind == "session":
			sessions = append(sessions, o.Key)
		case o.Outcome == "lost":
			t.Errorf("%s: %s %s was lost after %d ms", name, o.Kind, o.Key, o.MS)
		case o.Outcome == "failed" && o.Why == "":
			t.Errorf("%s: %s %s failed without a reason", name, o.Kind, o.Key)
		case o.Outcome == "failed":
			reasons[o.Why]++
		}
		if o.Kind != "count" {
			continue
		}
		upstream.mu.Lock()
		times := upstream.calls[o.Key]
		upstream.mu.Unlock()
		if times > 1 || times == 0 && o.Outcome == "ok" {
			t.Errorf("%s: call %s (%s) was done %d times", name, o.Key, o.Outcome, times)
		}
	}
	if len(sessions) != 2 || sessions[0] != sessions[1] {
		t.Errorf("%s: the session was %q", name, sessions)
	}
	if counts["count ok"] < 50 || counts["confirm ok"] == 0 || counts["slow ok"] == 0 {
		t.Errorf("%s: too little went well", name)
	}
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		t.Logf("%-18s %-16s %d", name, kind, counts[kind])
	}
	for _, why := range slices.Sorted(maps.Keys(reasons)) {
		t.Logf("%-18s %4d × %.160s", name, reasons[why], why)
	}
}
