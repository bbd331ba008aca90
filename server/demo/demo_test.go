package demo

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mcpraft/mcpraft/internal/sse"
	"github.com/mcpraft/mcpraft/server/mcp"
)

// eras runs a test in both eras; do makes one call.
func eras(t *testing.T, test func(t *testing.T, s *Server, do func(method, name, params string) *mcp.Message)) {
	for _, version := range mcp.LegacyVersions() {
		t.Run(string(version), func(t *testing.T) {
			s, p := serve(t)
			session := p.legacy(string(version), `{}`)
			test(t, s, func(method, _, params string) *mcp.Message {
				m, _ := session.call(method, params)
				return m
			})
		})
	}
	t.Run(string(mcp.V20260728), func(t *testing.T) {
		s, p := serve(t)
		test(t, s, func(method, name, params string) *mcp.Message {
			p, params := p.modern(method, name, params, `{}`)
			if key, ok := mcp.Text(mcp.Field([]byte(params), "arguments", "key")); ok {
				p = p.with("Mcp-Param-Key", mcp.EncodeHeader(key))
			}
			m, _ := p.call(method, params)
			return m
		})
	})
}

func TestBothErasAnswerTheSame(t *testing.T) {
	eras(t, func(t *testing.T, _ *Server, do func(method, name, params string) *mcp.Message) {
		for _, test := range []struct{ method, name, params, want string }{
			{mcp.ToolsList, "", `{}`, `"name":"write_note"`},
			{mcp.ToolsCall, "add", `{"name":"add","arguments":{"a":2,"b":0.5}}`, `"structuredContent":{"sum":2.5}`},
			{mcp.ToolsCall, "add", `{"name":"add","arguments":{"a":"2"}}`, `"isError":true`},
			{mcp.ToolsCall, "echo", `{"name":"echo","arguments":{"text":"é\n"}}`, `"text":"é\n"`},
			{mcp.ToolsCall, "slow", `{"name":"slow","arguments":{"steps":2,"delay_ms":0}}`, `took 2 steps`},
			{mcp.ToolsCall, "slow", `{"name":"slow","arguments":{"steps":1000}}`, `"isError":true`},
			{mcp.ToolsCall, "count", `{"name":"count","arguments":{"key":"a b"}}`, `"structuredContent":{"calls":1,"key":"a b","key_calls":1}`},
			{mcp.ToolsCall, "count", `{"name":"count","arguments":{}}`, `"structuredContent":{"calls":2,"key":"","key_calls":1}`},
			{mcp.ToolsCall, "nothing", `{"name":"nothing"}`, `"code":-32602`},
			{mcp.ResourcesList, "", `{}`, `"uri":"demo://note/welcome"`},
			{mcp.TemplatesList, "", `{}`, `demo://note/{name}`},
			{mcp.ResourcesRead, "demo://note/welcome", `{"uri":"demo://note/welcome"}`, `write_note`},
			{mcp.ResourcesRead, "demo://count/a b", `{"uri":"demo://count/a b"}`, `"text":"1"`},
			{mcp.ResourcesRead, "demo://none", `{"uri":"demo://none"}`, `"data":{"uri":"demo://none"}`},
			{mcp.PromptsList, "", `{}`, `"name":"review"`},
			{mcp.PromptsGet, "review", `{"name":"review","arguments":{"language":"go","code":"x"}}`, `written in go`},
			{mcp.PromptsGet, "review", `{"name":"review"}`, `"code":-32602`},
			{mcp.Complete, "", `{"ref":{"type":"ref/prompt","name":"review"},"argument":{"name":"language","value":"e"}}`, `["erlang","elixir"]`},
			{mcp.ToolsList, "", `{"cursor":"x"}`, `"code":-32602`},
			{"no/such", "", `{}`, `"code":-32601`},
		} {
			m := do(test.method, test.name, test.params)
			if !strings.Contains(string(m.Bytes()), test.want) || m.ID() != "7" {
				t.Errorf("%s %s answered %s, want %s in it", test.method, test.params, m.Bytes(), test.want)
			}
		}
	})
}

func TestOnlyThisMachineIsAnswered(t *testing.T) {
	_, p := serve(t)
	for _, test := range []struct {
		header, value string
		status        int
	}{
		{"Origin", "https://evil.example", http.StatusForbidden},
		{"Origin", "null", http.StatusForbidden},
		{"Host", "evil.example", http.StatusForbidden},
		{"Host", "127.0.0.1.evil.example", http.StatusForbidden},
		{"Origin", "http://localhost:3000", http.StatusNotFound},
		{"Host", "[::1]:99", http.StatusNotFound},
	} {
		// An unknown session is what an admitted request gets to hear of.
		resp := p.with(test.header, test.value, mcp.HeaderSession, "none").do(http.MethodPost, request(mcp.Ping, ""))
		if resp.StatusCode != test.status {
			t.Errorf("%s %q: status %d, want %d", test.header, test.value, resp.StatusCode, test.status)
		}
		message(t, resp.Body)
	}
}

func TestBadBodiesGetAnErrorOfJSONRPC(t *testing.T) {
	_, p := serve(t)
	for body, status := range map[string]int{
		"":                             http.StatusBadRequest,
		"not json":                     http.StatusBadRequest,
		"[]":                           http.StatusBadRequest,
		`{"jsonrpc":"2.0","id":null}`:  http.StatusBadRequest,
		strings.Repeat(" ", maxBody+1): http.StatusRequestEntityTooLarge,
		request(mcp.Ping, ""):          http.StatusBadRequest,
	} {
		resp := p.do(http.MethodPost, body)
		if m := message(t, resp.Body); resp.StatusCode != status || m.Kind() != mcp.KindFailure {
			t.Errorf("%.40q: %d %s, want %d", body, resp.StatusCode, m.Bytes(), status)
		}
	}
	if resp := p.do(http.MethodPut, ""); resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("PUT: %d", resp.StatusCode)
	}
}

func TestASessionEndsWithItsDelete(t *testing.T) {
	_, p := serve(t)
	session := p.legacy("2025-11-25", `{}`)
	if resp := session.do(http.MethodDelete, ""); resp.StatusCode != http.StatusNoContent {
		t.Fatalf("DELETE: %d", resp.StatusCode)
	}
	for _, method := range []string{http.MethodPost, http.MethodGet, http.MethodDelete} {
		if resp := session.do(method, request(mcp.Ping, "")); resp.StatusCode != http.StatusNotFound {
			t.Errorf("%s after DELETE: %d", method, resp.StatusCode)
		}
	}
	other := p.legacy("2025-11-25", `{}`)
	if resp := other.with(mcp.HeaderVersion, "2025-06-18").do(http.MethodPost, request(mcp.Ping, "")); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("another version than negotiated: %d", resp.StatusCode)
	}
}

func TestACallGoesOnWithoutItsConnectionAndIsResumed(t *testing.T) {
	_, p := serve(t)
	session := p.legacy("2025-11-25", `{}`)
	resp := session.do(http.MethodPost, request(mcp.ToolsCall, `{"name":"slow","arguments":{"steps":4,"delay_ms":20},"_meta":{"progressToken":"p"}}`))
	events := newEvents(resp)
	priming := next(t, events)
	if !priming.HasID || len(priming.Data) != 0 {
		t.Fatalf("the stream begins with %+v", priming)
	}
	m, seen := nextMessage(t, events)
	if m.Method() != mcp.Progress || string(mcp.Field(m.Params(), "progress")) != "1" {
		t.Fatalf("then %s", m.Bytes())
	}
	resp.Body.Close()

	for _, from := range []struct {
		id    string
		first string
	}{{seen.ID, "2"}, {priming.ID, "1"}} { // the second reads again what is over
		events = newEvents(session.with(mcp.HeaderLastEventID, from.id).do(http.MethodGet, ""))
		m, _ = nextMessage(t, events)
		if got := string(mcp.Field(m.Params(), "progress")); got != from.first {
			t.Errorf("resumed after %s with progress %s, want %s", from.id, got, from.first)
		}
		if answer := last(t, events); answer.ID() != "7" || saidIn(answer.Result()) != "took 4 steps" {
			t.Errorf("resumed to %s", answer.Bytes())
		}
	}
	if resp := session.with(mcp.HeaderLastEventID, "none.4").do(http.MethodGet, ""); resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("a stream that never was: %d", resp.StatusCode)
	}
	if resp := session.with(mcp.HeaderLastEventID, "garbage").do(http.MethodGet, ""); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("garbage as event id: %d", resp.StatusCode)
	}
	foreign := p.legacy("2025-11-25", `{}`).with(mcp.HeaderLastEventID, seen.ID)
	if resp := foreign.do(http.MethodGet, ""); resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("another session's stream: %d", resp.StatusCode)
	}
}

func TestOlderRevisionsGetNoPrimingEvent(t *testing.T) {
	_, p := serve(t)
	resp := p.legacy("2025-06-18", `{}`).do(http.MethodPost, request(mcp.ToolsCall, `{"name":"slow","arguments":{"steps":1,"delay_ms":0},"_meta":{"progressToken":1}}`))
	if e := next(t, newEvents(resp)); len(e.Data) == 0 {
		t.Errorf("the stream begins with %+v", e)
	}
}

func TestACancelledCallIsNotAnswered(t *testing.T) {
	_, p := serve(t)
	session := p.legacy("2025-11-25", `{}`)
	events := newEvents(session.do(http.MethodPost, request(mcp.ToolsCall, `{"name":"slow","arguments":{"steps":1,"delay_ms":60000}}`)))
	next(t, events)
	session.do(http.MethodPost, request(mcp.Cancelled, `{"requestId":7}`))
	if e, err := events.Next(); err == nil {
		t.Errorf("the stream goes on with %s", e.Data)
	}
}

func TestALegacyClientIsAskedOnTheStream(t *testing.T) {
	_, p := serve(t)
	session := p.legacy("2025-06-18", `{"elicitation":{},"sampling":{}}`)
	for _, test := range []struct{ tool, arguments, method, answer, want string }{
		{"confirm", `{"question":"Sure?"}`, mcp.ElicitationCreate, `"result":{"action":"accept","content":{"ok":true}}`, "the user said yes"},
		{"confirm", `{}`, mcp.ElicitationCreate, `"result":{"action":"decline"}`, "the user did not answer: decline"},
		{"summarize", `{"text":"long"}`, mcp.SamplingCreate, `"result":{"role":"assistant","content":{"type":"text","text":"short"},"model":"m"}`, "short"},
		{"summarize", `{"text":"long"}`, mcp.SamplingCreate, `"error":{"code":-1,"message":"no"}`, "the client declined: no"},
	} {
		events := newEvents(session.do(http.MethodPost, request(mcp.ToolsCall, `{"name":"`+test.tool+`","arguments":`+test.arguments+`}`)))
		asked, _ := nextMessage(t, events)
		if asked.Method() != test.method {
			t.Fatalf("%s asks %s", test.tool, asked.Bytes())
		}
		answer := `{"jsonrpc":"2.0","id":` + string(asked.ID()) + `,` + test.answer + `}`
		if resp := session.do(http.MethodPost, answer); resp.StatusCode != http.StatusAccepted {
			t.Fatalf("the answer got %d", resp.StatusCode)
		}
		if got := saidIn(last(t, events).Result()); got != test.want {
			t.Errorf("%s says %q, want %q", test.tool, got, test.want)
		}
	}
	if got := p.legacy("2025-06-18", `{}`).said("confirm", `{}`); !strings.Contains(got, `{"elicitation":{"form":{}}}`) {
		t.Errorf("without the capability: %q", got)
	}
}

func TestChangesReachWhoeverListens(t *testing.T) {
	_, p := serve(t)
	session := p.legacy("2025-11-25", `{}`)
	session.result(mcp.ResourcesSub, `{"uri":"demo://note/welcome"}`)
	events := newEvents(session.do(http.MethodGet, ""))
	session.said("write_note", `{"text":"one"}`)
	m, seen := nextMessage(t, events)
	if uri, _ := mcp.Text(mcp.Field(m.Params(), "uri")); m.Method() != mcp.ResourceUpdated || uri != "demo://note/welcome" {
		t.Fatalf("write_note sent %s", m.Bytes())
	}
	session.said("write_note", `{"name":"new","text":"two"}`)
	if m, _ = nextMessage(t, events); m.Method() != mcp.ResourcesListChanged {
		t.Fatalf("a new note sent %s", m.Bytes())
	}

	// Another GET takes over, and one that comes back gets what it missed.
	again := newEvents(session.with(mcp.HeaderLastEventID, seen.ID).do(http.MethodGet, ""))
	if m, _ = nextMessage(t, again); m.Method() != mcp.ResourcesListChanged {
		t.Errorf("resumed with %s", m.Bytes())
	}
	if e, err := events.Next(); err == nil {
		t.Errorf("the replaced stream goes on with %s", e.Data)
	}
	session.result(mcp.ResourcesUnsub, `{"uri":"demo://note/welcome"}`)
	session.said("write_note", `{"text":"three"}`)
	session.said("write_note", `{"name":"newer","text":"four"}`)
	if m, _ = nextMessage(t, again); m.Method() != mcp.ResourcesListChanged {
		t.Errorf("after unsubscribe: %s", m.Bytes())
	}
}

func TestLogMessagesFollowTheLevel(t *testing.T) {
	_, p := serve(t)
	session := p.legacy("2025-11-25", `{}`)
	if resp := session.do(http.MethodPost, request(mcp.ToolsCall, `{"name":"add","arguments":{"a":1,"b":2}}`)); isStream(resp) {
		t.Error("without a level the answer is a stream")
	}
	session.result(mcp.SetLevel, `{"level":"debug"}`)
	resp := session.do(http.MethodPost, request(mcp.ToolsCall, `{"name":"add","arguments":{"a":1,"b":2}}`))
	if m, _ := nextMessage(t, newEvents(resp)); m.Method() != mcp.LogMessage {
		t.Errorf("with level debug: %s", m.Bytes())
	}
	if m, _ := session.call(mcp.SetLevel, `{"level":"loud"}`); m.Kind() != mcp.KindFailure {
		t.Errorf("level loud: %s", m.Bytes())
	}
}

func TestCloseEndsEverything(t *testing.T) {
	s, p := serve(t)
	session := p.legacy("2025-11-25", `{}`)
	listening := newEvents(session.do(http.MethodGet, ""))
	calling := newEvents(session.do(http.MethodPost, request(mcp.ToolsCall, `{"name":"slow","arguments":{"steps":1,"delay_ms":60000}}`)))
	next(t, calling)
	s.Close()
	for name, events := range map[string]interface{ Next() (sse.Event, error) }{"GET": listening, "POST": calling} {
		if e, err := events.Next(); err == nil {
			t.Errorf("the %s stream goes on with %s", name, e.Data)
		}
	}
	if resp := session.do(http.MethodPost, request(mcp.Ping, "")); resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("after Close: %d", resp.StatusCode)
	}
}

func TestIdleSessionsAreForgotten(t *testing.T) {
	s, p := serve(t)
	idle, busy := p.legacy("2025-11-25", `{}`), p.legacy("2025-11-25", `{}`)
	events := newEvents(busy.do(http.MethodPost, request(mcp.ToolsCall, `{"name":"slow","arguments":{"steps":1,"delay_ms":60000}}`)))
	next(t, events)
	for _, id := range s.sessions.idle(time.Now().Add(time.Hour)) {
		s.forget(id)
	}
	if resp := idle.do(http.MethodPost, request(mcp.Ping, "")); resp.StatusCode != http.StatusNotFound {
		t.Errorf("the idle session answers %d", resp.StatusCode)
	}
	if resp := busy.do(http.MethodPost, request(mcp.Ping, "")); resp.StatusCode != http.StatusOK {
		t.Errorf("the busy session answers %d", resp.StatusCode)
	}
}

func TestStoresAreBounded(t *testing.T) {
	var n counter
	for i := range maxKeys {
		n.add(strconv.Itoa(i))
	}
	if _, _, ok := n.add("one more"); ok {
		t.Error("a counter took a key above its limit")
	}
	if _, ofKey, ok := n.add("0"); !ok || ofKey != 2 {
		t.Error("a full counter does not count what it knows")
	}
	var texts notes
	for i := range maxNotes {
		if _, err := texts.put("n-"+strconv.Itoa(i), "x"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := texts.put("one-more", "x"); err == nil {
		t.Error("a note above the limit was taken")
	}
	if _, err := texts.put("n-0", strings.Repeat("x", maxNote+1)); err == nil {
		t.Error("a note above the size was taken")
	}
	st := newStream("s")
	for range maxEvents + 10 {
		st.add(sse.Event{})
	}
	if events, next, _, _ := st.from(0); len(events) != maxEvents || events[0].ID != "s.10" || next != maxEvents+10 {
		t.Errorf("%d events from %s, next %d", len(events), events[0].ID, next)
	}
}
