package demo

import (
	"net/http"
	"strings"
	"testing"

	"github.com/mcpraft/mcpraft/server/mcp"
)

func TestModernRequestsAreHeldToTheirHeaders(t *testing.T) {
	_, base := serve(t)
	call := `{"name":"count","arguments":{"key":"k"}}`
	good, params := base.modern(mcp.ToolsCall, "count", call, `{}`)
	good = good.with("Mcp-Param-Key", "k")
	list, listParams := base.modern(mcp.ToolsList, "", `{}`, `{}`)
	for _, test := range []struct {
		name   string
		peer   *peer
		method string
		params string
		status int
		code   int
	}{
		{"all right", good, mcp.ToolsCall, params, http.StatusOK, 0},
		{"another name", good.with(mcp.HeaderName, "add"), mcp.ToolsCall, params, http.StatusBadRequest, mcp.CodeHeaderMismatch},
		{"another method", good.with(mcp.HeaderMethod, "tools/list"), mcp.ToolsCall, params, http.StatusBadRequest, mcp.CodeHeaderMismatch},
		{"another argument", good.with("Mcp-Param-Key", "other"), mcp.ToolsCall, params, http.StatusBadRequest, mcp.CodeHeaderMismatch},
		{"bad base64", good.with("Mcp-Param-Key", "=?base64?%?="), mcp.ToolsCall, params, http.StatusBadRequest, mcp.CodeHeaderMismatch},
		{"only _meta", list.with(mcp.HeaderVersion, ""), mcp.ToolsList, listParams, http.StatusBadRequest, mcp.CodeHeaderMismatch},
		{"only the header", list, mcp.ToolsList, `{}`, http.StatusBadRequest, mcp.CodeInvalidParams},
		{"no capabilities", list, mcp.ToolsList, `{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}`, http.StatusBadRequest, mcp.CodeInvalidParams},
		{"a later version", list.with(mcp.HeaderVersion, "2031-01-01"), mcp.ToolsList, strings.Replace(listParams, "2026-07-28", "2031-01-01", 1), http.StatusBadRequest, mcp.CodeUnsupportedVersion},
		{"a legacy method", list.with(mcp.HeaderMethod, mcp.Ping), mcp.Ping, listParams, http.StatusNotFound, mcp.CodeMethodNotFound},
		{"no such method", list.with(mcp.HeaderMethod, "no/such"), "no/such", listParams, http.StatusNotFound, mcp.CodeMethodNotFound},
	} {
		m, status := test.peer.call(test.method, test.params)
		code := 0
		if m.Err() != nil {
			code = m.Err().Code
		}
		if status != test.status || code != test.code || m.ID() != "7" {
			t.Errorf("%s: %d %s, want %d and code %d", test.name, status, m.Bytes(), test.status, test.code)
		}
	}
}

func TestDiscoverTellsBothEras(t *testing.T) {
	_, base := serve(t)
	p, params := base.modern(mcp.Discover, "", `{}`, `{}`)
	result := p.result(mcp.Discover, params)
	for _, want := range []string{`"2026-07-28"`, `"2024-11-05"`, `"resultType":"complete"`, `"ttlMs":0`, `"cacheScope":"public"`, mcp.MetaServerInfo} {
		if !strings.Contains(string(result), want) {
			t.Errorf("discover lacks %s: %s", want, result)
		}
	}
}

func TestAModernClientIsAskedByItsResult(t *testing.T) {
	_, base := serve(t)
	const call = `{"name":"confirm","arguments":{"question":"Sure?"}}`
	p, params := base.modern(mcp.ToolsCall, "confirm", call, `{"elicitation":{}}`)
	result := p.result(mcp.ToolsCall, params)
	asked := string(mcp.Field(result, "inputRequests", "confirm", "method"))
	state, ok := mcp.RequestState(result)
	if mcp.ResultType(result) != mcp.ResultInputRequired || asked != `"elicitation/create"` || !ok {
		t.Fatalf("the first answer is %s", result)
	}

	again := string(mcp.WithField([]byte(params), []byte(`{"confirm":{"action":"accept","content":{"ok":true}}}`), "inputResponses"))
	withState := func(params, state string) string {
		return string(mcp.WithField([]byte(params), mcp.Quote(state), "requestState"))
	}
	if got := saidIn(p.result(mcp.ToolsCall, withState(again, state))); got != "the user said yes" {
		t.Errorf("the second answer says %q", got)
	}
	forged := map[string]string{
		"tampered state":      withState(again, "0"+state[1:]+"0"),
		"other arguments":     withState(strings.Replace(again, "Sure?", "Delete all?", 1), state),
		"a state of nothings": withState(again, ""),
	}
	for name, params := range forged {
		if m, status := p.call(mcp.ToolsCall, params); status != http.StatusBadRequest || m.Err() == nil || m.Err().Code != mcp.CodeInvalidParams {
			t.Errorf("%s: %d %s", name, status, m.Bytes())
		}
	}
	p, params = base.modern(mcp.ToolsCall, "confirm", call, `{}`)
	if m, status := p.call(mcp.ToolsCall, params); status != http.StatusBadRequest || m.Err() == nil || m.Err().Code != mcp.CodeMissingCapability {
		t.Errorf("without the capability: %d %s", status, m.Bytes())
	}
}

func TestModernProgressComesBeforeTheAnswerWithoutIDs(t *testing.T) {
	_, base := serve(t)
	p, params := base.modern(mcp.ToolsCall, "slow", `{"name":"slow","arguments":{"steps":2,"delay_ms":0},"_meta":{"progressToken":3}}`, `{}`)
	events := newEvents(p.do(http.MethodPost, request(mcp.ToolsCall, params)))
	for _, want := range []string{"1", "2"} {
		m, e := nextMessage(t, events)
		if string(mcp.Field(m.Params(), "progress")) != want || e.HasID {
			t.Errorf("%s with id %q, want progress %s", m.Bytes(), e.ID, want)
		}
	}
	if m, _ := nextMessage(t, events); m.Kind() != mcp.KindResult {
		t.Errorf("the end is %s", m.Bytes())
	}
}

func TestListenSendsWhatWasAskedForAndEndsGracefully(t *testing.T) {
	s, base := serve(t)
	p, params := base.modern(mcp.SubscriptionsListen, "", `{"notifications":{"resourcesListChanged":true,"resourceSubscriptions":["demo://note/welcome","demo://none"]}}`, `{}`)
	events := newEvents(p.do(http.MethodPost, request(mcp.SubscriptionsListen, params)))
	m, _ := nextMessage(t, events)
	if got := string(mcp.Field(m.Params(), "notifications")); m.Method() != mcp.Acknowledged || got != `{"resourcesListChanged":true,"resourceSubscriptions":["demo://note/welcome"]}` {
		t.Fatalf("it begins with %s", m.Bytes())
	}
	write, note := base.modern(mcp.ToolsCall, "write_note", `{"name":"write_note","arguments":{"name":"new","text":"x"}}`, `{}`)
	write.result(mcp.ToolsCall, note) // is told as a change of the list only: nobody subscribed to it
	write.result(mcp.ToolsCall, strings.Replace(note, `"name":"new"`, `"name":"welcome"`, 1))
	for _, want := range []string{mcp.ResourcesListChanged, mcp.ResourceUpdated} {
		m, _ = nextMessage(t, events)
		if m.Method() != want || string(mcp.Meta(m.Params(), mcp.MetaSubscriptionID)) != "7" {
			t.Errorf("%s, want %s of subscription 7", m.Bytes(), want)
		}
	}
	s.Close()
	if m, _ = nextMessage(t, events); m.Kind() != mcp.KindResult || string(mcp.Meta(m.Result(), mcp.MetaSubscriptionID)) != "7" {
		t.Errorf("it ends with %s", m.Bytes())
	}
}
