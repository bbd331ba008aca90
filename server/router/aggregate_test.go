package router

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/mcp"
	"github.com/mcpraft/mcpraft/server/session"
	"github.com/mcpraft/mcpraft/server/upstream"
)

const subscribes = `{"tools":{"listChanged":true},"resources":{"subscribe":true,"listChanged":true},"logging":{}}`

func item(kind record.ListKind, name, raw string) record.ListItem {
	return record.ListItem{Kind: kind, Name: name, Raw: []byte(raw)}
}

// newTwins is a world with two upstreams that have the same of everything. Each has
// its own answers, in w.upstreams.at.
func newTwins(t testing.TB) *world {
	w := newWorld(t)
	w.upstreams.at = make(map[string]*fakeUpstreams)
	for alias, version := range map[string]mcp.Version{"files": mcp.V20251125, "mail": mcp.V20260728} {
		w.catalog.put(twin(alias, version), twinItems()...)
		up := new(world)
		up.upstreams = new(fakeUpstreams)
		if version.Modern() {
			up.modernUpstream(subscribes)
		} else {
			up.legacyUpstream(version, subscribes)
		}
		up.answers(`{"content":[{"type":"resource_link","uri":"note://a"}]}`)
		w.upstreams.at[alias] = up.upstreams
	}
	return w
}

func twin(alias string, v mcp.Version) *record.Slice {
	return &record.Slice{
		ID: record.SliceID{Alias: alias}, Generation: 1, Upstream: 1, Modern: v.Modern(), Protocol: string(v),
		Capabilities: []byte(subscribes), Instructions: "mind " + alias,
	}
}

func twinItems() []record.ListItem {
	return []record.ListItem{
		item(record.ListTools, "add", `{"name":"add","inputSchema":{"type":"object"}}`),
		item(record.ListTools, "sub", `{"name":"sub","execution":{"taskSupport":"optional"},"outputSchema":{"type":"array"}}`),
		item(record.ListResources, "note://a", `{"uri":"note://a","name":"a"}`),
		item(record.ListTemplates, "note://{id}", `{"uriTemplate":"note://{id}","name":"n"}`),
		item(record.ListPrompts, "greet", `{"name":"greet"}`),
	}
}

// openJoined puts a session of alice at the aggregate into the world.
func (w *world) openJoined(client mcp.Version, change ...func(*record.Session)) *session.Live {
	return w.open("s", client, "", `{"sampling":{},"elicitation":{}}`, append([]func(*record.Session){func(r *record.Session) {
		r.Endpoint, r.Bindings = "", nil
	}}, change...)...)
}

func bound(b ...record.Binding) func(*record.Session) {
	return func(r *record.Session) { r.Bindings = b }
}

var inJoined = sent{alias: "-", session: "s"}

func joinedSent(method, name string) sent {
	s := modernSent(method, name)
	s.alias = "-"
	return s
}

func request(method, params string) string {
	return `{"jsonrpc":"2.0","id":7,"method":"` + method + `","params":{` + params + `}}`
}

func TestListsOfTheAggregateAskNobody(t *testing.T) {
	w := newTwins(t)
	w.openJoined(mcp.V20251125)
	for method, want := range map[string]string{
		mcp.ToolsList:     `{"tools":[{"name":"files__add","inputSchema":{"type":"object"}},{"name":"files__sub","execution":{}},{"name":"mail__add","inputSchema":{"type":"object"}},{"name":"mail__sub","execution":{}}]}`,
		mcp.ResourcesList: `{"resources":[{"uri":"gw://files/note://a","name":"a"},{"uri":"gw://mail/note://a","name":"a"}]}`,
		mcp.TemplatesList: `{"resourceTemplates":[{"uriTemplate":"gw://files/note://{id}","name":"n"},{"uriTemplate":"gw://mail/note://{id}","name":"n"}]}`,
		mcp.PromptsList:   `{"prompts":[{"name":"files__greet"},{"name":"mail__greet"}]}`,
	} {
		for range 2 { // the second time as it was kept
			wantResult(t, w.post(t, inJoined, request(method, "")), want)
		}
		got := string(w.post(t, joinedSent(method, ""), modernBody(method, "")).Message.Result())
		for _, part := range []string{`"resultType":"complete"`, `"ttlMs":10000`, `"cacheScope":"private"`, `"io.modelcontextprotocol/serverInfo":{"name":"mcpraft","version":"1.2.3"}`, `gw://`} {
			if !strings.Contains(got, part) && (part != `gw://` || strings.HasPrefix(method, "resources")) {
				t.Errorf("%s lacks %s: %s", method, part, got)
			}
		}
	}
	if got := string(w.post(t, joinedSent(mcp.ToolsList, ""), modernBody(mcp.ToolsList, "")).Message.Result()); !strings.Contains(got, `"outputSchema":{"type":"array"}`) {
		t.Errorf("a modern client is not shown the schema that only modern ones have: %s", got)
	}
	w.catalog.remove("mail")
	if got := string(w.post(t, inJoined, request(mcp.PromptsList, "")).Message.Result()); got != `{"prompts":[{"name":"files__greet"}]}` {
		t.Errorf("after a removal: %s", got)
	}
	wantError(t, w.post(t, inJoined, request(mcp.ToolsList, `"cursor":"x"`)), mcp.CodeInvalidParams, 200)
	wantError(t, w.post(t, joinedSent(mcp.ToolsList, ""), modernBody(mcp.ToolsList, `"cursor":"x"`)), mcp.CodeInvalidParams, 400)
	for alias, up := range w.upstreams.at {
		if len(up.sent)+len(up.opens) > 0 {
			t.Errorf("%s was asked", alias)
		}
	}
}

func TestInitializeAtTheAggregateOpensNoUpstream(t *testing.T) {
	w := newTwins(t)
	a := w.post(t, sent{alias: "-"}, `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{"roots":{}},"clientInfo":{"name":"c"}}}`)
	result := a.Message.Result()
	capabilities := string(mcp.Field(result, "capabilities"))
	if a.Session != "fresh" || capabilities != joinedCapabilities || string(mcp.Field(result, "protocolVersion")) != `"2025-06-18"` {
		t.Errorf("session %q, answer %s", a.Session, result)
	}
	if got, _ := mcp.Text(mcp.Field(result, "instructions")); got != joinedInstructions+"\n\n# files\n\nmind files\n\n# mail\n\nmind mail" {
		t.Errorf("instructions %q", got)
	}
	if d := w.sessions.drafts[0]; d.Endpoint != "" || len(d.Bindings) > 0 || string(d.Capabilities) != `{"roots":{}}` {
		t.Errorf("draft %+v", d)
	}
	if len(w.upstreams.at["files"].opens)+len(w.upstreams.at["mail"].opens) > 0 {
		t.Error("an upstream was opened")
	}
}

func TestDiscoveryOfTheAggregateMergesExtensions(t *testing.T) {
	w := newTwins(t)
	for alias, settings := range map[string]string{"files": `{"a":1}`, "mail": `{"a":2}`} {
		s := twin(alias, mcp.V20260728)
		s.Capabilities = []byte(`{"extensions":{"io.modelcontextprotocol/ui":` + settings + `,"io.modelcontextprotocol/tasks":{}},"experimental":{"x":{}}}`)
		w.catalog.put(s)
	}
	result := w.post(t, joinedSent(mcp.Discover, ""), modernBody(mcp.Discover, "")).Message.Result()
	if got, want := string(mcp.Field(result, "capabilities", "extensions")), `{"io.modelcontextprotocol/ui":{"a":1}}`; got != want {
		t.Errorf("extensions %s, want %s", got, want)
	}
	if mcp.Field(result, "capabilities", "experimental") != nil || string(mcp.Field(result, "supportedVersions")) != string(supportedVersions) {
		t.Errorf("discovery %s", result)
	}
}

func TestInstructionsOfTheAggregateAreBounded(t *testing.T) {
	w := newWorld(t)
	for i := range 9 {
		s := twin(fmt.Sprintf("up-%d", i), mcp.V20251125)
		s.Instructions = strings.Repeat("x", 3<<10)
		w.catalog.put(s)
	}
	if got := mergedInstructions(w.catalog.Now()); len(got) > maxInstructions || !strings.Contains(got, "# up-4") || strings.Contains(got, "# up-5") {
		t.Errorf("%d bytes", len(got))
	}
}

func TestCallGoesToTheUpstreamThatTheNameIsFoundAt(t *testing.T) {
	for name, c := range map[string]struct{ method, public, own string }{
		"tool":              {mcp.ToolsCall, `"name":"%s__add"`, `"name":"add"`},
		"prompt":            {mcp.PromptsGet, `"name":"%s__greet"`, `"name":"greet"`},
		"resource":          {mcp.ResourcesRead, `"uri":"gw://%s/note://a"`, `"uri":"note://a"`},
		"unlisted resource": {mcp.ResourcesRead, `"uri":"gw://%s/note://b?c=%%2f"`, `"uri":"note://b?c=%2f"`},
		"prompt's argument": {mcp.Complete, `"ref":{"type":"ref/prompt","name":"%s__greet"}`, `"ref":{"type":"ref/prompt","name":"greet"}`},
		"template":          {mcp.Complete, `"ref":{"type":"ref/resource","uri":"gw://%s/note://{id}"}`, `"ref":{"type":"ref/resource","uri":"note://{id}"}`},
	} {
		for _, alias := range []string{"files", "mail"} {
			w := newTwins(t)
			w.openJoined(mcp.V20251125)
			public := fmt.Sprintf(c.public, alias)
			answer := w.post(t, inJoined, request(c.method, public))
			m, caller := w.upstreams.at[alias].lastSent(t)
			if string(m.Params()) != "{"+c.own+"}" || m.Method() != c.method || caller.Session != "record-s" || answer.Message.Err() != nil {
				t.Errorf("%s at %s: sent %s as %q, answer %s", name, alias, m.Bytes(), caller.Session, text(answer.Message))
			}
			_, header, _ := strings.Cut(public, `":"`)
			post := joinedSent(c.method, strings.TrimSuffix(header, `"`))
			if c.method == mcp.Complete {
				post.name = ""
			}
			w.post(t, post, modernBody(c.method, public))
			m, caller = w.upstreams.at[alias].lastSent(t)
			if !strings.HasPrefix(string(m.Params()), "{"+c.own+",") || !caller.Modern {
				t.Errorf("%s at %s of a modern client: sent %s", name, alias, m.Bytes())
			}
			for other, up := range w.upstreams.at {
				if other != alias && len(up.sent) > 0 {
					t.Errorf("%s at %s: %s was called", name, alias, other)
				}
			}
		}
	}
}

func TestAnswerThroughTheAggregateBearsPublicURIs(t *testing.T) {
	w := newTwins(t)
	w.openJoined(mcp.V20251125)
	wantResult(t, w.post(t, inJoined, request(mcp.ToolsCall, `"name":"files__add"`)), `{"content":[{"type":"resource_link","uri":"gw://files/note://a"}]}`)
	a := w.post(t, joinedSent(mcp.ToolsCall, "mail__add"), modernBody(mcp.ToolsCall, `"name":"mail__add"`))
	if got := string(mcp.Field(a.Message.Result(), "content")); got != `[{"type":"resource_link","uri":"gw://mail/note://a"}]` {
		t.Errorf("content %s", got)
	}
}

func TestWhatNobodyHasIsRefused(t *testing.T) {
	w := newTwins(t)
	w.openJoined(mcp.V20251125)
	broken := twin("broken", mcp.V20251125)
	broken.Error = "it cannot be reached"
	w.catalog.put(broken)
	for method, params := range map[string]string{
		mcp.ToolsCall: `"name":"add"`, mcp.PromptsGet: `"name":"files__add"`, mcp.ResourcesRead: `"uri":"gw://nobody/note://a"`,
		mcp.Complete: `"ref":{"type":"ref/x"}`, mcp.ResourcesSub: `"uri":"note://a"`, mcp.ResourcesUnsub: `"url":""`,
	} {
		wantError(t, w.post(t, inJoined, request(method, params)), mcp.CodeInvalidParams, 200)
	}
	wantError(t, w.post(t, inJoined, request("vendor/method", "")), mcp.CodeMethodNotFound, 200)
	wantError(t, w.post(t, joinedSent("vendor/method", ""), modernBody("vendor/method", "")), mcp.CodeMethodNotFound, 404)
	wantError(t, w.post(t, joinedSent(mcp.Initialize, ""), modernBody(mcp.Initialize, "")), mcp.CodeMethodNotFound, 404)
	w.registered = map[string]record.Upstream{"off": {Alias: "off", Disabled: true}, "new": {Alias: "new"}}
	for params, want := range map[string]string{
		`"name":"broken__x"`: "; upstream broken could not be listed: it cannot be reached",
		`"name":"off__x"`:    "; upstream off is disabled",
		`"name":"new__x"`:    "; upstream new was not listed yet",
		`"name":"nobody__x"`: `no tool "nobody__x" here`,
	} {
		e := wantError(t, w.post(t, inJoined, request(mcp.ToolsCall, params)), mcp.CodeInvalidParams, 200)
		if !strings.HasSuffix(e.Message, want) {
			t.Errorf("message %q, want …%s", e.Message, want)
		}
	}
	e := wantError(t, w.post(t, inJoined, request(mcp.ResourcesRead, `"uri":"gw://off/x"`)), mcp.CodeInvalidParams, 200)
	if !strings.HasSuffix(e.Message, "; upstream off is disabled") || string(mcp.Field(e.Data, "uri")) != `"gw://off/x"` {
		t.Errorf("error %+v", e)
	}
}

// A client takes 404 for the end of its session, and a balancer 503 for the end of
// the node.
func TestUpstreamInTroubleIsAnErrorOfItsCallAlone(t *testing.T) {
	for _, kind := range []fault.Kind{fault.NotFound, fault.Unavailable, fault.Unreachable, fault.Overloaded, fault.OutcomeUnknown} {
		w := newTwins(t)
		w.openJoined(mcp.V20251125)
		for _, up := range w.upstreams.at {
			up.openErr = fault.New(kind, "upstream in trouble")
			up.call = func(context.Context, upstream.Caller, *mcp.Message, upstream.Sink) (*mcp.Message, error) {
				return nil, fault.New(kind, "upstream in trouble")
			}
		}
		for _, a := range []struct {
			s    sent
			body string
		}{
			{inJoined, request(mcp.ToolsCall, `"name":"files__add"`)},
			{joinedSent(mcp.ToolsCall, "files__add"), modernBody(mcp.ToolsCall, `"name":"files__add"`)},
		} {
			answer := w.post(t, a.s, a.body)
			if e := answer.Message.Err(); e == nil || e.Message != "upstream in trouble" || answer.Status != 0 {
				t.Errorf("%v: %d %s", kind, answer.Status, text(answer.Message))
			}
			if list := w.post(t, inJoined, request(mcp.ToolsList, "")); list.Message.Err() != nil {
				t.Errorf("%v: the list fails: %s", kind, text(list.Message))
			}
		}
	}
}

func TestFirstCallDeclaresWhatTheEraOfItsUpstreamCarries(t *testing.T) {
	w := newTwins(t)
	w.openJoined(mcp.V20251125)
	w.post(t, inJoined, request(mcp.ToolsCall, `"name":"files__add"`))
	w.post(t, inJoined, request(mcp.ToolsCall, `"name":"mail__add"`))
	for alias, want := range map[string]string{"files": `{"sampling":{},"elicitation":{}}`, "mail": `{}`} {
		if _, caller := w.upstreams.at[alias].lastSent(t); string(caller.Capabilities) != want || caller.Binding != nil {
			t.Errorf("%s: declared %s with %+v, want %s", alias, caller.Capabilities, caller.Binding, want)
		}
	}
}

func TestUpstreamAsksThroughTheAggregate(t *testing.T) {
	w := newTwins(t)
	w.openJoined(mcp.V20251125)
	var asked []string
	w.sessions.ask = func(_ context.Context, m *mcp.Message) (*mcp.Message, error) {
		asked = append(asked, string(m.Params()))
		return mcp.Answer(m.ID(), []byte(`{"role":"assistant","content":{"type":"resource_link","uri":"gw://files/note://a"}}`)), nil
	}
	var reply *mcp.Message
	w.upstreams.at["files"].call = func(ctx context.Context, _ upstream.Caller, m *mcp.Message, s upstream.Sink) (*mcp.Message, error) {
		s.Notification(parse(t, `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}`))
		s.Progressed("e-1", "up-session", mcp.NumberID(3))
		var err error
		reply, err = s.Ask(ctx, parse(t, `{"jsonrpc":"2.0","id":3,"method":"sampling/createMessage","params":{"messages":[{"role":"user","content":{"type":"resource_link","uri":"note://a"}}],"includeContext":"thisServer"}}`))
		return mcp.Answer(m.ID(), nil), err
	}
	s := inJoined
	s.stream = new(fakeStream)
	w.post(t, s, request(mcp.ToolsCall, `"name":"files__add"`))
	if want := `{"messages":[{"role":"user","content":{"type":"resource_link","uri":"gw://files/note://a"}}],"includeContext":"none"}`; len(asked) != 1 || asked[0] != want {
		t.Errorf("asked %q, want %s", asked, want)
	}
	if want := `{"role":"assistant","content":{"type":"resource_link","uri":"note://a"}}`; reply == nil || string(reply.Result()) != want {
		t.Errorf("reply %s, want %s", text(reply), want)
	}
	if got := s.stream.data()[0]; !strings.Contains(got, `"logger":"files"`) {
		t.Errorf("log message %s", got)
	}
	if at := w.sessions.calls[0].at; len(at) != 1 || at[0].Alias != "files" || at[0].LastEventID != "e-1" {
		t.Errorf("the call is noted as %+v", at)
	}
}

func TestResumedCallOfTheAggregateBearsPublicURIs(t *testing.T) {
	w := newTwins(t)
	w.openJoined(mcp.V20251125, bound(record.Binding{Alias: "files", Protocol: "2025-11-25"}))
	w.upstreams.resume = func(upstream.Caller, string, mcp.ID) (*mcp.Message, error) {
		return mcp.Answer(mcp.NumberID(7), []byte(`{"contents":[{"uri":"note://a"}]}`)), nil
	}
	w.sessions.listen = func(ctx context.Context, o ListenOptions) error {
		c, _ := w.sessions.OpenCall(ctx, nil, mcp.NumberID(7), new(fakeStream), session.CallOptions{})
		m, err := o.Resume(c, session.Upstream{Alias: "files", Protocol: "2025-11-25", LastEventID: "e"})
		if err != nil || string(m.Result()) != `{"contents":[{"uri":"gw://files/note://a"}]}` {
			t.Errorf("%s, %v", text(m), err)
		}
		return nil
	}
	_ = w.Listen(t.Context(), inJoined.request(), new(fakeStream))
}

func TestLogLevelReachesEveryOpenedUpstream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTwins(t)
		w.catalog.put(twin("dead", mcp.V20251125))
		w.upstreams.at["dead"] = &fakeUpstreams{call: func(ctx context.Context, _ upstream.Caller, _ *mcp.Message, _ upstream.Sink) (*mcp.Message, error) {
			<-ctx.Done()
			return nil, context.Cause(ctx)
		}}
		silent := twin("silent", mcp.V20251125)
		silent.Capabilities = []byte(`{"tools":{}}`)
		w.catalog.put(silent)
		w.upstreams.at["silent"] = &fakeUpstreams{}
		legacy := func(alias string) record.Binding { return record.Binding{Alias: alias, Protocol: "2025-11-25"} }
		w.openJoined(mcp.V20251125, bound(legacy("dead"), legacy("files"), record.Binding{Alias: "mail", Subscriptions: []string{"note://a"}}, legacy("silent")))
		begun := time.Now()
		wantResult(t, w.post(t, inJoined, request(mcp.SetLevel, `"level":"error"`)), `{}`)
		if took := time.Since(begun); took != tellWait {
			t.Errorf("took %v", took)
		}
		if !slices.Equal(w.sessions.levels, []string{"error"}) {
			t.Errorf("noted %q", w.sessions.levels)
		}
		if m, _ := w.upstreams.at["files"].lastSent(t); string(m.Params()) != `{"level":"error"}` {
			t.Errorf("told %s", m.Params())
		}
		if len(w.upstreams.at["mail"].sent)+len(w.upstreams.at["silent"].sent) > 0 {
			t.Error("who has no level was told")
		}
		wantError(t, w.post(t, inJoined, request(mcp.SetLevel, `"level":"loud"`)), mcp.CodeInvalidParams, 200)
	})
}

func TestOnlyRootsAreSaidToAllUpstreams(t *testing.T) {
	w := newTwins(t)
	w.openJoined(mcp.V20251125, bound(record.Binding{Alias: "files", Protocol: "2025-11-25"}))
	w.post(t, inJoined, `{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}`)
	w.post(t, inJoined, `{"jsonrpc":"2.0","method":"notifications/vendor"}`)
	if got := w.upstreams.at["files"].notified; !slices.Equal(got, []string{mcp.RootsListChanged}) {
		t.Errorf("told %q", got)
	}
}

func TestLogMessagesBelowTheLevelOfTheSessionStop(t *testing.T) {
	w := newTwins(t)
	w.openJoined(mcp.V20251125, func(r *record.Session) { r.LogLevel = "warning" })
	w.upstreams.at["files"].call = func(_ context.Context, _ upstream.Caller, m *mcp.Message, s upstream.Sink) (*mcp.Message, error) {
		for _, level := range []string{"info", "error"} {
			s.Notification(parse(t, `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"`+level+`"}}`))
		}
		return mcp.Answer(m.ID(), nil), nil
	}
	s := inJoined
	s.stream = new(fakeStream)
	w.post(t, s, request(mcp.ToolsCall, `"name":"files__add"`))
	if got := s.stream.data(); len(got) != 1 || !strings.Contains(got[0], `"error"`) {
		t.Errorf("heard %q", got)
	}
}

func TestHeadersOfTheAggregateAreHeldAgainstTheCatalogue(t *testing.T) {
	w := newTwins(t)
	w.catalog.put(twin("files", mcp.V20251125), item(record.ListTools, "run", `{"name":"run","inputSchema":{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"}}}}`))
	s := joinedSent(mcp.ToolsCall, "files__run")
	body := modernBody(mcp.ToolsCall, `"name":"files__run","arguments":{"region":"eu"}`)
	wantError(t, w.post(t, s, body), mcp.CodeHeaderMismatch, 400)
	s.params = map[string]string{"Region": "eu"}
	if a := w.post(t, s, body); a.Message.Err() != nil {
		t.Errorf("with its header: %s", text(a.Message))
	}
	s.name = "run"
	wantError(t, w.post(t, s, body), mcp.CodeHeaderMismatch, 400)
}

func TestSubscriptionNotesItsEvents(t *testing.T) {
	for name, c := range map[string]struct {
		alias, params string
		asked         bool // of the upstream
		want          record.Events
	}{
		"nothing said":            {"files", ``, true, record.EventUpdate},
		"update":                  {"files", `,"events":["update"]`, true, record.EventUpdate},
		"update and delete":       {"files", `,"events":["update","delete"]`, true, record.EventUpdate | record.EventDelete},
		"in _meta":                {"files", `,"_meta":{"io.github.mcpraft/events":["delete"]}`, false, record.EventDelete},
		"what is not there yet":   {"files", `,"events":["create","update"]`, false, record.EventCreate | record.EventUpdate},
		"all of a modern one":     {"mail", `,"events":["create","update","delete"]`, false, record.AllEvents},
		"updates of a modern one": {"mail", ``, false, record.EventUpdate},
	} {
		w := newTwins(t)
		w.openJoined(mcp.V20251125)
		a := w.post(t, inJoined, request(mcp.ResourcesSub, `"uri":"gw://`+c.alias+`/note://a"`+c.params))
		if a.Message.Err() != nil {
			t.Errorf("%s: %s", name, text(a.Message))
		}
		if got := w.sessions.live["s"].Record.Binding(c.alias).Subscribed("note://a"); got != c.want {
			t.Errorf("%s: noted %b, want %b", name, got, c.want)
		}
		sent := w.upstreams.at[c.alias].sent
		if len(sent) == 1 != c.asked {
			t.Errorf("%s: the upstream was asked %d times", name, len(sent))
		}
		if c.asked && string(sent[0].Params()) != `{"uri":"note://a"}` {
			t.Errorf("%s: the upstream was asked %s", name, sent[0].Params())
		}
	}
}

func TestSubscriptionThatCannotBeIsRefused(t *testing.T) {
	w := newTwins(t)
	w.openJoined(mcp.V20251125)
	mute := twin("mute", mcp.V20251125)
	mute.Capabilities = []byte(`{"resources":{}}`)
	w.catalog.put(mute)
	wantError(t, w.post(t, inJoined, request(mcp.ResourcesSub, `"uri":"gw://mute/x"`)), mcp.CodeMethodNotFound, 200)
	if a := w.post(t, inJoined, request(mcp.ResourcesSub, `"uri":"gw://mute/x","events":["create"]`)); a.Message.Err() != nil {
		t.Errorf("of what the catalogue tells: %s", text(a.Message))
	}
	for _, events := range []string{`["destroy"]`, `[]`, `"update"`, `[1]`} {
		wantError(t, w.post(t, inJoined, request(mcp.ResourcesSub, `"uri":"gw://files/note://a","events":`+events)), mcp.CodeInvalidParams, 200)
	}
	w.openJoined(mcp.V20251125, func(r *record.Session) {
		for i := range 4 {
			b := record.Binding{Alias: fmt.Sprintf("up-%d", i)}
			for j := range record.MaxSubscriptions {
				b.SetEvents(fmt.Sprint(j), record.EventCreate)
			}
			r.Bind(b)
		}
	})
	a := w.post(t, inJoined, request(mcp.ResourcesSub, `"uri":"gw://files/note://a"`))
	if e := a.Message.Err(); e == nil || !strings.Contains(e.Message, "1024 subscriptions") {
		t.Errorf("one too many: %s", text(a.Message))
	}
}

func TestUnsubscribingTakesEventsBack(t *testing.T) {
	for name, c := range map[string]struct {
		had    record.Events
		params string
		asked  bool
		want   record.Events
	}{
		"all":                     {record.EventUpdate | record.EventDelete, ``, true, 0},
		"the updates":             {record.EventUpdate | record.EventDelete, `,"events":["update"]`, true, record.EventDelete},
		"not the updates":         {record.EventUpdate | record.EventDelete, `,"events":["delete"]`, false, record.EventUpdate},
		"what a stream has asked": {record.AllEvents, ``, false, 0},
		"what there is not":       {0, ``, false, 0},
	} {
		w := newTwins(t)
		b := record.Binding{Alias: "files", Protocol: "2025-11-25"}
		b.SetEvents("note://a", c.had)
		w.openJoined(mcp.V20251125, bound(b))
		a := w.post(t, inJoined, request(mcp.ResourcesUnsub, `"uri":"gw://files/note://a"`+c.params))
		if got := w.sessions.live["s"].Record.Binding("files").Subscribed("note://a"); got != c.want || a.Message.Err() != nil {
			t.Errorf("%s: noted %b, want %b; %s", name, got, c.want, text(a.Message))
		}
		if len(w.upstreams.at["files"].sent) == 1 != c.asked {
			t.Errorf("%s: the upstream was asked %d times", name, len(w.upstreams.at["files"].sent))
		}
	}
}

// The session was opened upstream by another node, whose entry is not here yet.
func TestFirstUseOfAnUpstreamAsksTheClusterOnce(t *testing.T) {
	w := newTwins(t)
	l := w.openJoined(mcp.V20251125)
	newest := &session.Live{ID: l.ID, Record: l.Record}
	newest.Record.LogLevel = "debug"
	newest.Record.Bind(record.Binding{Alias: "files", Protocol: "2025-06-18"})
	w.sessions.newest = newest
	for range 3 {
		w.post(t, inJoined, request(mcp.ToolsCall, `"name":"files__add"`))
	}
	if first := w.upstreams.at["files"].callers[0]; first.Binding == nil || first.Binding.Protocol != "2025-06-18" || first.LogLevel != "debug" {
		t.Errorf("called as %+v", first)
	}
	if w.sessions.asked != 1 {
		t.Errorf("the cluster was asked %d times", w.sessions.asked)
	}
	w.sessions.newestErr = fault.New(fault.NoLeader, "no leader")
	if a := w.post(t, inJoined, request(mcp.ToolsCall, `"name":"mail__add"`)); a.Message.Err() != nil {
		t.Errorf("without a leader: %s", text(a.Message))
	}
	w.openJoined(mcp.V20251125, bound(record.Binding{Alias: "files", Protocol: "2025-11-25"}))
	w.looked = lookups{}
	w.sessions.asked = 0
	w.post(t, inJoined, request(mcp.ToolsCall, `"name":"files__add"`))
	if w.sessions.asked != 0 {
		t.Error("the cluster was asked for what is known")
	}
}
