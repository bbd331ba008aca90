package router

import (
	"strings"
	"testing"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/mcp"
)

func opening(version, capabilities string) string {
	return `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"` + version + `","capabilities":` + capabilities + `,"clientInfo":{"name":"ide","version":"2"}}}`
}

func TestInitializeOpensTheUpstreamThenTheSessionThenAnswers(t *testing.T) {
	w := newWorld(t)
	w.legacyUpstream(mcp.V20250618, `{"tools":{"listChanged":true},"tasks":{"list":{}},"logging":{}}`)
	w.upstreams.opened.Session = "up-1"
	a := w.post(t, sent{}, opening("2025-11-25", `{"elicitation":{"url":{}},"tasks":{}}`))
	if a.Session != "fresh" {
		t.Errorf("session %q", a.Session)
	}
	wantResult(t, a, `{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true},"logging":{}},"serverInfo":{"name":"up","version":"7"},"instructions":"be kind"}`)

	caller := w.upstreams.opens[0]
	if string(caller.Capabilities) != `{"elicitation":{"url":{}}}` || string(caller.ClientInfo) != `{"name":"ide","version":"2"}` || caller.Modern || caller.Version != mcp.V20251125 {
		t.Errorf("opened for %+v", caller)
	}
	d := w.sessions.drafts[0]
	if d.ID == "" || caller.Session != d.ID {
		t.Errorf("opened under the name %q for a session with the record %q", caller.Session, d.ID)
	}
	if d.Protocol != mcp.V20251125 || d.Endpoint != "files" || d.Caller.Principal != alice || string(d.Capabilities) != `{"elicitation":{"url":{}},"tasks":{}}` || d.RequestID != "req-1" {
		t.Errorf("draft %+v", d)
	}
	if b := d.Bindings; len(b) != 1 || b[0].Alias != "files" || b[0].Protocol != "2025-06-18" || string(b[0].Session) != "up-1" {
		t.Errorf("bindings %+v", b)
	}
}

func TestInitializeNegotiatesTheRevision(t *testing.T) {
	for asked, want := range map[string]string{
		"2024-11-05": "2024-11-05", "2025-03-26": "2025-03-26", "2025-06-18": "2025-06-18", "2025-11-25": "2025-11-25",
		"2026-07-28": "2025-11-25", "1999-01-01": "2025-11-25", "": "2025-11-25",
	} {
		w := newWorld(t)
		w.legacyUpstream(mcp.V20250326, `{}`)
		a := w.post(t, sent{}, opening(asked, `{}`))
		if got, _ := mcp.Text(mcp.Field(a.Message.Result(), "protocolVersion")); got != want {
			t.Errorf("asked for %q, got %q, want %q", asked, got, want)
		}
	}
}

func TestInitializeOpensANewSessionWhateverIDItBrings(t *testing.T) {
	w := newWorld(t)
	w.legacyUpstream(mcp.V20251125, `{}`)
	for _, s := range []sent{{session: "old"}, {version: "2026-07-28"}, {version: "2026-07-28", session: "old"}} {
		if a := w.post(t, s, opening("2025-11-25", `{}`)); a.Session != "fresh" {
			t.Errorf("%+v: session %q", s, a.Session)
		}
	}
}

func TestInitializeWorksInFrontOfAModernUpstream(t *testing.T) {
	w := newWorld(t)
	w.modernUpstream(`{"tools":{},"resources":{"subscribe":true},"extensions":{"io.modelcontextprotocol/tasks":{}}}`)
	a := w.post(t, sent{}, opening("2025-06-18", `{}`))
	wantResult(t, a, `{"protocolVersion":"2025-06-18","capabilities":{"tools":{},"resources":{"subscribe":true},"extensions":{}},"serverInfo":{"name":"up","version":"7"}}`)
	if b := w.sessions.drafts[0].Bindings[0]; b.Protocol != "2026-07-28" || len(b.Session) != 0 {
		t.Errorf("binding %+v", b)
	}
}

func TestSessionThatIsNotCommittedLeavesNothingUpstream(t *testing.T) {
	w := newWorld(t)
	w.legacyUpstream(mcp.V20251125, `{}`)
	w.upstreams.opened.Session = "up-1"
	w.sessions.createErr = fault.New(fault.NoLeader, "no leader")
	if _, err := w.postErr(t, sent{}, opening("2025-11-25", `{}`)); fault.Of(err) != fault.NoLeader {
		t.Errorf("error %v", err)
	}
	if c := w.upstreams.closed; len(c) != 1 || string(c[0].Binding.Session) != "up-1" || c[0].Session != w.upstreams.opens[0].Session {
		t.Errorf("closed %+v", c)
	}
}

func TestInitializeThatDoesNotOpenCreatesNoSession(t *testing.T) {
	w := newWorld(t)
	w.upstreams.openErr = fault.New(fault.NotFound, "no upstream files")
	if _, err := w.postErr(t, sent{}, opening("2025-11-25", `{}`)); fault.Of(err) != fault.NotFound {
		t.Errorf("unknown alias: %v", err)
	}
	w.upstreams.openErr = fault.New(fault.Unreachable, "upstream is down")
	wantError(t, w.post(t, sent{}, opening("2025-11-25", `{}`)), mcp.CodeInternal, 200)
	if len(w.sessions.drafts) > 0 {
		t.Error("a session was created")
	}
}

func TestInitializeThatSaysTooLittleOrTooMuchIsRefused(t *testing.T) {
	w := newWorld(t)
	w.legacyUpstream(mcp.V20251125, `{}`)
	wantError(t, w.post(t, sent{}, `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{}}`), mcp.CodeInvalidParams, 400)
	wantError(t, w.post(t, sent{}, opening("2025-11-25", `{"experimental":{"x":"`+strings.Repeat("x", 20<<10)+`"}}`)), mcp.CodeInvalidParams, 400)
	if len(w.upstreams.opens) > 0 {
		t.Error("the upstream was opened")
	}
	if a := w.post(t, sent{}, `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}`); a.Session == "" {
		t.Errorf("who leaves capabilities out: %s", text(a.Message))
	}
}
