package router

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/mcpraft/mcpraft/server/mcp"
	"github.com/mcpraft/mcpraft/server/upstream"
)

const info = `"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"up","version":"7"}}`

// The right column of reference 3.4: a modern client in front of a legacy upstream.
func TestLegacyResultBecomesModern(t *testing.T) {
	hints := `"resultType":"complete","ttlMs":0,"cacheScope":"private"`
	for name, c := range map[string]struct {
		method, name, params, result, want string
	}{
		"tools/call":      {"tools/call", "add", callParams, `{"content":[],"x":[1]}`, `{"resultType":"complete","content":[],"x":[1],` + info + `}`},
		"an empty result": {"x/y", "", "", `{}`, `{"resultType":"complete",` + info + `}`},
		"tools/list":      {"tools/list", "", "", `{"tools":[{"name":"a"}],"nextCursor":"n"}`, `{` + hints + `,"tools":[{"name":"a"}],"nextCursor":"n",` + info + `}`},
		"prompts/list":    {"prompts/list", "", "", `{"prompts":[]}`, `{` + hints + `,"prompts":[],` + info + `}`},
		"resources/list":  {"resources/list", "", "", `{"resources":[]}`, `{` + hints + `,"resources":[],` + info + `}`},
		"templates":       {"resources/templates/list", "", "", `{"resourceTemplates":[]}`, `{` + hints + `,"resourceTemplates":[],` + info + `}`},
		"resources/read":  {"resources/read", "note://a", `"uri":"note://a"`, `{"contents":[]}`, `{` + hints + `,"contents":[],` + info + `}`},
		"completion":      {"completion/complete", "", "", `{"completion":{"values":[]}}`, `{"resultType":"complete","completion":{"values":[]},` + info + `}`},
		"prompts/get":     {"prompts/get", "p", `"name":"p"`, `{"messages":[],"_meta":{"a":1}}`, `{"resultType":"complete","messages":[],"_meta":{"a":1,"io.modelcontextprotocol/serverInfo":{"name":"up","version":"7"}}}`},
		"its own hints":   {"tools/list", "", "", `{"tools":[],"ttlMs":5,"cacheScope":"public"}`, `{"resultType":"complete","tools":[],"ttlMs":5,"cacheScope":"public",` + info + `}`},
		"tasks are hidden": {
			"tools/list", "", "", `{"tools":[{"name":"a","execution":{"taskSupport":"required","x":1}}]}`,
			`{` + hints + `,"tools":[{"name":"a","execution":{"x":1}}],` + info + `}`,
		},
		"a tool with a bad header goes alone": {
			"tools/list", "", "", `{"tools":[{"name":"bad","inputSchema":{"properties":{"o":{"type":"object","x-mcp-header":"O"}}}},{"name":"good","inputSchema":{}}]}`,
			`{` + hints + `,"tools":[{"name":"good","inputSchema":{}}],` + info + `}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.legacyUpstream(mcp.V20251125, `{}`)
			w.answers(c.result)
			wantResult(t, w.post(t, modernSent(c.method, c.name), modernBody(c.method, c.params)), c.want)
		})
	}
}

func TestModernResultKeepsItsOwnWords(t *testing.T) {
	w := newWorld(t)
	w.modernUpstream(`{}`)
	own := `{"resultType":"complete","tools":[],"ttlMs":77,"cacheScope":"public","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"other"}}}`
	w.answers(own)
	wantResult(t, w.post(t, modernSent("tools/list", ""), modernBody("tools/list", "")), own)
}

func TestUpstreamErrorForModernClient(t *testing.T) {
	for name, c := range map[string]struct {
		code, want, status int
		data, wantData     string
	}{
		"not found becomes invalid params":   {-32002, -32602, 400, `{"uri":"note://a"}`, `{"uri":"note://a"}`},
		"own codes stay":                     {-1234, -1234, 200, `{"a":1}`, `{"a":1}`},
		"missing capability stays":           {-32021, -32021, 400, `{"requiredCapabilities":{"roots":{}}}`, `{"requiredCapabilities":{"roots":{}}}`},
		"invalid params stay":                {-32602, -32602, 400, ``, ``},
		"internal stays":                     {-32603, -32603, 200, `"text"`, `"text"`},
		"header mismatch was meant for us":   {-32020, -32603, 200, ``, `{"gateway":{"retryable":false,"reason":"upstream_error"},"request_id":"req-1"}`},
		"version error was meant for us":     {-32022, -32603, 200, `{"supported":[]}`, `{"gateway":{"retryable":false,"reason":"upstream_error"},"upstream":{"supported":[]},"request_id":"req-1"}`},
		"reserved and undefined is not sent": {-32077, -32603, 200, ``, `{"gateway":{"retryable":false,"reason":"upstream_error"},"request_id":"req-1"}`},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.legacyUpstream(mcp.V20251125, `{}`)
			w.refuses(c.code, "no", c.data)
			e := wantError(t, w.post(t, modernSent("resources/read", "note://a"), modernBody("resources/read", `"uri":"note://a"`)), c.want, c.status)
			if string(e.Data) != c.wantData {
				t.Errorf("data %s, want %s", e.Data, c.wantData)
			}
		})
	}
}

func TestURLElicitationErrorBecomesInputRequired(t *testing.T) {
	w := newWorld(t)
	w.legacyUpstream(mcp.V20251125, `{}`)
	w.refuses(mcp.CodeURLElicitation, "open this", `{"elicitations":[{"mode":"url","elicitationId":"e1","url":"https://up.example/c","message":"Connect"}]}`)
	able := strings.Replace(modernBody("tools/call", callParams), `clientCapabilities":{}`, `clientCapabilities":{"elicitation":{"url":{}}}`, 1)
	wantResult(t, w.post(t, modernSent("tools/call", "add"), able),
		`{"resultType":"input_required","inputRequests":{"urla":{"method":"elicitation/create","params":{"mode":"url","url":"https://up.example/c","message":"Connect"}}}}`)

	e := wantError(t, w.post(t, modernSent("tools/call", "add"), modernBody("tools/call", callParams)), mcp.CodeMissingCapability, 400)
	if string(mcp.Field(e.Data, "requiredCapabilities")) != `{"elicitation":{"url":{}}}` {
		t.Errorf("data %s", e.Data)
	}
	// The answers are not for the upstream: the call is made again as it was.
	w.answers(`{"content":[]}`)
	w.post(t, modernSent("tools/call", "add"), modernBody("tools/call", callParams+`,"inputResponses":{"urla":{"action":"accept"}}`))
	if m, _ := w.upstreams.lastSent(t); strings.Contains(string(m.Params()), "inputResponses") {
		t.Errorf("sent upstream: %s", m.Params())
	}
}

// The left column of reference 3.4: a legacy client in front of a modern upstream.
func TestModernResultBecomesLegacy(t *testing.T) {
	for name, c := range map[string]struct{ method, result, want string }{
		"tools/call": {
			"tools/call", `{"resultType":"complete","content":[],"structuredContent":{"a":1},` + info + `}`,
			`{"content":[],"structuredContent":{"a":1}}`,
		},
		"other _meta stays": {
			"tools/call", `{"resultType":"complete","content":[],"_meta":{"mine":1,"io.modelcontextprotocol/serverInfo":{}}}`,
			`{"content":[],"_meta":{"mine":1}}`,
		},
		"hints may stay": {
			"resources/read", `{"resultType":"complete","contents":[],"ttlMs":1,"cacheScope":"public"}`, `{"contents":[],"ttlMs":1,"cacheScope":"public"}`,
		},
		"a list is no structured content": {
			"tools/call", `{"resultType":"complete","content":[{"type":"text","text":"1"}],"structuredContent":[1]}`,
			`{"content":[{"type":"text","text":"1"}]}`,
		},
		"its text is written if it is missing": {
			"tools/call", `{"resultType":"complete","structuredContent":[1]}`, `{"content":[{"type":"text","text":"[1]"}]}`,
		},
		"schemas of other things than objects go": {
			"tools/list", `{"resultType":"complete","tools":[{"name":"a","outputSchema":{"type":"array"}},{"name":"b","outputSchema":{"type":"object"}}]}`,
			`{"tools":[{"name":"a"},{"name":"b","outputSchema":{"type":"object"}}]}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.open("s", mcp.V20251125, mcp.V20260728, `{}`)
			w.answers(c.result)
			wantResult(t, w.post(t, sent{session: "s"}, `{"jsonrpc":"2.0","id":1,"method":"`+c.method+`","params":{}}`), c.want)
		})
	}
}

func TestUpstreamThatWasUpgradedMeanwhileIsUnderstood(t *testing.T) {
	w := newWorld(t)
	w.open("s", mcp.V20251125, mcp.V20251125, `{}`)
	w.answers(`{"resultType":"complete","content":[{"type":"text","text":"\"resultType\""}]}`)
	call := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"}}`
	wantResult(t, w.post(t, sent{session: "s"}, call), `{"content":[{"type":"text","text":"\"resultType\""}]}`)
	w.answers(`{"resultType":"input_required","inputRequests":{"k":{"method":"roots/list"}}}`)
	if a := w.post(t, sent{session: "s"}, call); !strings.Contains(text(a.Message), `"isError":true`) {
		t.Errorf("answer %s", text(a.Message))
	}
	w.answers(`{"content":[{"type":"text","text":"\"resultType\""}]}`)
	wantResult(t, w.post(t, sent{session: "s"}, call), `{"content":[{"type":"text","text":"\"resultType\""}]}`)
}

func TestUpstreamErrorForLegacyClient(t *testing.T) {
	for name, c := range map[string]struct {
		method   string
		up       mcp.Version
		code     int
		data     string
		want     int
		wantData string
	}{
		"not found gets its old code":        {"resources/read", mcp.V20260728, -32602, `{"uri":"a"}`, -32002, `{"uri":"a"}`},
		"invalid params are still invalid":   {"resources/read", mcp.V20260728, -32602, `{"other":1}`, -32602, `{"other":1}`},
		"the same words, legacy upstream":    {"resources/read", mcp.V20251125, -32602, `{"uri":"a"}`, -32602, `{"uri":"a"}`},
		"missing capability":                 {"prompts/get", mcp.V20260728, -32021, `{"requiredCapabilities":{"roots":{}}}`, -32603, `{"requiredCapabilities":{"roots":{}},"request_id":"req-1"}`},
		"version error was meant for us":     {"prompts/get", mcp.V20260728, -32022, ``, -32603, `{"gateway":{"retryable":false,"reason":"upstream_error"},"request_id":"req-1"}`},
		"header error was meant for us":      {"prompts/get", mcp.V20260728, -32020, ``, -32603, `{"gateway":{"retryable":false,"reason":"upstream_error"},"request_id":"req-1"}`},
		"url elicitation is known to legacy": {"tools/call", mcp.V20251125, -32042, `{"elicitations":[]}`, -32042, `{"elicitations":[]}`},
		"own codes stay":                     {"tools/call", mcp.V20251125, -5, `[1]`, -5, `[1]`},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.open("s", mcp.V20251125, c.up, `{}`)
			w.refuses(c.code, "no", c.data)
			e := wantError(t, w.post(t, sent{session: "s"}, `{"jsonrpc":"2.0","id":1,"method":"`+c.method+`","params":{}}`), c.want, 200)
			if string(e.Data) != c.wantData {
				t.Errorf("data %s, want %s", e.Data, c.wantData)
			}
		})
	}
}

func TestMissingCapabilityOfALegacyCallIsTextForTheModel(t *testing.T) {
	w := newWorld(t)
	w.open("s", mcp.V20251125, mcp.V20260728, `{}`)
	w.refuses(mcp.CodeMissingCapability, "missing", `{"requiredCapabilities":{"sampling":{}}}`)
	a := w.post(t, sent{session: "s"}, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"}}`)
	if r := string(a.Message.Result()); !strings.Contains(r, `"isError":true`) || !strings.Contains(r, `sampling`) {
		t.Errorf("answer %s, want a tool's error that names the capability", text(a.Message))
	}
}

func TestCapabilitiesAreDeclaredAsFarAsTheyCanBeCarried(t *testing.T) {
	all := `{"roots":{},"sampling":{"tools":{},"context":{}},"elicitation":{"form":{},"url":{}},"tasks":{},"extensions":{"io.modelcontextprotocol/tasks":{},"x/y":{}}}`
	for name, c := range map[string]struct {
		path eras
		want string
	}{
		"modern to modern": {eras{mcp.V20260728, mcp.V20260728}, `{"roots":{},"sampling":{"tools":{},"context":{}},"elicitation":{"form":{},"url":{}},"extensions":{"x/y":{}}}`},
		"modern to legacy": {eras{mcp.V20260728, mcp.V20251125}, `{"extensions":{"x/y":{}}}`},
		"legacy to modern": {eras{mcp.V20251125, mcp.V20260728}, `{"extensions":{"x/y":{}}}`},
		"2025-11-25":       {eras{mcp.V20251125, mcp.V20250326}, `{"roots":{},"sampling":{"tools":{},"context":{}},"elicitation":{"form":{},"url":{}},"extensions":{"x/y":{}}}`},
		"2025-06-18":       {eras{mcp.V20250618, mcp.V20251125}, `{"roots":{},"sampling":{},"elicitation":{},"extensions":{"x/y":{}}}`},
		"2025-03-26":       {eras{mcp.V20250326, mcp.V20251125}, `{"roots":{},"sampling":{},"extensions":{"x/y":{}}}`},
		"2024-11-05":       {eras{mcp.V20241105, mcp.V20251125}, `{"roots":{},"sampling":{},"extensions":{"x/y":{}}}`},
	} {
		if got := string(declared([]byte(all), c.path)); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestModernCallerDeclaresNothingToALegacyUpstreamAndEverythingToAModernOne(t *testing.T) {
	body := strings.Replace(modernBody("prompts/list", ""), `clientCapabilities":{}`, `clientCapabilities":{"sampling":{}}`, 1)
	for _, modern := range []bool{false, true} {
		w := newWorld(t)
		want := `{}`
		if w.legacyUpstream(mcp.V20251125, `{}`); modern {
			want = `{"sampling":{}}`
			w.modernUpstream(`{}`)
		}
		w.answers(`{}`)
		w.post(t, modernSent("prompts/list", ""), body)
		if _, caller := w.upstreams.lastSent(t); string(caller.Capabilities) != want {
			t.Errorf("modern upstream %v: declared %s, want %s", modern, caller.Capabilities, want)
		}
		if got := string(w.upstreams.opens[0].Capabilities); got != `{}` {
			t.Errorf("probed with %s: what is opened then must serve a legacy upstream", got)
		}
	}
}

// The other rows of reference 3.4 that need no bridge, each where it is tested:
// initialize and discover (initialize_test.go, modern_test.go), ping (here and in
// modern_test.go), log levels (legacy_test.go, modern_test.go), subscriptions
// (legacy_test.go, stream_test.go, listen_test.go), cancellation (legacy_test.go,
// modern_test.go), progress (modern_test.go, legacy_test.go).
func TestPingIsAnsweredLocally(t *testing.T) {
	w := newWorld(t)
	w.open("s", mcp.V20251125, mcp.V20260728, `{}`)
	wantResult(t, w.post(t, sent{session: "s"}, `{"jsonrpc":"2.0","id":"p","method":"ping"}`), `{}`)
	if len(w.upstreams.sent) > 0 {
		t.Error("the upstream was pinged")
	}
}

// Rows of reference 3.9.

func TestServerRequestInAModernCallIsRefusedUpstream(t *testing.T) {
	w := newWorld(t)
	w.legacyUpstream(mcp.V20251125, `{}`)
	for _, method := range []string{"elicitation/create", "sampling/createMessage", "roots/list"} {
		w.upstreams.call = func(ctx context.Context, _ upstream.Caller, m *mcp.Message, s upstream.Sink) (*mcp.Message, error) {
			answer, err := s.Ask(ctx, mcp.Request(mcp.NumberID(5), method, nil))
			if e := mcp.FromFault(err, ""); err == nil || e.Code != mcp.CodeMethodNotFound || !strings.Contains(e.Message, method) {
				t.Errorf("%s: %s, %v", method, text(answer), err)
			}
			return mcp.Answer(m.ID(), []byte(`{"content":[],"isError":true}`)), nil
		}
		w.post(t, modernSent("tools/call", "add"), modernBody("tools/call", callParams))
	}
	w.upstreams.call = func(ctx context.Context, _ upstream.Caller, m *mcp.Message, s upstream.Sink) (*mcp.Message, error) {
		if _, err := s.Ask(ctx, mcp.Request(mcp.NumberID(5), mcp.Ping, nil)); err != nil {
			t.Errorf("a ping of the upstream: %v", err)
		}
		return mcp.Answer(m.ID(), nil), nil
	}
	w.post(t, modernSent("tools/call", "add"), modernBody("tools/call", callParams))
}

func TestInputRequiredCannotReachALegacyClient(t *testing.T) {
	w := newWorld(t)
	w.open("s", mcp.V20251125, mcp.V20260728, `{"elicitation":{}}`)
	w.answers(`{"resultType":"input_required","inputRequests":{"k":{"method":"elicitation/create"}},"requestState":"x"}`)
	a := w.post(t, sent{session: "s"}, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"}}`)
	if r := string(a.Message.Result()); !strings.Contains(r, `"isError":true`) || !strings.Contains(r, "elicitation/create") {
		t.Errorf("tools/call: %s", text(a.Message))
	}
	e := wantError(t, w.post(t, sent{session: "s"}, `{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{"name":"a"}}`), mcp.CodeInternal, 200)
	if string(mcp.Field(e.Data, "gateway", "reason")) != `"input_required"` {
		t.Errorf("prompts/get: %s", e.Data)
	}
}

func TestLoadSheddingIsTriedAgainForALegacyClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.open("s", mcp.V20251125, mcp.V20260728, `{}`)
		busy := 3
		w.upstreams.call = func(_ context.Context, _ upstream.Caller, m *mcp.Message, _ upstream.Sink) (*mcp.Message, error) {
			if busy--; busy >= 0 {
				return mcp.Answer(m.ID(), []byte(`{"resultType":"input_required","requestState":"later"}`)), nil
			}
			if state, _ := mcp.RequestState(m.Params()); state != "later" {
				t.Errorf("sent again without the state: %s", m.Params())
			}
			return mcp.Answer(m.ID(), []byte(`{"resultType":"complete","content":[]}`)), nil
		}
		call := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"}}`
		wantResult(t, w.post(t, sent{session: "s"}, call), `{"content":[]}`)

		busy = 1000
		wantError(t, w.post(t, sent{session: "s"}, call), mcp.CodeInternal, 200)
		if tried := 1000 - busy; tried != maxRounds {
			t.Errorf("tried %d times, want %d", tried, maxRounds)
		}
	})
}

func TestResultOfAnUnknownTypeIsAnError(t *testing.T) {
	w := newWorld(t)
	w.open("s", mcp.V20251125, mcp.V20260728, `{}`)
	w.answers(`{"resultType":"task","taskId":"t"}`)
	e := wantError(t, w.post(t, sent{session: "s"}, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"}}`), mcp.CodeInternal, 200)
	if string(mcp.Field(e.Data, "gateway", "reason")) != `"result_type"` {
		t.Errorf("data %s", e.Data)
	}
}
