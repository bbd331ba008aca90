package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/mcpraft/mcpraft/server/adminapi"
)

// frontKills is how often benchFailoverFront kills the node of its client.
const frontKills = 10

// benchFailoverFront: kill -9 of the node that a client talks to, to the client's
// next successful call in the same session, on another node.
func benchFailoverFront(ctx context.Context, o options) error {
	c, err := startOurs(ctx, o)
	if err != nil {
		return err
	}
	defer c.close()
	admin, err := adminapi.New(adminapi.Config{Addrs: c.addrs, Token: c.token, Timeout: 2 * time.Second})
	if err != nil {
		return err
	}
	defer admin.Close()
	client := &roamer{token: c.token, http: &http.Client{Timeout: 5 * time.Second}}
	if err := client.follow(c); err != nil {
		return err
	}
	if err := client.open(ctx); err != nil {
		return err
	}
	var gaps []time.Duration
	for i := range frontKills {
		if err := settled(ctx, admin); err != nil {
			return err
		}
		if err := client.follow(c); err != nil {
			return err
		}
		gap, err := client.survive(ctx, i)
		if err != nil {
			return err
		}
		progress("failover-front %d of %d: %v", i+1, frontKills, gap.Round(time.Millisecond))
		gaps = append(gaps, gap)
	}
	slices.Sort(gaps)
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	line{
		Bench: "failover-front", Ours: ms(gaps[len(gaps)-1]), Unit: "ms, longest", P50: ms(quantile(gaps, 0.5)), Nodes: nodes,
		Conditions: fmt.Sprintf("kill -9 of the client's node to its next successful tools/call in the same session, %d kills, the nodes in turn, whoever leads; %s", frontKills, machine()),
	}.print()
	return nil
}

// A roamer is a client with one session that goes to the next node when the one
// it talks to does not answer.
type roamer struct {
	http    *http.Client
	token   string
	session string
	nodes   []devNode
	at      int // the node it talks to
}

// follow learns the process ids as they are now.
func (r *roamer) follow(c *cluster) error {
	ready, err := c.ready()
	r.nodes = ready.Nodes
	return err
}

// survive kills node i as soon as the client talks to it, and calls until it is
// answered.
func (r *roamer) survive(ctx context.Context, i int) (time.Duration, error) {
	r.at = i % len(r.nodes)
	if err := r.call(ctx); err != nil {
		return 0, fmt.Errorf("before the kill: %w", err)
	}
	if err := syscall.Kill(r.nodes[r.at].PID, syscall.SIGKILL); err != nil {
		return 0, err
	}
	dead := time.Now()
	for time.Since(dead) < 30*time.Second {
		if r.call(ctx) == nil {
			return time.Since(dead), nil
		}
		r.at = (r.at + 1) % len(r.nodes)
	}
	return 0, fmt.Errorf("no call was answered within 30 s of the death of %s", r.nodes[i%len(r.nodes)].ID)
}

func (r *roamer) open(ctx context.Context) error {
	answer, err := r.post(ctx, `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"roamer","version":"1"}}}`)
	if err != nil {
		return err
	}
	r.session = answer.Get("Mcp-Session-Id")
	_, err = r.post(ctx, `{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	return err
}

func (r *roamer) call(ctx context.Context) error {
	_, err := r.post(ctx, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add","arguments":{"a":2,"b":3}}}`)
	return err
}

func (r *roamer) post(ctx context.Context, body string) (http.Header, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, r.nodes[r.at].MCP+"/servers/demo/mcp", strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	q.Header.Set("Authorization", "Bearer "+r.token)
	q.Header.Set("Accept", "application/json, text/event-stream")
	q.Header.Set("Content-Type", "application/json")
	if r.session != "" {
		q.Header.Set("Mcp-Session-Id", r.session)
		q.Header.Set("Mcp-Protocol-Version", "2025-11-25")
	}
	answer, err := r.http.Do(q)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	if answer.StatusCode >= 300 || strings.Contains(string(text), `"error"`) {
		return nil, fmt.Errorf("%s: %s", answer.Status, text)
	}
	return answer.Header, nil
}
