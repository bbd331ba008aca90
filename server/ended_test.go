package server

import (
	"bufio"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/mcpraft/mcpraft/server/adminapi"
	"github.com/mcpraft/mcpraft/server/catalog"
	"github.com/mcpraft/mcpraft/server/mcp"
)

// startHolding is a node with an upstream "holds" that opens the session "up-1" and
// says which ones it is told to end.
func startHolding(t *testing.T) (p *instance, ended chan string) {
	ended = make(chan string, 16)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		m, err := mcp.Parse(body, mcp.Inbound)
		switch {
		case r.Method == http.MethodDelete:
			ended <- r.Header.Get(mcp.HeaderSession)
		case err != nil:
			w.WriteHeader(http.StatusMethodNotAllowed)
		case m.Method() == mcp.Initialize:
			w.Header().Set(mcp.HeaderSession, "up-1")
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(mcp.Answer(m.ID(), []byte(`{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"holds","version":"1"}}`)).Bytes())
		case m.Kind() == mcp.KindRequest:
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(mcp.Answer(m.ID(), []byte(`{"tools":[{"name":"hold","inputSchema":{"type":"object"}}]}`)).Bytes())
		default:
			w.WriteHeader(http.StatusAccepted)
		}
	}))
	t.Cleanup(s.Close)
	c := testConfig(t, t.TempDir())
	c.Gateway.AllowPrivate = true
	p = start(t, c)
	put := &adminapi.PutUpstreamRequest{Alias: "holds", UpstreamSpec: adminapi.UpstreamSpec{Transport: "http", URL: s.URL + "/mcp"}}
	listed := make(chan struct{})
	p.server.catalog.Watch(func(catalog.Difference) { close(listed) }) // of the one tool, once
	if _, _, err := p.client(t, false).PutUpstream(t.Context(), put); err != nil {
		t.Fatal(err)
	}
	<-listed
	return p, ended
}

func TestAKilledSessionEndsItsUpstreamSessionOnce(t *testing.T) {
	p, ended := startHolding(t)
	admin := p.client(t, false)
	settings, _, err := admin.SessionSettings(t.Context(), &adminapi.SessionSettingsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	settings.CleanupInterval = adminapi.DurationOf(100 * time.Millisecond)
	if _, _, err := admin.PutSessionSettings(t.Context(), &adminapi.PutSessionSettingsRequest{SessionSettings: settings}); err != nil {
		t.Fatal(err)
	}
	client := p.mcpClient("holds", secret, nil)
	if _, err := client.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Call(t.Context(), mcp.ToolsList, nil); err != nil {
		t.Fatal(err)
	}
	list, _, err := admin.Sessions(t.Context(), &adminapi.SessionsRequest{})
	if err != nil || len(list.Items) != 1 || list.Items[0].OwnerNode != "n1" {
		t.Fatalf("sessions = %+v, %v", list, err)
	}
	if kept := p.server.upstreams.Stats()[0].Sessions; kept != 2 {
		t.Errorf("%d upstream sessions are kept, want the one that initialize opened and that of the catalogue", kept)
	}
	if _, _, err := admin.KillSession(t.Context(), &adminapi.KillSessionRequest{ID: list.Items[0].ID}); err != nil {
		t.Fatal(err)
	}
	select {
	case id := <-ended:
		if id != "up-1" {
			t.Errorf("the upstream was told to end %q, want up-1", id)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the upstream was told nothing")
	}
	if kept := p.server.upstreams.Stats()[0].Sessions; kept != 1 {
		t.Errorf("%d upstream sessions are kept, want that of the catalogue", kept)
	}
	select {
	case id := <-ended:
		t.Errorf("the upstream was told to end %q again", id)
	case <-time.After(time.Second): // ten rounds
	}
}

func TestAStreamEndsWhenItsTokenIsRevoked(t *testing.T) {
	p, _ := startHolding(t)
	admin := p.client(t, false)
	token, _, err := admin.CreateToken(t.Context(), &adminapi.CreateTokenRequest{TokenSpec: adminapi.TokenSpec{Name: "guest"}})
	if err != nil {
		t.Fatal(err)
	}
	send := func(method, session, body string) *http.Response {
		q, err := http.NewRequestWithContext(t.Context(), method, "http://"+p.mcp+"/servers/holds/mcp", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("Authorization", "Bearer "+token.Token)
		q.Header.Set("Accept", "application/json, text/event-stream")
		if body != "" {
			q.Header.Set("Content-Type", "application/json")
		}
		if session != "" {
			q.Header.Set(mcp.HeaderSession, session)
		}
		resp, err := http.DefaultClient.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		return resp
	}
	opened := send(http.MethodPost, "", `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{}}}`)
	stream := send(http.MethodGet, opened.Header.Get(mcp.HeaderSession), "")
	events := bufio.NewReader(stream.Body)
	if _, err := events.ReadString('\n'); err != nil || stream.StatusCode != http.StatusOK {
		t.Fatalf("GET = %d, %v", stream.StatusCode, err)
	}
	ended := make(chan time.Time, 1)
	go func() {
		_, _ = io.Copy(io.Discard, events)
		ended <- time.Now()
	}()
	if _, _, err := admin.RevokeToken(t.Context(), &adminapi.RevokeTokenRequest{Name: "guest"}); err != nil {
		t.Fatal(err)
	}
	revoked := time.Now()
	select {
	case at := <-ended:
		t.Logf("the stream ended after %v", at.Sub(revoked))
	case <-time.After(5 * time.Second):
		t.Fatal("the stream goes on")
	}
}
