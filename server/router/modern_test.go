package router

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/exchange"
	"github.com/mcpraft/mcpraft/server/mcp"
	"github.com/mcpraft/mcpraft/server/upstream"
)

const callParams = `"name":"add","arguments":{"a":1}`

func TestModernHeadersMustMirrorTheBody(t *testing.T) {
	body := modernBody("tools/call", callParams)
	for name, c := range map[string]struct {
		sent sent
		body string
		code int
	}{
		"method missing":      {sent{version: "2026-07-28", name: "add"}, body, mcp.CodeHeaderMismatch},
		"method differs":      {modernSent("tools/list", "add"), body, mcp.CodeHeaderMismatch},
		"method in capitals":  {modernSent("Tools/Call", "add"), body, mcp.CodeHeaderMismatch},
		"name missing":        {modernSent("tools/call", ""), body, mcp.CodeHeaderMismatch},
		"name differs":        {modernSent("tools/call", "sub"), body, mcp.CodeHeaderMismatch},
		"name of bad base64":  {modernSent("tools/call", "=?base64?***?="), body, mcp.CodeHeaderMismatch},
		"no name in the body": {modernSent("tools/call", "add"), modernBody("tools/call", `"arguments":{}`), mcp.CodeInvalidParams},
		"uri differs":         {modernSent("resources/read", "note://b"), modernBody("resources/read", `"uri":"note://a"`), mcp.CodeHeaderMismatch},
		"prompt differs":      {modernSent("prompts/get", "p"), modernBody("prompts/get", `"name":"q"`), mcp.CodeHeaderMismatch},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.modernUpstream(`{}`)
			e := wantError(t, w.post(t, c.sent, c.body), c.code, 400)
			if strings.HasSuffix(name, " missing") && !strings.Contains(e.Message, "is missing") {
				t.Errorf("message %q does not say what is missing", e.Message)
			}
			if len(w.upstreams.sent) > 0 {
				t.Error("the upstream was asked all the same")
			}
		})
	}
}

func TestModernNameMayBeEncoded(t *testing.T) {
	w := newWorld(t)
	w.modernUpstream(`{}`)
	w.answers(`{"content":[]}`)
	a := w.post(t, modernSent("prompts/get", mcp.EncodeHeader("grüße")), modernBody("prompts/get", `"name":"grüße"`))
	if a.Message.Err() != nil {
		t.Error(a.Message.Err())
	}
}

func TestModernRequestNeedsNoSession(t *testing.T) {
	w := newWorld(t)
	w.modernUpstream(`{}`)
	w.answers(`{"resultType":"complete","content":[],"new":{"kept":true},"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s"}}}`)
	s := modernSent("tools/call", "add")
	s.session = "whatever" // ignored
	a := w.post(t, s, modernBody("tools/call", callParams))
	wantResult(t, a, `{"resultType":"complete","content":[],"new":{"kept":true},"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s"}}}`)
	if _, caller := w.upstreams.lastSent(t); !caller.Modern || caller.Session != "" || caller.Principal != alice {
		t.Errorf("caller upstream = %+v", caller)
	}
	if len(w.sessions.calls) > 0 {
		t.Error("a modern request opened a call of a session")
	}
}

func TestModernMethodsThatWereRemovedAre404(t *testing.T) {
	w := newWorld(t)
	w.modernUpstream(`{}`)
	for _, method := range []string{
		"initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe", "tasks/list", "tasks/result",
		"roots/list", "sampling/createMessage", "elicitation/create",
	} {
		e := wantError(t, w.post(t, modernSent(method, ""), modernBody(method, "")), mcp.CodeMethodNotFound, 404)
		if !strings.Contains(e.Message, "2025-11-25") {
			t.Errorf("%s: %q names no versions", method, e.Message)
		}
	}
	if len(w.upstreams.sent) > 0 {
		t.Error("the upstream was asked for one of them")
	}
}

func TestTasksAreNotOfferedYet(t *testing.T) {
	w := newWorld(t)
	w.modernUpstream(`{}`)
	for _, method := range []string{"tasks/get", "tasks/update", "tasks/cancel"} {
		wantError(t, w.post(t, modernSent(method, "t1"), modernBody(method, `"taskId":"t1"`)), mcp.CodeMethodNotFound, 404)
	}
}

func TestUnknownModernMethodIsTheUpstreamsToRefuse(t *testing.T) {
	w := newWorld(t)
	w.modernUpstream(`{}`)
	w.refuses(mcp.CodeMethodNotFound, "what?", "")
	wantError(t, w.post(t, modernSent("x.example/do", ""), modernBody("x.example/do", "")), mcp.CodeMethodNotFound, 404)
	if m, _ := w.upstreams.lastSent(t); m.Method() != "x.example/do" {
		t.Errorf("sent %s", m.Method())
	}
}

func TestModernNotificationsAreAcceptedAndAnswersAreNot(t *testing.T) {
	w := newWorld(t)
	a := w.post(t, sent{version: "2026-07-28"}, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`)
	if a.Message != nil || a.Status != 0 {
		t.Errorf("notification answered with %s, %d", text(a.Message), a.Status)
	}
	wantError(t, w.post(t, sent{version: "2026-07-28"}, `{"jsonrpc":"2.0","id":1,"result":{}}`), mcp.CodeInvalidRequest, 400)
	claimed := `{"jsonrpc":"2.0","method":"notifications/x","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}`
	wantError(t, w.post(t, sent{}, claimed), mcp.CodeHeaderMismatch, 400)
}

func TestModernStreamCarriesOnlyWhatBelongsToTheRequest(t *testing.T) {
	levelled := strings.Replace(modernBody("tools/call", callParams), `"_meta":{`, `"_meta":{"io.modelcontextprotocol/logLevel":"warning",`, 1)
	notifications := []string{
		`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}`,
		`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}`,
		`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":2}}`,
		`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`,
		`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a"}}`,
	}
	for name, c := range map[string]struct {
		body string
		want []string
	}{
		"with a log level":    {levelled, []string{notifications[0], notifications[2]}},
		"without a log level": {modernBody("tools/call", callParams), []string{notifications[0]}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.legacyUpstream(mcp.V20251125, `{"logging":{}}`)
			w.upstreams.call = func(_ context.Context, _ upstream.Caller, m *mcp.Message, s upstream.Sink) (*mcp.Message, error) {
				for _, n := range notifications {
					s.Notification(parse(t, n))
				}
				return mcp.Answer(m.ID(), []byte(`{"content":[]}`)), nil
			}
			s := modernSent("tools/call", "add")
			s.stream = new(fakeStream)
			w.post(t, s, c.body)
			if got := s.stream.data(); !slices.Equal(got, c.want) {
				t.Errorf("stream has %q, want %q", got, c.want)
			}
		})
	}
}

func TestModernClientGoneCancelsTheCall(t *testing.T) {
	w := newWorld(t)
	w.modernUpstream(`{}`)
	ctx, hangUp := context.WithCancel(t.Context())
	cancelled := false
	w.upstreams.call = func(ctx context.Context, _ upstream.Caller, _ *mcp.Message, _ upstream.Sink) (*mcp.Message, error) {
		hangUp()
		<-ctx.Done()
		cancelled = true
		return nil, context.Cause(ctx)
	}
	w.published.relayed(listKey{"files", alice}, true, nil)
	_, err := w.Post(ctx, modernSent("tools/call", "add").request(), parse(t, modernBody("tools/call", callParams)), new(fakeStream))
	if !cancelled || err != nil {
		t.Errorf("cancelled %v, error %v", cancelled, err)
	}
}

func TestModernStreamOpensAfterFiveSecondsOfSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.modernUpstream(`{}`)
		slow := func(d time.Duration) {
			w.upstreams.call = func(_ context.Context, _ upstream.Caller, m *mcp.Message, _ upstream.Sink) (*mcp.Message, error) {
				if m.Method() != mcp.ToolsList {
					time.Sleep(d)
				}
				return mcp.Answer(m.ID(), nil), nil
			}
		}
		for _, c := range []struct {
			takes    time.Duration
			jsonOnly bool
			want     int
		}{{4 * time.Second, false, 0}, {6 * time.Second, false, 1}, {6 * time.Second, true, 0}} {
			slow(c.takes)
			s := modernSent("tools/call", "add")
			s.stream, s.jsonOnly = new(fakeStream), c.jsonOnly
			w.post(t, s, modernBody("tools/call", callParams))
			if got := s.stream.data(); len(got) != c.want {
				t.Errorf("after %v (JSON only %v) the stream has %q, want %d comments", c.takes, c.jsonOnly, got, c.want)
			}
		}
	})
}

func TestFailureBeforeTheCallIsHTTPAndInTheCallIsJSONRPC(t *testing.T) {
	for kind, status := range map[fault.Kind]int{
		fault.NotFound: 404, fault.Overloaded: 503, fault.Unavailable: 503, // these are the carrier's
		fault.Unreachable: 200, fault.OutcomeUnknown: 200, fault.Timeout: 200,
	} {
		w := newWorld(t)
		w.modernUpstream(`{}`)
		w.upstreams.call = func(context.Context, upstream.Caller, *mcp.Message, upstream.Sink) (*mcp.Message, error) {
			return nil, fault.New(kind, "the upstream is out")
		}
		a, err := w.postErr(t, modernSent("prompts/list", ""), modernBody("prompts/list", ""))
		switch {
		case status == 200:
			if err != nil {
				t.Errorf("%v: error %v, want an answer", kind, err)
				continue
			}
			e := wantError(t, a, kind.RPC(), 200)
			if string(mcp.Field(e.Data, "request_id")) != `"req-1"` || string(mcp.Field(e.Data, "gateway", "reason")) != `"`+kind.String()+`"` {
				t.Errorf("%v: data %s", kind, e.Data)
			}
		case fault.Of(err) != kind || kind.Status() != status:
			t.Errorf("%v: error %v, want one with HTTP %d", kind, err, status)
		}
	}
}

func TestMRTRIsRelayedUntouchedBetweenModernPeers(t *testing.T) {
	w := newWorld(t)
	w.modernUpstream(`{}`)
	asked := `{"resultType":"input_required","inputRequests":{"k":{"method":"elicitation/create","params":{"mode":"form"}}},"requestState":"\u0061==","_meta":{"io.modelcontextprotocol/serverInfo":{}}}`
	w.answers(asked)
	s := modernSent("tools/call", "add")
	wantResult(t, w.post(t, s, modernBody("tools/call", callParams)), asked)

	retry := callParams + `,"inputResponses":{"k":{"action":"accept"}},"requestState":"\u0061=="`
	w.post(t, s, modernBody("tools/call", retry))
	m, _ := w.upstreams.lastSent(t)
	if !strings.Contains(string(m.Params()), `"inputResponses":{"k":{"action":"accept"}},"requestState":"\u0061=="`) {
		t.Errorf("sent upstream: %s", m.Params())
	}
}

func TestRequestStateThatNobodyIssuedIsRefused(t *testing.T) {
	w := newWorld(t)
	w.legacyUpstream(mcp.V20251125, `{}`)
	a := w.post(t, modernSent("tools/call", "add"), modernBody("tools/call", callParams+`,"requestState":"forged"`))
	wantError(t, a, mcp.CodeInvalidParams, 400)
}

func TestDiscoverSpeaksForTheUpstreamInAllRevisions(t *testing.T) {
	versions := `"supportedVersions":["2026-07-28","2025-11-25","2025-06-18","2025-03-26","2024-11-05"]`
	for name, c := range map[string]struct {
		prepare func(*world)
		want    string
	}{
		"legacy upstream": {
			func(w *world) { w.legacyUpstream(mcp.V20250618, `{"tools":{"listChanged":true},"tasks":{}}`) },
			`{"resultType":"complete","ttlMs":0,"cacheScope":"private","capabilities":{"tools":{"listChanged":true}},"instructions":"be kind",` + versions +
				`,"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"up","version":"7"}}}`,
		},
		"modern upstream": {
			func(w *world) {
				w.modernUpstream(`{"tools":{},"extensions":{"io.modelcontextprotocol/tasks":{},"io.modelcontextprotocol/ui":{}}}`)
			},
			`{"resultType":"complete",` + versions + `,"capabilities":{"tools":{},"extensions":{"io.modelcontextprotocol/ui":{}}},"instructions":"be kind",` +
				`"ttlMs":9000,"cacheScope":"public","x":1,"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"up","version":"7"}}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c.prepare(w)
			for range 2 {
				wantResult(t, w.post(t, modernSent("server/discover", ""), modernBody("server/discover", "")), c.want)
			}
			if len(w.upstreams.opens) != 1 || len(w.upstreams.sent) != 0 {
				t.Errorf("%d opened, %d sent: want what is known to be told", len(w.upstreams.opens), len(w.upstreams.sent))
			}
		})
	}
}

func TestProfileIsAskedForAgainAfterAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.legacyUpstream(mcp.V20250618, `{}`)
		w.answers(`{}`)
		list := func() { w.post(t, modernSent("tools/list", ""), modernBody("tools/list", "")) }
		list()
		w.modernUpstream(`{}`) // it was upgraded
		list()
		time.Sleep(profileFor)
		list()
		if n := len(w.upstreams.opens); n != 2 {
			t.Errorf("asked %d times what it is, want 2", n)
		}
	})
}

func TestModernAnswerKeepsTheIDOfTheRequest(t *testing.T) {
	w := newWorld(t)
	w.modernUpstream(`{}`)
	w.answers(`{}`)
	body := strings.Replace(modernBody("tools/list", ""), `"id":7`, `"id":"seven"`, 1)
	a := w.post(t, modernSent("tools/list", ""), body)
	if a.Message.ID() != mcp.TextID("seven") {
		t.Errorf("id %s", a.Message.ID())
	}
}

var _ exchange.Stream = (*fakeStream)(nil)
