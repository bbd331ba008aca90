package server

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/sse"
	"github.com/mcpraft/mcpraft/server/adminapi"
	"github.com/mcpraft/mcpraft/server/mcp"
	"github.com/mcpraft/mcpraft/server/mcpclient"
)

// fakeUpstream is a legacy MCP server with one tool, which says what it was given
// after one message of progress, and one, "wait", that waits until release is
// closed.
func fakeUpstream(t *testing.T, release chan struct{}) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, header := range []string{"Authorization", "Cookie", "Mcp-Name"} {
			if r.Header.Get(header) != "" {
				t.Errorf("%s of the client went to the upstream", header)
			}
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		m, err := mcp.Parse(body, mcp.Inbound)
		if err != nil || r.Method != http.MethodPost {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		switch m.Method() {
		case mcp.Initialize:
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(mcp.Answer(m.ID(), []byte(`{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"fake","version":"1"}}`)).Bytes())
		case mcp.ToolsList:
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(mcp.Answer(m.ID(), []byte(`{"tools":[{"name":"say","inputSchema":{"type":"object"}}]}`)).Bytes())
		case mcp.ToolsCall:
			w.Header().Set("Content-Type", "text/event-stream")
			token := mcp.Field(m.Params(), "_meta", "progressToken")
			progress := mcp.WithField([]byte(`{"progress":1}`), token, "progressToken")
			_, _ = w.Write(sse.Append(nil, sse.Event{Data: mcp.Notification(mcp.Progress, progress).Bytes()}))
			if name, _ := mcp.Text(mcp.Field(m.Params(), "name")); name == "wait" {
				_ = http.NewResponseController(w).Flush()
				<-release
			}
			answer := mcp.WithField([]byte(`{"content":[]}`), mcp.Field(m.Params(), "arguments"), "structuredContent")
			_, _ = w.Write(sse.Append(nil, sse.Event{Data: mcp.Answer(m.ID(), answer).Bytes()}))
		default:
			if m.Kind() == mcp.KindRequest {
				w.Header().Set("Content-Type", "application/json")
				_, _ = w.Write(mcp.Failed(m.ID(), &mcp.Error{Code: mcp.CodeMethodNotFound, Message: "unknown"}).Bytes())
				return
			}
			w.WriteHeader(http.StatusAccepted)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL + "/mcp"
}

// startGateway is a node with the fake upstream registered as "fake".
func startGateway(t *testing.T, release chan struct{}) *instance {
	c := testConfig(t, t.TempDir())
	c.Gateway.AllowPrivate = true
	p := start(t, c)
	put := &adminapi.PutUpstreamRequest{Alias: "fake", UpstreamSpec: adminapi.UpstreamSpec{Transport: "http", URL: fakeUpstream(t, release)}}
	if _, _, err := p.client(t, false).PutUpstream(t.Context(), put); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *instance) mcpClient(alias, token string, notify func(string, []byte)) *mcpclient.Client {
	return mcpclient.New(mcpclient.Config{URLs: []string{"http://" + p.mcp + "/servers/" + alias + "/mcp"}, Token: token, Notify: notify})
}

func TestAClientCallsAToolThroughTheNode(t *testing.T) {
	p := startGateway(t, nil)
	progressed := 0
	client := p.mcpClient("fake", secret, func(method string, params []byte) {
		if method == mcp.Progress && string(mcp.Field(params, "progressToken")) == `"mine"` {
			progressed++
		}
	})
	opened, err := client.Open(t.Context())
	if err != nil || opened.Version != "2025-11-25" || !strings.Contains(string(opened.Result), `"fake"`) {
		t.Fatalf("opened = %+v, %v", opened, err)
	}
	result, err := client.Call(t.Context(), mcp.ToolsCall, []byte(`{"name":"say","arguments":{"x":1.50},"_meta":{"progressToken":"mine"}}`))
	if err != nil || string(mcp.Field(result, "structuredContent", "x")) != "1.50" || progressed != 1 {
		t.Errorf("result = %s, %v after %d messages of progress", result, err, progressed)
	}
	admin := p.client(t, false)
	list, _, err := admin.Sessions(t.Context(), &adminapi.SessionsRequest{})
	if err != nil || len(list.Items) != 1 {
		t.Fatalf("sessions = %+v, %v", list, err)
	}
	s := list.Items[0]
	if s.User.Subject != "test" || s.Protocol != "2025-11-25" || s.Transport == "" || s.AuthMethod == "" {
		t.Errorf("session = %+v", s)
	}
	if _, _, err := admin.KillSession(t.Context(), &adminapi.KillSessionRequest{ID: s.ID}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Call(t.Context(), mcp.Ping, nil); fault.Of(err) != fault.NotFound {
		t.Errorf("after the end: %v, want not found", err)
	}
}

func TestWhoIsRefusedIsToldWhy(t *testing.T) {
	p := startGateway(t, nil)
	for _, test := range []struct {
		alias, token string
		want         fault.Kind
		says         string
	}{
		{"fake", "wrong-token-of-32-characters-for-test", fault.Unauthenticated, "not one of this cluster"},
		{"nowhere", secret, fault.NotFound, "nowhere"},
		{"No Alias", secret, fault.NotFound, ""},
	} {
		client := p.mcpClient(strings.ReplaceAll(test.alias, " ", "%20"), test.token, nil)
		if _, err := client.Open(t.Context()); fault.Of(err) != test.want || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v, want %v", test.alias, err, test.want)
		}
	}
}

func TestReadinessNeedsTheKeysOfTheCluster(t *testing.T) {
	p := startGateway(t, nil)
	health, err := p.client(t, false).Health(t.Context(), adminapi.Readyz)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range health.Checks {
		if c.Name == "keys" && c.OK {
			return
		}
	}
	t.Errorf("readyz = %+v, which says nothing good of keys", health)
}

func TestStoppingFinishesCalls(t *testing.T) {
	release := make(chan struct{})
	p := startGateway(t, release)
	running := make(chan struct{})
	client := p.mcpClient("fake", secret, func(string, []byte) { close(running) })
	if _, err := client.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		_, err := client.Call(ctx, mcp.ToolsCall, []byte(`{"name":"wait","arguments":{},"_meta":{"progressToken":"t"}}`))
		done <- err
	}()
	<-running
	p.stop()
	for { // the port is closed when draining has begun
		nc, err := net.Dial("tcp", p.mcp)
		if err != nil {
			break
		}
		nc.Close()
	}
	close(release)
	if err := <-done; err != nil {
		t.Errorf("the call was cut: %v", err)
	}
	p.end(t)
}
