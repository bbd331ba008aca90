package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// officialCluster is three nodes with the reference server behind them and a
// balancer before them, and the URL at which a client reaches it through the next node, each request another.
func officialCluster(t *testing.T) (c *Cluster, b *balancer, url string) {
	t.Helper()
	c = StartCluster(t, 3)
	_, port, _ := net.SplitHostPort(freePorts(t, 1)[0])
	if out, talk, code := c.Run("upstreams", "add", "official", startReference(t, port)); code != 0 {
		t.Fatalf("adding the upstream: %d\n%s%s", code, out, talk)
	}
	for i := range c.nodes {
		c.Ready(i)
	}
	b = startBalancer(t, "", c.mcp()...)
	return c, b, b.URL + "/servers/official/mcp"
}

// TestTypeScriptClientTalksToAnOfficialServer walks the TypeScript SDK through all
// that the reference server has, on one session over three nodes, and kills the
// node that has a call while the server is silent: the client gets the answer.
func TestTypeScriptClientTalksToAnOfficialServer(t *testing.T) {
	t.Parallel()
	c, b, url := officialCluster(t)
	client := startProgram(t, "typescript", t.TempDir(), nodeBinary(t), peerFile(t, "official.mjs"), url, c.token)
	c.killSilent(b)
	wantSteps(t, client, officialSteps)
}

// officialSteps are those of test/peers/official.mjs.
var officialSteps = []string{"tools", "call", "progress", "elicitation", "resource", "updated", "prompt", "completion", "silent", "after", "delete"}

// TestGoSDKClientWorksThroughAnyNode does the same with the go-sdk's client.
func TestGoSDKClientWorksThroughAnyNode(t *testing.T) {
	t.Parallel()
	c, b, url := officialCluster(t)
	g := startGoClient(t, "go", url, c.token, "2025-11-25")
	if g.ID() == "" {
		t.Fatal("there is no session")
	}
	g.walk(t)
	g.elicit(t)
	g.subscribe(t)

	silent := make(chan error, 1)
	go func() {
		text, err := g.tool(t.Context(), "trigger-long-running-operation", map[string]any{"duration": 11, "steps": 1})
		if err == nil && !strings.Contains(text, "completed") {
			err = errors.New(text)
		}
		silent <- err
	}()
	killed := c.killSilent(b)
	if err := <-silent; err != nil {
		t.Errorf("the call that was silent while its node died: %v", err)
	}
	c.Start(killed)
	c.Ready(killed)
	g.walk(t)

	id, gone := g.ID(), &person{t: t, alias: "official", token: c.token}
	if err := g.Close(); err != nil {
		t.Errorf("closing the session: %v", err)
	}
	for i := range c.nodes {
		c.Ready(i)
		// The node that ended it knows; the others do when they have applied it.
		eventually(t, c.nodes[i].id+" answers 404 for the deleted session", func() bool {
			return gone.status(http.MethodPost, c.nodes[i], id, "", ping) == http.StatusNotFound
		})
	}
}

// TestGoSDKClientOfTheModernEraReachesALegacyServer does what can be done between
// the eras: the client has no session, and the server knows only sessions.
func TestGoSDKClientOfTheModernEraReachesALegacyServer(t *testing.T) {
	t.Parallel()
	c, _, url := officialCluster(t)
	g := startGoClient(t, "modern", url, c.token, "2026-07-28")
	if v := g.InitializeResult().ProtocolVersion; v != "2026-07-28" || g.ID() != "" {
		t.Errorf("the client speaks %s in session %q", v, g.ID())
	}
	g.walk(t)
	c.nodes[1].Kill()
	g.walk(t)
}

// killSilent kills the node that has the silent call, once its client has been
// told how to come back. It returns the node's place.
func (c *Cluster) killSilent(b *balancer) int {
	c.t.Helper()
	eventually(c.t, "the silent call has a stream", func() bool { return b.silent.Load() != nil })
	i := slices.Index(c.mcp(), *b.silent.Load())
	c.nodes[i].Kill()
	return i
}

// A goClient is a client of the go-sdk, and what it was told.
type goClient struct {
	*mcp.ClientSession
	mu       sync.Mutex
	progress int
	updated  chan string
}

func startGoClient(t *testing.T, name, url, token, revision string) *goClient {
	t.Helper()
	g := &goClient{updated: make(chan string, 16)}
	client := mcp.NewClient(&mcp.Implementation{Name: name, Version: "1"}, &mcp.ClientOptions{
		ElicitationHandler: func(context.Context, *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
			return &mcp.ElicitResult{Action: "accept", Content: map[string]any{"name": "Ada"}}, nil
		},
		ProgressNotificationHandler: func(context.Context, *mcp.ProgressNotificationClientRequest) {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.progress++
		},
		ResourceUpdatedHandler: func(_ context.Context, r *mcp.ResourceUpdatedNotificationRequest) {
			select {
			case g.updated <- r.Params.URI:
			default:
			}
		},
	})
	transport := &mcp.StreamableClientTransport{
		Endpoint: url, MaxRetries: 10,
		HTTPClient: &http.Client{Transport: bearer(token)},
	}
	var err error
	if g.ClientSession, err = client.Connect(t.Context(), transport, &mcp.ClientSessionOptions{ProtocolVersion: revision}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.Close() })
	return g
}

// A bearer is a token that goes with every request.
type bearer string

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+string(b))
	return http.DefaultTransport.RoundTrip(r)
}

// tool calls a tool and returns its text.
func (g *goClient) tool(ctx context.Context, name string, arguments map[string]any) (string, error) {
	params := &mcp.CallToolParams{Name: name, Arguments: arguments}
	params.SetProgressToken("progress of " + name)
	result, err := g.CallTool(ctx, params)
	if err != nil {
		return "", err
	}
	var text strings.Builder
	for _, content := range result.Content {
		if c, ok := content.(*mcp.TextContent); ok {
			text.WriteString(c.Text)
		}
	}
	if result.IsError {
		return "", errors.New(text.String())
	}
	return text.String(), nil
}

// walk asks for everything that needs no question back, several times, so that
// each kind of request reaches each node.
func (g *goClient) walk(t *testing.T) {
	t.Helper()
	g.mu.Lock()
	g.progress = 0
	g.mu.Unlock()
	for n := range 4 {
		tools, err := g.ListTools(t.Context(), nil)
		if err != nil || len(tools.Tools) < 10 {
			t.Fatalf("listing tools: %v, %v", tools, err)
		}
		if text, err := g.tool(t.Context(), "get-sum", map[string]any{"a": n, "b": 40}); err != nil || !strings.Contains(text, fmt.Sprint(n+40)) {
			t.Errorf("the sum: %q, %v", text, err)
		}
		if _, err := g.tool(t.Context(), "trigger-long-running-operation", map[string]any{"duration": 0.2, "steps": 4}); err != nil {
			t.Errorf("a call with progress: %v", err)
		}
		read, err := g.ReadResource(t.Context(), &mcp.ReadResourceParams{URI: "demo://resource/dynamic/text/7"})
		if err != nil || len(read.Contents) != 1 || !strings.Contains(read.Contents[0].Text, "Resource 7") {
			t.Errorf("reading a resource: %v, %v", read, err)
		}
		prompt, err := g.GetPrompt(t.Context(), &mcp.GetPromptParams{Name: "args-prompt", Arguments: map[string]string{"city": "Paris"}})
		if err != nil || len(prompt.Messages) != 1 {
			t.Errorf("getting a prompt: %v, %v", prompt, err)
		}
		completed, err := g.Complete(t.Context(), &mcp.CompleteParams{
			Ref:      &mcp.CompleteReference{Type: "ref/prompt", Name: "completable-prompt"},
			Argument: mcp.CompleteParamsArgument{Name: "department", Value: "S"},
		})
		if err != nil || len(completed.Completion.Values) != 2 {
			t.Errorf("completing: %v, %v", completed, err)
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.progress < 16 {
		t.Errorf("%d progress notifications, want 16", g.progress)
	}
}

// elicit is asked by the server in the midst of a call, on each node.
func (g *goClient) elicit(t *testing.T) {
	t.Helper()
	for range 3 {
		if text, err := g.tool(t.Context(), "trigger-elicitation-request", map[string]any{}); err != nil || !strings.Contains(text, "Ada") {
			t.Errorf("a call that asks: %q, %v", text, err)
		}
	}
}

// subscribe waits for an update of a resource.
func (g *goClient) subscribe(t *testing.T) {
	t.Helper()
	const uri = "demo://resource/dynamic/text/1"
	if err := g.Subscribe(t.Context(), &mcp.SubscribeParams{URI: uri}); err != nil {
		t.Fatal(err)
	}
	if _, err := g.tool(t.Context(), "toggle-subscriber-updates", map[string]any{}); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-g.updated:
		if got != uri {
			t.Errorf("update of %s, want %s", got, uri)
		}
	case <-time.After(patience):
		t.Error("no update of a resource that is subscribed to")
	}
	if err := g.Unsubscribe(t.Context(), &mcp.UnsubscribeParams{URI: uri}); err != nil {
		t.Error(err)
	}
	if _, err := g.tool(t.Context(), "toggle-subscriber-updates", map[string]any{}); err != nil {
		t.Error(err)
	}
}
