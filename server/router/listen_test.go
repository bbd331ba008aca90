package router

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/sse"
	"github.com/mcpraft/mcpraft/server/exchange"
	"github.com/mcpraft/mcpraft/server/mcp"
	"github.com/mcpraft/mcpraft/server/upstream"
)

const allChanges = `{"tools":{"listChanged":true},"prompts":{"listChanged":true},"resources":{"listChanged":true,"subscribe":true}}`

func listening(filter string) string {
	return modernBody("subscriptions/listen", `"notifications":`+filter)
}

// tells makes the upstream tell these notifications to a listener, and then give
// up with err; nil means to wait for the listener's end.
func (w *world) tells(t *testing.T, err error, notifications ...string) {
	w.upstreams.listen = func(ctx context.Context, _ upstream.Caller, w upstream.Watch, deliver func(*mcp.Message)) error {
		if w.Begun != nil {
			w.Begun()
		}
		for _, n := range notifications {
			deliver(parse(t, n))
		}
		if err != nil {
			return err
		}
		<-ctx.Done()
		return context.Cause(ctx)
	}
}

func TestSubscriptionIsAcknowledgedFirstAndFiltered(t *testing.T) {
	w := newWorld(t)
	w.legacyUpstream(mcp.V20251125, allChanges)
	gone := fault.New(fault.NotFound, "the upstream was removed")
	w.tells(t, gone,
		`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`,
		`{"jsonrpc":"2.0","method":"notifications/prompts/list_changed"}`,
		`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"note://a/part"}}`,
		`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"note://b"}}`,
		`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error"}}`,
		`{"jsonrpc":"2.0","method":"notifications/progress","params":{}}`,
	)
	var watch upstream.Watch
	tell := w.upstreams.listen
	w.upstreams.listen = func(ctx context.Context, c upstream.Caller, got upstream.Watch, deliver func(*mcp.Message)) error {
		watch = got
		return tell(ctx, c, got, deliver)
	}
	s := modernSent("subscriptions/listen", "")
	s.stream = new(fakeStream)
	_, err := w.postErr(t, s, listening(`{"toolsListChanged":true,"promptsListChanged":false,"resourceSubscriptions":["note://a"]}`))
	if fault.Of(err) != fault.NotFound {
		t.Errorf("error %v, want that of the upstream", err)
	}
	id := `"_meta":{"io.modelcontextprotocol/subscriptionId":7}`
	want := []string{
		`{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"notifications":{"toolsListChanged":true,"resourceSubscriptions":["note://a"]},` + id + `}}`,
		`{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{` + id + `}}`,
		`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"note://a/part",` + id + `}}`,
	}
	if got := s.stream.data(); !slices.Equal(got, want) {
		t.Errorf("stream has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if !watch.Tools || watch.Prompts || watch.Resources || !slices.Equal(watch.URIs, []string{"note://a"}) || watch.Ask != nil {
		t.Errorf("watched %+v", watch)
	}
}

// The stream of the upstream has to stand before the client may rely on it, though
// not for ever.
func TestSubscriptionIsAcknowledgedWhenTheUpstreamListens(t *testing.T) {
	for name, c := range map[string]struct{ begins, acknowledged time.Duration }{
		"it listens after a second": {time.Second, time.Second},
		"it does not listen":        {time.Hour, beginWait},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.legacyUpstream(mcp.V20251125, allChanges)
				w.upstreams.listen = func(ctx context.Context, _ upstream.Caller, watch upstream.Watch, _ func(*mcp.Message)) error {
					if pause(ctx, c.begins) == nil {
						watch.Begun()
					}
					<-ctx.Done()
					return context.Cause(ctx)
				}
				ctx, hangUp := context.WithCancel(t.Context())
				begun := time.Now()
				s := &notifying{sent: func() {
					if took := time.Since(begun); took != c.acknowledged {
						t.Errorf("acknowledged after %v, want %v", took, c.acknowledged)
					}
					hangUp()
				}}
				_, _ = w.Post(ctx, modernSent("subscriptions/listen", "").request(), parse(t, listening(`{"toolsListChanged":true}`)), s)
				if got := s.data(); len(got) == 0 || !strings.Contains(got[0], "acknowledged") {
					t.Errorf("stream has %q", got)
				}
			})
		})
	}
}

func TestSubscriptionToWhatIsNotThereIsRefused(t *testing.T) {
	w := newWorld(t)
	w.legacyUpstream(mcp.V20251125, allChanges)
	w.upstreams.listen = func(context.Context, upstream.Caller, upstream.Watch, func(*mcp.Message)) error {
		return fault.New(fault.NotFound, "the upstream was removed")
	}
	s := modernSent("subscriptions/listen", "")
	s.stream = new(fakeStream)
	if _, err := w.postErr(t, s, listening(`{"toolsListChanged":true}`)); fault.Of(err) != fault.NotFound || len(s.stream.data()) != 0 {
		t.Errorf("error %v after %q, want not found and no stream", err, s.stream.data())
	}
}

func TestSubscriptionIDHasTheTypeOfTheRequestsID(t *testing.T) {
	w := newWorld(t)
	w.legacyUpstream(mcp.V20251125, allChanges)
	w.tells(t, fault.New(fault.Unreachable, "gone"))
	s := modernSent("subscriptions/listen", "")
	s.stream = new(fakeStream)
	w.post(t, s, strings.Replace(listening(`{"toolsListChanged":true}`), `"id":7`, `"id":"7"`, 1))
	if got := s.stream.data(); len(got) != 1 || !strings.Contains(got[0], `subscriptionId":"7"`) {
		t.Errorf("stream has %q", got)
	}
}

func TestOnlyWhatTheUpstreamOffersIsAcknowledged(t *testing.T) {
	for capabilities, want := range map[string]string{
		allChanges: `{"toolsListChanged":true,"promptsListChanged":true,"resourcesListChanged":true,"resourceSubscriptions":["a","b"]}`,
		`{"tools":{},"prompts":{"listChanged":true},"resources":{"subscribe":false}}`: `{"promptsListChanged":true}`,
		`{}`: `{}`,
	} {
		w := newWorld(t)
		w.modernUpstream(capabilities)
		w.tells(t, fault.New(fault.Unreachable, "gone"))
		ctx, hangUp := context.WithCancel(t.Context())
		s := &notifying{sent: hangUp}
		_, _ = w.Post(ctx, modernSent("subscriptions/listen", "").request(),
			parse(t, listening(`{"toolsListChanged":true,"promptsListChanged":true,"resourcesListChanged":true,"resourceSubscriptions":["b","a","b"],"taskIds":null}`)), s)
		if got := s.data(); len(got) == 0 || !strings.Contains(got[0], `"notifications":`+want+`,`) {
			t.Errorf("%s: acknowledged %q, want %s", capabilities, got, want)
		}
	}
}

func TestSubscriptionEndsInOrderWhenTheNodeDrains(t *testing.T) {
	for _, filter := range []string{`{"toolsListChanged":true}`, `{}`} {
		w := newWorld(t)
		w.legacyUpstream(mcp.V20251125, allChanges)
		w.tells(t, nil)
		done := make(chan exchange.Answer)
		s := &notifying{sent: w.Drain}
		go func() {
			a, err := w.Post(t.Context(), modernSent("subscriptions/listen", "").request(), parse(t, listening(filter)), s)
			if err != nil {
				t.Error(err)
			}
			done <- a
		}()
		wantResult(t, <-done, `{"resultType":"complete","_meta":{"io.modelcontextprotocol/subscriptionId":7}}`)
	}
}

func TestSubscriptionThatCannotBeServedIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		body     string
		jsonOnly bool
		code     int
	}{
		"no filter":         {modernBody("subscriptions/listen", ""), false, mcp.CodeInvalidParams},
		"URIs of no text":   {listening(`{"resourceSubscriptions":[1]}`), false, mcp.CodeInvalidParams},
		"too many URIs":     {listening(`{"resourceSubscriptions":["a"` + strings.Repeat(`,"b"`, 300) + `]}`), false, mcp.CodeInvalidParams},
		"tasks undeclared":  {listening(`{"taskIds":["t"]}`), false, mcp.CodeMissingCapability},
		"a client for JSON": {listening(`{}`), true, mcp.CodeInvalidRequest},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.legacyUpstream(mcp.V20251125, allChanges)
			s := modernSent("subscriptions/listen", "")
			s.jsonOnly = c.jsonOnly
			wantError(t, w.post(t, s, c.body), c.code, 400)
		})
	}
}

func TestGapInASubscriptionIsToldAsChanges(t *testing.T) {
	w := newWorld(t)
	w.legacyUpstream(mcp.V20251125, allChanges)
	w.upstreams.listen = func(_ context.Context, _ upstream.Caller, watch upstream.Watch, _ func(*mcp.Message)) error {
		watch.Missed()
		return fault.New(fault.Unreachable, "gone")
	}
	s := modernSent("subscriptions/listen", "")
	s.stream = new(fakeStream)
	w.post(t, s, listening(`{"promptsListChanged":true,"resourceSubscriptions":["note://a"]}`))
	got := s.stream.data()
	if len(got) != 3 || !strings.Contains(got[1], "prompts/list_changed") || !strings.Contains(got[2], `"uri":"note://a"`) {
		t.Errorf("stream has %q", got)
	}
}

// A notifying stream calls sent after its first event.
type notifying struct {
	fakeStream
	sent func()
}

func (n *notifying) Send(e sse.Event) error {
	err := n.fakeStream.Send(e)
	if n.sent != nil {
		n.sent()
		n.sent = nil
	}
	return err
}
