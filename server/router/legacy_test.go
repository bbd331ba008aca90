package router

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/exchange"
	"github.com/mcpraft/mcpraft/server/mcp"
	"github.com/mcpraft/mcpraft/server/session"
	"github.com/mcpraft/mcpraft/server/upstream"
)

const addCall = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add","arguments":{"a":1},"_meta":{"progressToken":9}}}`

func TestRequestOfASessionGoesUpstreamAsItIs(t *testing.T) {
	w := newWorld(t)
	l := w.open("s", mcp.V20251125, mcp.V20251125, `{"roots":{}}`, func(r *record.Session) { r.LogLevel = "info" })
	result := `{"content":[{"type":"audio","data":""}],"structuredContent":[1],"x":{"y":null}}`
	w.answers(result)
	wantResult(t, w.post(t, sent{session: "s", version: "2025-11-25"}, addCall), result)
	m, caller := w.upstreams.lastSent(t)
	if string(m.Bytes()) != addCall {
		t.Errorf("sent %s", m.Bytes())
	}
	if caller.Session != "record-s" || caller.Principal != alice || caller.Modern || caller.LogLevel != "info" ||
		string(caller.Capabilities) != `{"roots":{}}` || caller.Binding == nil || caller.Binding.Alias != "files" || caller.Version != l.Version() {
		t.Errorf("caller %+v", caller)
	}
	if c := w.sessions.calls[0]; c.finished != 1 || c.id != mcp.NumberID(1) {
		t.Errorf("call %+v", c)
	}
}

func TestAnyLegacyHeaderIsGoodForALiveSession(t *testing.T) {
	w := newWorld(t)
	w.open("s", mcp.V20250618, mcp.V20251125, `{}`)
	w.answers(`{}`)
	for _, v := range []string{"", "2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"} {
		if _, err := w.postErr(t, sent{session: "s", version: v}, addCall); err != nil {
			t.Errorf("header %q: %v", v, err)
		}
	}
	for _, v := range []string{"1.0", "2025-01-01"} {
		if _, err := w.postErr(t, sent{session: "s", version: v}, addCall); fault.Of(err) != fault.Invalid {
			t.Errorf("header %q: %v, want invalid", v, err)
		}
	}
}

func TestForeignOrUnknownSessionIsNotFound(t *testing.T) {
	w := newWorld(t)
	w.open("s", mcp.V20251125, mcp.V20251125, `{}`)
	w.answers(`{}`)
	for name, s := range map[string]sent{
		"unknown":          {session: "other"},
		"of somebody else": {session: "s", principal: record.Principal{Issuer: "i", Subject: "mallory"}},
		"another endpoint": {session: "s", alias: "db"},
		"modern header":    {session: "other", version: "2026-07-28"},
	} {
		for _, body := range []string{addCall, `{"jsonrpc":"2.0","id":1,"result":{}}`, `{"jsonrpc":"2.0","method":"notifications/initialized"}`} {
			if _, err := w.postErr(t, s, body); fault.Of(err) != fault.NotFound {
				t.Errorf("%s: %v, want not_found", name, err)
			}
		}
		if err := w.End(t.Context(), s.request()); fault.Of(err) != fault.NotFound {
			t.Errorf("DELETE, %s: %v, want not_found", name, err)
		}
		if err := w.Listen(t.Context(), s.request(), new(fakeStream)); fault.Of(err) != fault.NotFound {
			t.Errorf("GET, %s: %v, want not_found", name, err)
		}
	}
	if len(w.upstreams.sent)+len(w.sessions.delivered) > 0 {
		t.Error("something was done all the same")
	}
}

func TestWhatAClientSaysIsDeliveredToItsCall(t *testing.T) {
	w := newWorld(t)
	w.open("s", mcp.V20251125, mcp.V20251125, `{}`)
	for _, body := range []string{
		`{"jsonrpc":"2.0","id":"g1","result":{"action":"accept"}}`,
		`{"jsonrpc":"2.0","id":"g1","error":{"code":-1,"message":"no"}}`,
		`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`,
		`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}`,
		`{"jsonrpc":"2.0","method":"notifications/initialized"}`,
		`{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}`,
		`{"jsonrpc":"2.0","method":"notifications/vendor"}`,
	} {
		if a := w.post(t, sent{session: "s"}, body); a.Message != nil || a.Status != 0 {
			t.Errorf("%s answered: %s %d", body, text(a.Message), a.Status)
		}
	}
	if got, want := w.sessions.delivered, []string{"answer", "answer", "notifications/cancelled", "notifications/progress"}; !slices.Equal(got, want) {
		t.Errorf("delivered %q, want %q", got, want)
	}
	if got, want := w.upstreams.notified, []string{"notifications/roots/list_changed", "notifications/vendor"}; !slices.Equal(got, want) {
		t.Errorf("told upstream %q, want %q", got, want)
	}
}

func TestModernMethodsDoNotExistInASession(t *testing.T) {
	w := newWorld(t)
	w.open("s", mcp.V20251125, mcp.V20251125, `{}`)
	for _, method := range []string{"server/discover", "subscriptions/listen", "tasks/get", "tasks/list", "tasks/result", "tasks/cancel"} {
		wantError(t, w.post(t, sent{session: "s"}, `{"jsonrpc":"2.0","id":1,"method":"`+method+`"}`), mcp.CodeMethodNotFound, 200)
	}
	if len(w.upstreams.sent) > 0 {
		t.Error("the upstream was asked")
	}
}

func TestWishForATaskIsIgnored(t *testing.T) {
	w := newWorld(t)
	w.open("s", mcp.V20251125, mcp.V20251125, `{}`)
	w.answers(`{}`)
	w.post(t, sent{session: "s"}, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","task":{"ttl":1},"arguments":{"task":2}}}`)
	if m, _ := w.upstreams.lastSent(t); string(m.Params()) != `{"name":"a","arguments":{"task":2}}` {
		t.Errorf("sent %s", m.Params())
	}
}

func TestClientHangingUpDoesNotCancelACallOfASession(t *testing.T) {
	w := newWorld(t)
	w.open("s", mcp.V20251125, mcp.V20251125, `{}`)
	ctx, hangUp := context.WithCancel(t.Context())
	w.upstreams.call = func(ctx context.Context, _ upstream.Caller, m *mcp.Message, _ upstream.Sink) (*mcp.Message, error) {
		hangUp()
		if ctx.Err() != nil {
			t.Error("the call was cancelled")
		}
		return mcp.Answer(m.ID(), nil), nil
	}
	if a, err := w.Post(ctx, sent{session: "s"}.request(), parse(t, addCall), new(fakeStream)); err != nil || a.Message == nil {
		t.Errorf("%v, %v", a, err)
	}
}

func TestCancelledCallEndsUpstreamAndIsNotAnswered(t *testing.T) {
	w := newWorld(t)
	w.open("s", mcp.V20251125, mcp.V20251125, `{}`)
	w.upstreams.call = func(ctx context.Context, _ upstream.Caller, m *mcp.Message, _ upstream.Sink) (*mcp.Message, error) {
		w.sessions.calls[0].cancel(&session.Cancelled{Reason: "user"})
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	if a := w.post(t, sent{session: "s"}, addCall); a.Message != nil {
		t.Errorf("answered %s", text(a.Message))
	}
}

func TestCallOfASessionThatEndedSaysSo(t *testing.T) {
	w := newWorld(t)
	w.open("s", mcp.V20251125, mcp.V20251125, `{}`)
	w.upstreams.call = func(ctx context.Context, _ upstream.Caller, m *mcp.Message, _ upstream.Sink) (*mcp.Message, error) {
		w.sessions.calls[0].cancel(fault.New(fault.NotFound, "the session has ended"))
		<-ctx.Done()
		return nil, ctx.Err()
	}
	e := wantError(t, w.post(t, sent{session: "s"}, addCall), fault.NotFound.RPC(), 200)
	if e.Message != "the session has ended" {
		t.Errorf("message %q", e.Message)
	}
}

func TestFailureOfACallIsItsAnswer(t *testing.T) {
	w := newWorld(t)
	w.open("s", mcp.V20251125, mcp.V20251125, `{}`)
	for _, kind := range []fault.Kind{fault.NotFound, fault.Overloaded, fault.Unreachable, fault.OutcomeUnknown} {
		w.upstreams.call = func(context.Context, upstream.Caller, *mcp.Message, upstream.Sink) (*mcp.Message, error) {
			return nil, fault.New(kind, "it did not work")
		}
		e := wantError(t, w.post(t, sent{session: "s"}, addCall), kind.RPC(), 200)
		if string(mcp.Field(e.Data, "request_id")) != `"req-1"` {
			t.Errorf("data %s", e.Data)
		}
	}
}

func TestWhatComesBeforeTheAnswerPassesThroughTheCall(t *testing.T) {
	w := newWorld(t)
	w.open("s", mcp.V20251125, mcp.V20251125, `{"elicitation":{}}`)
	w.sessions.ask = func(_ context.Context, m *mcp.Message) (*mcp.Message, error) {
		return mcp.Answer(m.ID(), []byte(`{"action":"accept"}`)), nil
	}
	progress := `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":9,"progress":1}}`
	question := `{"jsonrpc":"2.0","id":5,"method":"elicitation/create","params":{"message":"?"}}`
	w.upstreams.call = func(ctx context.Context, _ upstream.Caller, m *mcp.Message, s upstream.Sink) (*mcp.Message, error) {
		s.Notification(parse(t, progress))
		s.Notification(parse(t, `{"jsonrpc":"2.0","method":"notifications/tasks/status","params":{}}`)) // not carried
		s.Progressed("e-1", "up-1", "7")
		answer, err := s.Ask(ctx, parse(t, question))
		if err != nil || string(answer.Result()) != `{"action":"accept"}` {
			t.Errorf("asked: %s, %v", text(answer), err)
		}
		return mcp.Answer(m.ID(), nil), nil
	}
	s := sent{session: "s", stream: new(fakeStream)}
	w.post(t, s, addCall)
	if got := s.stream.data(); !slices.Equal(got, []string{progress, question}) {
		t.Errorf("stream has %q", got)
	}
	want := []session.Upstream{{Alias: "files", Protocol: "2025-11-25", Session: "up-1", Request: "7", LastEventID: "e-1"}}
	if got := w.sessions.calls[0].at; !slices.Equal(got, want) {
		t.Errorf("noted %+v, want %+v", got, want)
	}
}

func TestClientsProgressOnARequestGoesUpstream(t *testing.T) {
	w := newWorld(t)
	w.open("s", mcp.V20251125, mcp.V20251125, `{}`)
	w.upstreams.call = func(_ context.Context, _ upstream.Caller, m *mcp.Message, _ upstream.Sink) (*mcp.Message, error) {
		w.sessions.calls[0].options.Progress(mcp.Notification(mcp.Progress, nil))
		return mcp.Answer(m.ID(), nil), nil
	}
	w.post(t, sent{session: "s", jsonOnly: true}, addCall)
	if got := w.upstreams.notified; !slices.Equal(got, []string{mcp.Progress}) {
		t.Errorf("told upstream %q", got)
	}
	if !w.sessions.calls[0].options.JSONOnly {
		t.Error("the call does not know that its client takes no stream")
	}
}

func TestLogLevelIsForwardedThenKept(t *testing.T) {
	level := `{"jsonrpc":"2.0","id":1,"method":"logging/setLevel","params":{"level":"warning"}}`
	w := newWorld(t)
	w.open("s", mcp.V20251125, mcp.V20251125, `{}`)
	w.answers(`{}`)
	wantResult(t, w.post(t, sent{session: "s"}, level), `{}`)
	if m, _ := w.upstreams.lastSent(t); m.Method() != mcp.SetLevel || !slices.Equal(w.sessions.levels, []string{"warning"}) {
		t.Errorf("sent %s, kept %q", m.Method(), w.sessions.levels)
	}
	w.refuses(mcp.CodeMethodNotFound, "no logging", "")
	wantError(t, w.post(t, sent{session: "s"}, level), mcp.CodeMethodNotFound, 200)
	if len(w.sessions.levels) != 1 {
		t.Error("a level that the upstream refused was kept")
	}
	wantError(t, w.post(t, sent{session: "s"}, strings.Replace(level, "warning", "loud", 1)), mcp.CodeInvalidParams, 200)

	w = newWorld(t)
	w.open("s", mcp.V20251125, mcp.V20260728, `{}`)
	wantResult(t, w.post(t, sent{session: "s"}, level), `{}`)
	if len(w.upstreams.sent) > 0 || !slices.Equal(w.sessions.levels, []string{"warning"}) {
		t.Error("a modern upstream is told with each call, not by setLevel")
	}
}

func TestSubscriptionIsForwardedThenKept(t *testing.T) {
	body := func(method string) string {
		return `{"jsonrpc":"2.0","id":1,"method":"resources/` + method + `","params":{"uri":"note://a"}}`
	}
	kept := func(w *world) []string { return watched(w.sessions.live["s"], "files") }
	w := newWorld(t)
	w.open("s", mcp.V20251125, mcp.V20251125, `{}`)
	w.answers(`{}`)
	wantResult(t, w.post(t, sent{session: "s"}, body("subscribe")), `{}`)
	if m, _ := w.upstreams.lastSent(t); m.Method() != mcp.ResourcesSub || !slices.Equal(kept(w), []string{"note://a"}) {
		t.Errorf("sent %s, kept %q", m.Method(), kept(w))
	}
	wantResult(t, w.post(t, sent{session: "s"}, body("unsubscribe")), `{}`)
	if m, _ := w.upstreams.lastSent(t); m.Method() != mcp.ResourcesUnsub || len(kept(w)) > 0 {
		t.Errorf("sent %s, kept %q", m.Method(), kept(w))
	}
	w.refuses(mcp.CodeMethodNotFound, "no subscriptions", "")
	wantError(t, w.post(t, sent{session: "s"}, body("subscribe")), mcp.CodeMethodNotFound, 200)
	if len(kept(w)) > 0 {
		t.Error("a subscription that the upstream refused was kept")
	}
	wantError(t, w.post(t, sent{session: "s"}, `{"jsonrpc":"2.0","id":1,"method":"resources/subscribe","params":{}}`), mcp.CodeInvalidParams, 200)
	w.answers(`{}`)
	w.sessions.changeErr = fault.New(fault.NoLeader, "no leader")
	wantError(t, w.post(t, sent{session: "s"}, body("subscribe")), mcp.CodeInternal, 200)
}

func TestSubscriptionAtAModernUpstreamNeedsItsCapability(t *testing.T) {
	body := `{"jsonrpc":"2.0","id":1,"method":"resources/subscribe","params":{"uri":"note://a"}}`
	w := newWorld(t)
	w.modernUpstream(`{"resources":{}}`)
	w.open("s", mcp.V20251125, mcp.V20260728, `{}`)
	wantError(t, w.post(t, sent{session: "s"}, body), mcp.CodeMethodNotFound, 200)

	w = newWorld(t)
	w.modernUpstream(`{"resources":{"subscribe":true}}`)
	w.open("s", mcp.V20251125, mcp.V20260728, `{}`)
	wantResult(t, w.post(t, sent{session: "s"}, body), `{}`)
	if got := watched(w.sessions.live["s"], "files"); !slices.Equal(got, []string{"note://a"}) || len(w.upstreams.sent) > 0 {
		t.Errorf("kept %q, sent %d", got, len(w.upstreams.sent))
	}
}

func TestDeleteEndsTheSessionAndItsUpstreamSession(t *testing.T) {
	w := newWorld(t)
	w.open("s", mcp.V20251125, mcp.V20251125, `{}`)
	if err := w.End(t.Context(), sent{session: "s", version: "2025-11-25"}.request()); err != nil {
		t.Fatal(err)
	}
	if c := w.upstreams.closed; !slices.Equal(w.sessions.ended, []string{"s"}) || len(c) != 1 || c[0].Session != "record-s" || c[0].Binding.Alias != "files" {
		t.Errorf("ended %q, closed %+v", w.sessions.ended, c)
	}
}

func TestGetAndDeleteWithoutASession(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		sent sent
		get  fault.Kind
		del  fault.Kind
	}{
		"legacy": {sent{}, fault.MethodNotAllowed, fault.Invalid},
		"modern": {sent{version: "2026-07-28"}, fault.MethodNotAllowed, fault.MethodNotAllowed},
	} {
		if err := w.Listen(t.Context(), c.sent.request(), new(fakeStream)); fault.Of(err) != c.get {
			t.Errorf("GET %s: %v, want %v", name, err, c.get)
		}
		if err := w.End(t.Context(), c.sent.request()); fault.Of(err) != c.del {
			t.Errorf("DELETE %s: %v, want %v", name, err, c.del)
		}
	}
}

// BenchmarkSessionCall is what the router itself adds to a tools/call.
func BenchmarkSessionCall(b *testing.B) {
	w := &world{sessions: &fakeSessions{live: make(map[string]*session.Live)}, upstreams: &fakeUpstreams{}}
	sessions := &idleSessions{fakeSessions: w.sessions}
	w.Router = New(Config{Sessions: sessions, Upstreams: idleUpstreams{w.upstreams}})
	sessions.l = w.open("s", mcp.V20251125, mcp.V20251125, `{"roots":{},"sampling":{}}`)
	m := parse(b, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add","arguments":{"a":1,"b":2}}}`)
	q, s := sent{session: "s", version: "2025-11-25"}.request(), new(fakeStream)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.Post(b.Context(), q, m, s); err != nil {
			b.Fatal(err)
		}
	}
}

// idleSessions and idleUpstreams do nothing, so that only the router is measured.
type idleSessions struct {
	*fakeSessions
	l *session.Live
}

type idleCall struct{ fakeCall }

func (i *idleSessions) Get(context.Context, string, record.Principal) (*session.Live, error) {
	return i.l, nil
}

func (i *idleSessions) OpenCall(ctx context.Context, _ *session.Live, id mcp.ID, _ exchange.Stream, _ session.CallOptions) (Call, error) {
	return &idleCall{fakeCall{id: id, ctx: ctx}}, nil
}

func (c *idleCall) Finish(m *mcp.Message) exchange.Answer { return exchange.Answer{Message: m} }

type idleUpstreams struct{ *fakeUpstreams }

var idleAnswer = mcp.Answer(mcp.NumberID(1), []byte(`{"content":[{"type":"text","text":"3"}]}`))

func (idleUpstreams) Call(context.Context, string, upstream.Caller, *mcp.Message, upstream.Sink) (*mcp.Message, error) {
	return idleAnswer, nil
}
