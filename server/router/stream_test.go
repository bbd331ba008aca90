package router

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/server/mcp"
	"github.com/mcpraft/mcpraft/server/session"
	"github.com/mcpraft/mcpraft/server/upstream"
)

// A fakeListener collects what a GET stream is given.
type fakeListener struct {
	mu   sync.Mutex
	got  []string
	asks func(*mcp.Message) (*mcp.Message, error)
}

func (f *fakeListener) Notify(m *mcp.Message) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.got = append(f.got, strings.TrimPrefix(m.Method(), "notifications/")+" "+string(m.Params()))
	return nil
}

func (f *fakeListener) Ask(_ context.Context, m *mcp.Message) (*mcp.Message, error) { return f.asks(m) }

func (f *fakeListener) heard() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.got)
}

// get runs the source of a GET stream of session "s" until it returns.
func (w *world) get(t *testing.T, to *fakeListener) {
	t.Helper()
	w.sessions.listen = func(ctx context.Context, o ListenOptions) error { return o.Source(ctx, to) }
	if err := w.Listen(t.Context(), sent{session: "s"}.request(), new(fakeStream)); !errors.Is(err, errOver) {
		t.Errorf("the source ended with %v", err)
	}
}

var errOver = errors.New("the upstream's stream is over")

func subscribedTo(uris ...string) func(*record.Session) {
	return func(r *record.Session) {
		b := *r.Binding("files")
		b.Subscriptions = uris
		r.Bind(b)
	}
}

func TestGetStreamCarriesWhatBelongsToNoCall(t *testing.T) {
	w := newWorld(t)
	w.open("s", mcp.V20251125, mcp.V20251125, `{}`, subscribedTo("note://a"))
	w.tells(t, errOver,
		`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`,
		`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}`,
		`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"note://a/b"}}`,
		`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"note://of-another-session"}}`,
		`{"jsonrpc":"2.0","method":"notifications/tasks/status","params":{}}`,
		`{"jsonrpc":"2.0","method":"notifications/vendor","params":{"x":1}}`,
	)
	to := new(fakeListener)
	w.get(t, to)
	want := []string{`tools/list_changed `, `message {"level":"info","data":1}`, `resources/updated {"uri":"note://a/b"}`, `vendor {"x":1}`}
	if got := to.heard(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestSessionAtAModernUpstreamListensForItsSubscriptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		l := w.open("s", mcp.V20251125, mcp.V20260728, `{}`, subscribedTo("note://a"))
		var watches [][]string
		w.upstreams.listen = func(ctx context.Context, c upstream.Caller, watch upstream.Watch, deliver func(*mcp.Message)) error {
			watches = append(watches, watch.URIs)
			if len(watches) == 3 {
				deliver(parse(t, `{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"note://b","_meta":{"io.modelcontextprotocol/subscriptionId":1}}}`))
				return errOver
			}
			<-ctx.Done()
			return context.Cause(ctx)
		}
		to := new(fakeListener)
		go func() {
			time.Sleep(10 * time.Second)
			_ = w.sessions.Subscribe(t.Context(), l, "files", "note://b", record.EventUpdate)
			time.Sleep(10 * time.Second)
			_ = w.sessions.Unsubscribe(t.Context(), l, "files", "note://a", record.EventUpdate)
		}()
		w.get(t, to)
		want := [][]string{{"note://a"}, {"note://a", "note://b"}, {"note://b"}}
		if !slices.EqualFunc(watches, want, slices.Equal) {
			t.Errorf("listened for %q, want %q", watches, want)
		}
		if got := to.heard(); !slices.Equal(got, []string{`resources/updated {"uri":"note://b"}`}) {
			t.Errorf("told %q", got)
		}
	})
}

func TestGetStreamEndsWithItsRequest(t *testing.T) {
	for _, v := range []mcp.Version{mcp.V20251125, mcp.V20260728} {
		w := newWorld(t)
		w.open("s", mcp.V20251125, v, `{}`)
		ctx, cancel := context.WithCancel(t.Context())
		w.upstreams.listen = func(ctx context.Context, _ upstream.Caller, _ upstream.Watch, _ func(*mcp.Message)) error {
			cancel()
			<-ctx.Done()
			return ctx.Err()
		}
		w.sessions.listen = func(ctx context.Context, o ListenOptions) error { return o.Source(ctx, new(fakeListener)) }
		if err := w.Listen(ctx, sent{session: "s"}.request(), new(fakeStream)); !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
	}
}

func TestRequestOnTheGetStreamReachesTheClientIfItDeclaredIt(t *testing.T) {
	w := newWorld(t)
	w.open("s", mcp.V20251125, mcp.V20251125, `{"roots":{}}`)
	to := &fakeListener{asks: func(m *mcp.Message) (*mcp.Message, error) { return mcp.Answer(m.ID(), []byte(`{"roots":[]}`)), nil }}
	w.upstreams.listen = func(ctx context.Context, _ upstream.Caller, watch upstream.Watch, _ func(*mcp.Message)) error {
		answer, err := watch.Ask(ctx, mcp.Request(mcp.NumberID(1), mcp.RootsList, nil))
		if err != nil || string(answer.Result()) != `{"roots":[]}` {
			t.Errorf("roots/list: %s, %v", text(answer), err)
		}
		if _, err = watch.Ask(ctx, mcp.Request(mcp.NumberID(2), mcp.SamplingCreate, []byte(`{}`))); err == nil {
			t.Error("sampling, which was not declared, was asked")
		}
		return errOver
	}
	w.get(t, to)
}

func TestGapInTheUpstreamsStreamIsToldAsChanges(t *testing.T) {
	w := newWorld(t)
	w.open("s", mcp.V20251125, mcp.V20251125, `{}`, subscribedTo("note://a"))
	w.upstreams.listen = func(_ context.Context, _ upstream.Caller, watch upstream.Watch, _ func(*mcp.Message)) error {
		watch.Missed()
		return errOver
	}
	to := new(fakeListener)
	w.get(t, to)
	want := []string{"tools/list_changed ", "resources/list_changed ", "prompts/list_changed ", `resources/updated {"uri":"note://a"}`}
	if got := to.heard(); !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
}

func TestCallOfALostNodeIsResumedAtTheUpstream(t *testing.T) {
	w := newWorld(t)
	w.open("s", mcp.V20241105, mcp.V20241105, `{}`) // the upstream was upgraded before the call
	w.upstreams.resume = func(c upstream.Caller, last string, id mcp.ID) (*mcp.Message, error) {
		if c.Session != "record-s" || string(c.Binding.Session) != "up-1" || last != "e-9" {
			t.Errorf("resumed for %+v behind %q", c, last)
		}
		return mcp.Answer(id, []byte(`{"content":[{"type":"audio","mimeType":"audio/wav","data":""}]}`)), nil
	}
	w.sessions.listen = func(ctx context.Context, o ListenOptions) error {
		if o.LastEventID != "k.1" {
			t.Errorf("Last-Event-ID %q", o.LastEventID)
		}
		c := &fakeCall{id: mcp.TextID("call"), ctx: ctx, sessions: w.sessions, stream: new(fakeStream)}
		m, err := o.Resume(c, session.Upstream{Alias: "files", Protocol: "2025-11-25", Session: "up-1", LastEventID: "e-9"})
		if err != nil {
			t.Fatal(err)
		}
		if m.ID() != mcp.TextID("call") || !strings.Contains(string(m.Result()), `"type":"text"`) {
			t.Errorf("answer %s, want it in words of 2024-11-05", text(m))
		}
		return nil
	}
	q := sent{session: "s"}.request()
	q.LastEventID = "k.1"
	if err := w.Listen(t.Context(), q, new(fakeStream)); err != nil {
		t.Error(err)
	}
}

func TestMethodOfAResultIsToldByItsMembers(t *testing.T) {
	for result, want := range map[string]string{
		`{"content":[]}`: mcp.ToolsCall, `{"_meta":{},"messages":[]}`: mcp.PromptsGet, `{"tools":[]}`: mcp.ToolsList, `{"contents":[]}`: mcp.ResourcesRead, `{"x":[]}`: "",
	} {
		if got := methodOf([]byte(result)); got != want {
			t.Errorf("%s: %q, want %q", result, got, want)
		}
	}
}
