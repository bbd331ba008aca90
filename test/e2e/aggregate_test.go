package e2e

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// noteURI is a resource that both twins have.
const noteURI = "note://a"

// startTwin runs a server of the go-sdk that tells in every answer which side it is.
// Everything else is the same on both sides.
func startTwin(t *testing.T, side string) string {
	t.Helper()
	text := func(s string) *mcp.CallToolResult {
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: side + " " + s}}}
	}
	server := mcp.NewServer(&mcp.Implementation{Name: "twin", Version: "1"}, &mcp.ServerOptions{
		SubscribeHandler:   func(context.Context, *mcp.SubscribeRequest) error { return nil },
		UnsubscribeHandler: func(context.Context, *mcp.UnsubscribeRequest) error { return nil },
		CompletionHandler: func(_ context.Context, r *mcp.CompleteRequest) (*mcp.CompleteResult, error) {
			return &mcp.CompleteResult{Completion: mcp.CompletionResultDetails{Values: []string{r.Params.Ref.URI + " of " + side}}}, nil
		},
	})
	add := func(name string, do func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error)) {
		server.AddTool(&mcp.Tool{Name: name, InputSchema: json.RawMessage(`{"type":"object"}`)}, do)
	}
	note := func(uri string) {
		server.AddResource(&mcp.Resource{URI: uri, Name: "note"}, func(context.Context, *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
			return &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{{URI: uri, Text: side}}}, nil
		})
	}
	long := "who." + strings.Repeat("long.", 22)
	for _, name := range []string{"who", long + "a", long + "b"} {
		add(name, func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) { return text(name), nil })
	}
	embedded := &mcp.EmbeddedResource{Resource: &mcp.ResourceContents{URI: noteURI, Text: side}}
	add("links", func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.ResourceLink{URI: noteURI, Name: "note"}, embedded}}, nil
	})
	add("confirm", func(ctx context.Context, r *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		answer, err := r.Session.Elicit(ctx, &mcp.ElicitParams{Message: "Sure?", RequestedSchema: json.RawMessage(`{"type":"object","properties":{"ok":{"type":"boolean"}}}`)})
		if err != nil {
			return nil, err
		}
		return text(answer.Action), nil
	})
	add("steps", func(ctx context.Context, r *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		for i := range 3 {
			if err := r.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{ProgressToken: r.Params.GetProgressToken(), Progress: float64(i + 1), Total: 3}); err != nil {
				return nil, err
			}
		}
		return text("done"), nil
	})
	add("touch", func(ctx context.Context, _ *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return text("touched"), server.ResourceUpdated(ctx, &mcp.ResourceUpdatedNotificationParams{URI: noteURI})
	})
	add("grow", func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		add("grown", func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) { return text("grown"), nil })
		return text("grew"), nil
	})
	add("write", func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		note("note://new")
		return text("wrote"), nil
	})
	note(noteURI)
	server.AddResourceTemplate(&mcp.ResourceTemplate{URITemplate: "note://{id}", Name: "notes"}, nil)
	server.AddPrompt(&mcp.Prompt{Name: "greet"}, func(context.Context, *mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
		return &mcp.GetPromptResult{Messages: []*mcp.PromptMessage{{Role: "user", Content: embedded}}}, nil
	})
	s := httptest.NewServer(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, nil))
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s.URL
}

// joinedCluster is three nodes with these upstreams behind them, listed on every
// node, and the URL at which a client reaches all of them through the next node,
// each request another.
func joinedCluster(t *testing.T, upstreams map[string]string) (c *Cluster, b *balancer, url string) {
	t.Helper()
	c = StartCluster(t, 3)
	for alias, at := range upstreams {
		if out, talk, code := c.Run("upstreams", "add", alias, at); code != 0 {
			t.Fatalf("adding %s: %d\n%s%s", alias, code, out, talk)
		}
	}
	c.Listed(len(upstreams))
	b = startBalancer(t, "", c.mcp()...)
	return c, b, b.URL + "/mcp"
}

// Listed waits until every node lists the tools of so many upstreams.
func (c *Cluster) Listed(upstreams int) {
	c.t.Helper()
	for i := range c.nodes {
		c.Ready(i)
		client := startGoClient(c.t, "lister", "http://"+c.mcp()[i]+"/mcp", c.token, "2025-11-25")
		eventually(c.t, c.nodes[i].id+" lists all upstreams", func() bool {
			list, err := client.ListTools(c.t.Context(), nil)
			if err != nil {
				return false
			}
			listed := make(map[string]bool)
			for _, tool := range list.Tools {
				alias, _, _ := strings.Cut(tool.Name, "__")
				listed[alias] = true
			}
			return len(listed) == upstreams
		})
	}
}

// TestSDKClientTellsTwinsApartInTheAggregate has the TypeScript SDK tell
// two upstreams apart that have the same tools, resources and prompts, some with
// very long names, while a node is killed.
func TestSDKClientTellsTwinsApartInTheAggregate(t *testing.T) {
	t.Parallel()
	c, _, url := joinedCluster(t, map[string]string{"left": startTwin(t, "left"), "right": startTwin(t, "right")})
	client := startProgram(t, "typescript", t.TempDir(), nodeBinary(t), peerFile(t, "aggregate.mjs"), url, c.token)
	client.Says(`{"kind":"kill"}`)
	killed := c.Leader()
	c.nodes[killed].Kill()
	time.Sleep(3 * time.Second)
	c.Start(killed)
	wantSteps(t, client, []string{
		"names", "calls", "links", "prompts", "completion", "elicitation", "progress", "updates", "changes", "events",
		"calls while a node is killed", "lists afterwards", "updates afterwards", "session", "delete",
	})
}

// TestTypeScriptClientTalksToAnOfficialServerThroughTheAggregate walks the SDK
// through all that the reference server has, beside another one of its kind.
func TestTypeScriptClientTalksToAnOfficialServerThroughTheAggregate(t *testing.T) {
	t.Parallel()
	ports := freePorts(t, 2)
	upstreams := make(map[string]string)
	for i, alias := range []string{"official", "other"} {
		_, port, _ := strings.Cut(ports[i], ":")
		upstreams[alias] = startReference(t, port)
	}
	c, b, url := joinedCluster(t, upstreams)
	client := startProgram(t, "typescript", t.TempDir(), nodeBinary(t), peerFile(t, "official.mjs"), url, c.token, "official")
	c.killSilent(b)
	wantSteps(t, client, officialSteps)
}

// wantSteps waits for a client that prints its steps, and wants all of these done.
func wantSteps(t *testing.T, client *Process, want []string) {
	t.Helper()
	code, output := client.Wait(), client.output.String()
	var done []string
	for line := range strings.Lines(output) {
		var o outcome
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Logf("the client says %s", line)
			continue
		}
		t.Logf("%-14s %-6s %5d ms %s", o.Kind, o.Outcome, o.MS, o.Why)
		if o.Outcome == "ok" {
			done = append(done, o.Kind)
		}
	}
	if code != 0 {
		t.Errorf("the client ends with %d:\n%s", code, lastLines(output, 20))
	}
	for _, step := range want {
		if !slices.Contains(done, step) {
			t.Errorf("%s was not done", step)
		}
	}
}
