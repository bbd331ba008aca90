package upstream_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/sse"
	"github.com/mcpraft/mcpraft/server/mcp"
	"github.com/mcpraft/mcpraft/server/upstream"
)

const (
	toolsChanged = `{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`
	updated      = `{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"x://1"}}`
)

// hearing listens in the background until stop; heard are the methods that came.
func (b *bed) hearing(c upstream.Caller, w upstream.Watch) (heard func() []string, stop func() error) {
	ctx, cancel := withCancel(b)
	var mu sync.Mutex
	var methods []string
	ended := make(chan error, 1)
	go func() {
		ended <- b.ups.Listen(ctx, "up", c, w, func(m *mcp.Message) {
			mu.Lock()
			defer mu.Unlock()
			methods = append(methods, strings.TrimPrefix(m.Method(), "notifications/"))
		})
	}()
	heard = func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(methods)
	}
	return heard, func() error { cancel(); return <-ended }
}

func (b *bed) wantHeard(got []string, want ...string) {
	b.Helper()
	if !slices.Equal(got, want) {
		b.Errorf("heard %v, want %v", got, want)
	}
}

func TestListenerHearsTheStreamOfTheSession(t *testing.T) {
	f := legacy()
	f.script("GET", func(h *hit) {
		h.stream(event(toolsChanged), event(updated))
		h.gone()
	})
	inBubble(t, f, func(b *bed) {
		heard, stop := b.hearing(user("a"), upstream.Watch{})
		synctest.Wait()
		b.wantHeard(heard(), "tools/list_changed", "resources/updated")
		if id := f.seen("GET")[0].in.Header.Get("Mcp-Session-Id"); id != "s1" {
			b.Errorf("listened to session %q", id)
		}
		if err := stop(); err != context.Canceled {
			b.Errorf("Listen ended with %v", err)
		}
	})
}

func TestListenerSaysOnceThatItHears(t *testing.T) {
	stands := func(h *hit) {
		h.stream(event(toolsChanged))
		if len(h.fake.seen("GET")) > 1 {
			h.gone()
		}
	}
	for name, get := range map[string]func(*hit){
		"a stream stands": stands,
		"there is none":   func(h *hit) { h.WriteHeader(http.StatusMethodNotAllowed) },
	} {
		f := legacy()
		f.script("GET", get)
		inBubble(t, f, func(b *bed) {
			var order []string
			begun := func() { order = append(order, "begun") }
			ctx, cancel := withCancel(b)
			ended := make(chan error, 1)
			go func() {
				ended <- b.ups.Listen(ctx, "up", user("a"), upstream.Watch{Begun: begun}, func(m *mcp.Message) { order = append(order, "heard") })
			}()
			time.Sleep(10 * time.Minute)
			cancel()
			<-ended
			if len(order) == 0 || order[0] != "begun" || slices.Contains(order[1:], "begun") {
				b.Errorf("%s: %v", name, order)
			}
		})
	}
}

func TestListenerResumesOrSaysThatItMissedSomething(t *testing.T) {
	f := legacy()
	ids := []string{"e1", "", ""}
	n := 0
	f.script("GET", func(h *hit) {
		if n++; n <= len(ids) {
			h.stream(sse.Event{ID: ids[n-1], HasID: true, Data: []byte(toolsChanged)})
			return
		}
		h.stream(sse.Event{Comment: "x"})
		h.gone()
	})
	inBubble(t, f, func(b *bed) {
		missed := 0
		_, stop := b.hearing(user("a"), upstream.Watch{Missed: func() { missed++ }})
		time.Sleep(time.Minute)
		var from []string
		for _, h := range f.seen("GET") {
			from = append(from, h.in.Header.Get("Last-Event-ID"))
		}
		if want := []string{"", "e1", "", ""}; !slices.Equal(from, want) {
			b.Errorf("streams behind %q, want %q", from, want)
		}
		stop()
		if missed != 2 { // the second stream went on where the first ended
			b.Errorf("missed %d times, want 2", missed)
		}
	})
}

func TestUpstreamWithoutAStreamIsLeftAlone(t *testing.T) {
	for _, status := range []int{405, 400, 404, 501} {
		f := legacy()
		f.sessions = false
		f.script("GET", func(h *hit) { h.WriteHeader(status) })
		inBubble(t, f, func(b *bed) {
			_, stop := b.hearing(user("a"), upstream.Watch{})
			time.Sleep(4 * time.Minute)
			b.wantSeen("GET", 1)
			b.ok(user("a"), nil)
			if err := stop(); err != context.Canceled {
				b.Errorf("Listen ended with %v", err)
			}
		})
	}
}

func TestListenerOpensALostSessionAgain(t *testing.T) {
	f := legacy()
	f.script("GET", func(h *hit) {
		if !f.knows(h.in.Header.Get("Mcp-Session-Id")) {
			h.WriteHeader(http.StatusNotFound)
			return
		}
		h.stream(event(toolsChanged))
		if h.in.Header.Get("Mcp-Session-Id") == "s1" {
			f.forget()
			return
		}
		h.gone()
	})
	inBubble(t, f, func(b *bed) {
		heard, stop := b.hearing(user("a"), upstream.Watch{})
		time.Sleep(time.Minute)
		b.wantHeard(heard(), "tools/list_changed", "tools/list_changed")
		b.wantSeen("initialize", 2)
		stop()
	})
}

func TestListenerBacksOff(t *testing.T) {
	f := legacy()
	f.script("GET", func(h *hit) { h.WriteHeader(http.StatusServiceUnavailable) })
	inBubble(t, f, func(b *bed) {
		_, stop := b.hearing(user("a"), upstream.Watch{})
		time.Sleep(time.Hour)
		if n := len(f.seen("GET")); n < 100 || n > 300 {
			b.Errorf("%d attempts in an hour", n)
		}
		stop()
	})
}

func TestRequestsOnTheListenersStreamAreAnswered(t *testing.T) {
	for name, ask := range map[string]func(context.Context, *mcp.Message) (*mcp.Message, error){
		"asked": func(context.Context, *mcp.Message) (*mcp.Message, error) {
			return mcp.Answer("1", []byte(`{"roots":[]}`)), nil
		},
		"refused": nil,
	} {
		f := legacy()
		f.script("GET", func(h *hit) {
			h.stream(event(`{"jsonrpc":"2.0","id":"r","method":"roots/list"}`))
			h.gone()
		})
		inBubble(t, f, func(b *bed) {
			_, stop := b.hearing(user("a"), upstream.Watch{Ask: ask})
			synctest.Wait()
			if h := f.seen("answer"); len(h) != 1 || (h[0].m.Kind() == mcp.KindResult) != (ask != nil) || h[0].m.ID() != `"r"` {
				b.Errorf("%s: %d answers", name, len(h))
			}
			stop()
		})
	}
}

func TestListenersShareTheSubscriptionsOfALegacySession(t *testing.T) {
	f := legacy()
	f.script("GET", func(h *hit) {
		h.stream(sse.Event{Comment: "x"})
		h.gone()
	})
	inBubble(t, f, func(b *bed) {
		c := user("")
		c.Modern = true
		w := upstream.Watch{URIs: []string{"x://1"}}
		_, stop1 := b.hearing(c, w)
		synctest.Wait()
		_, stop2 := b.hearing(c, w)
		synctest.Wait()
		b.wantSeen("resources/subscribe", 1)
		stop1()
		b.wantSeen("resources/unsubscribe", 0)
		stop2()
		b.wantSeen("resources/unsubscribe", 1)
	})
}

func TestModernListenerAsksForWhatIsWatched(t *testing.T) {
	f := modern()
	f.script("subscriptions/listen", func(h *hit) {
		id := string(h.m.ID())
		meta := `"_meta":{"io.modelcontextprotocol/subscriptionId":` + id + `}`
		h.stream(event(`{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{`+meta+`,"notifications":{}}}`),
			event(`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{`+meta+`,"uri":"x://1"}}`))
		h.gone()
	})
	inBubble(t, f, func(b *bed) {
		var got []string
		ctx, cancel := withCancel(b)
		ended := make(chan error, 1)
		go func() {
			ended <- b.ups.Listen(ctx, "up", user("a"), upstream.Watch{Tools: true, URIs: []string{"x://1"}}, func(m *mcp.Message) {
				got = append(got, string(m.Params()))
			})
		}()
		synctest.Wait()
		h := f.seen("subscriptions/listen")[0]
		if filter := h.param("notifications"); filter != `{"toolsListChanged":true,"resourceSubscriptions":["x://1"]}` {
			b.Errorf("asked for %s", filter)
		}
		if h.in.Header.Get("Mcp-Method") != "subscriptions/listen" {
			b.Error("without its header")
		}
		if want := []string{`{"uri":"x://1"}`}; !slices.Equal(got, want) {
			b.Errorf("heard %v, want %v: our subscription id is nobody's business", got, want)
		}
		cancel()
		<-ended
	})
}

func TestModernListenerListensAgainAfterTheEnd(t *testing.T) {
	f := modern()
	f.script("subscriptions/listen", func(h *hit) {
		h.stream(event(`{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"notifications":{}}}`), h.answer(`{"resultType":"complete"}`))
	})
	inBubble(t, f, func(b *bed) {
		missed := 0
		_, stop := b.hearing(user("a"), upstream.Watch{Tools: true, Missed: func() { missed++ }})
		time.Sleep(10 * time.Second)
		stop()
		if n := len(f.seen("subscriptions/listen")); n < 3 || missed != n-1 {
			b.Errorf("%d subscriptions, missed %d times", n, missed)
		}
	})
}

func TestListenEndsWhenTheUpstreamIsUnregistered(t *testing.T) {
	f := legacy()
	f.script("GET", func(h *hit) { h.stream(sse.Event{Comment: "x"}) })
	inBubble(t, f, func(b *bed) {
		ended := make(chan error, 1)
		go func() { ended <- b.ups.Listen(b.Context(), "up", user("a"), upstream.Watch{}, func(*mcp.Message) {}) }()
		time.Sleep(time.Second)
		b.change(func(r *record.Upstream) { r.Alias = "gone" })
		b.wantFault(<-ended, fault.NotFound)
	})
}

func TestListenerMovesWithTheRecord(t *testing.T) {
	f := legacy()
	hold := func(h *hit) {
		h.stream(sse.Event{Comment: "x"})
		h.gone()
	}
	f.script("GET", hold)
	inBubble(t, f, func(b *bed) {
		missed := 0
		_, stop := b.hearing(user("a"), upstream.Watch{Missed: func() { missed++ }})
		synctest.Wait()
		other := legacy()
		other.script("GET", hold)
		defer b.serve("other.example:80", other)()
		b.change(func(r *record.Upstream) { r.URL = "http://other.example:80/mcp" })
		b.ups.Refresh("up")
		synctest.Wait()
		if n := len(other.seen("GET")); n != 1 {
			b.Errorf("%d streams at the new URL", n)
		}
		if stats := b.ups.Stats(); len(stats) != 1 || stats[0].Listeners != 1 {
			b.Errorf("the snapshot says %+v", stats)
		}
		stop()
		if missed != 1 {
			b.Errorf("missed %d times, want 1", missed)
		}
	})
}

// An sseServer speaks HTTP+SSE of 2024-11-05.
type sseServer struct {
	*fake
	endpoint string
	streams  chan *hit // the open one
}

// http+sse: everything but the endpoint comes on the stream.
func oldServer() *sseServer {
	s := &sseServer{fake: legacy(), endpoint: "/messages?session=1", streams: make(chan *hit, 1)}
	s.version, s.sessions = "2024-11-05", false
	return s
}

func (s *sseServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet && r.URL.Path == "/mcp" {
		h := &hit{ResponseWriter: w, in: r, fake: s.fake, what: "GET"}
		s.mu.Lock()
		s.hits = append(s.hits, h)
		s.mu.Unlock()
		h.stream(sse.Event{Name: "endpoint", Data: []byte(s.endpoint)})
		s.set(h)
		h.gone()
		return
	}
	if r.URL.Path == "/mcp" {
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	rec := &onStream{ResponseWriter: w, server: s}
	s.fake.ServeHTTP(rec, r)
	if rec.body != nil {
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprint(w, "Accepted")
		s.mu.Lock()
		defer s.mu.Unlock()
		s.current().send(sse.Event{Name: "message", Data: rec.body})
	}
}

func (s *sseServer) set(h *hit) {
	select {
	case <-s.streams:
	default:
	}
	s.streams <- h
}

func (s *sseServer) current() *hit {
	h := <-s.streams
	s.streams <- h
	return h
}

// onStream takes an answer off its HTTP response.
type onStream struct {
	http.ResponseWriter
	server *sseServer
	body   []byte
}

func (o *onStream) Write(p []byte) (int, error) {
	o.body = append(o.body, p...)
	return len(p), nil
}

func (o *onStream) WriteHeader(status int) {
	if o.body == nil && status != http.StatusOK {
		o.ResponseWriter.WriteHeader(status)
	}
}

// overSSE runs a test against a server of HTTP+SSE.
func overSSE(t *testing.T, transport string, prepare func(*sseServer), test func(b *bed, s *sseServer)) {
	t.Helper()
	inBubble(t, legacy(), func(b *bed) {
		s := oldServer()
		if prepare != nil {
			prepare(s)
		}
		b.fake = s.fake
		defer b.serve("old.example:80", s)()
		b.change(func(r *record.Upstream) { r.URL, r.Transport = "http://old.example:80/mcp", transport })
		test(b, s)
		b.ups.Close(b.Context(), "up", user("a"))
	})
}

func TestOldTransportIsSpoken(t *testing.T) {
	overSSE(t, "sse", nil, func(b *bed, s *sseServer) {
		b.ok(user("a"), nil)
		b.ok(user("a"), nil)
		b.wantSeen("initialize", 1)
		b.wantSeen("GET", 1)
		b.wantSeen("server/discover", 0)
	})
}

func TestReleaseLetsGoHereAndTellsNobody(t *testing.T) {
	inBubble(t, legacy(), func(b *bed) {
		b.ok(user("a"), nil)
		b.ups.Release("a")
		if n := b.ups.Stats()[0].Sessions; n != 0 {
			b.Errorf("%d sessions are kept", n)
		}
		b.wantSeen("DELETE", 0)
	})
	overSSE(t, "sse", nil, func(b *bed, s *sseServer) {
		b.ok(user("a"), nil)
		b.ups.Release("a")
		b.ok(user("a"), nil)
		b.wantSeen("GET", 2) // the connection that was the session is gone
	})
}

func TestOldTransportIsFoundWhenPostIsRefused(t *testing.T) {
	overSSE(t, "http", nil, func(b *bed, s *sseServer) {
		b.ok(user("a"), nil)
		if era := b.ups.Stats(); era[len(era)-1].Era != "legacy sse" {
			b.Errorf("the era is %q", era[len(era)-1].Era)
		}
	})
}

func TestEndpointOfAnotherOriginIsRefused(t *testing.T) {
	for _, endpoint := range []string{"http://evil.example/m", "https://old.example:80/m", "http://old.example:81/m", "//evil.example/m", "http://u@old.example:80/m"} {
		overSSE(t, "sse", func(s *sseServer) { s.endpoint = endpoint }, func(b *bed, s *sseServer) {
			_, err := b.call(user("a"), nil)
			b.wantFault(err, fault.Unreachable, "endpoint")
		})
	}
}

func TestBrokenStreamEndsTheCallsOfAnOldSessionAndTheNextOpensIt(t *testing.T) {
	overSSE(t, "sse", nil, func(b *bed, s *sseServer) {
		b.ok(user("a"), nil)
		s.script("tools/call", func(h *hit) {
			h.WriteHeader(http.StatusAccepted)
			b.net.Host("old.example").Kill()
		})
		_, err := b.call(user("a"), nil)
		b.wantFault(err, fault.OutcomeUnknown)
		s.script("tools/call", nil)
		defer b.serve("old.example:80", s)()
		synctest.Wait() // the dead connections are seen to be dead
		b.ok(user("a"), nil)
		b.wantSeen("initialize", 2)
		b.ups.Close(b.Context(), "up", user("a"))
	})
}

func TestOldSessionCarriesProgressAndRequests(t *testing.T) {
	overSSE(t, "sse", nil, func(b *bed, s *sseServer) {
		s.script("answer", func(h *hit) {
			h.WriteHeader(http.StatusAccepted)
			s.current().send(event(string(mcp.Answer(s.seen("tools/call")[0].m.ID(), []byte(`{}`)).Bytes())))
		})
		s.script("tools/call", func(h *hit) {
			h.WriteHeader(http.StatusAccepted)
			s.current().send(event(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":`+h.param("_meta", "progressToken")+`,"progress":1}}`), event(elicitation(1)))
		})
		got := &sink{ask: func(context.Context, *mcp.Message) (*mcp.Message, error) { return mcp.Answer("1", nil), nil }}
		answer, err := b.request(user("a"), "tools/call", `{"name":"t","_meta":{"progressToken":"p"}}`, got)
		if err != nil || answer.Kind() != mcp.KindResult {
			b.Fatalf("%v, %v", answer, err)
		}
		if len(got.messages) != 1 || !strings.Contains(string(got.messages[0].Params()), `"p"`) {
			b.Errorf("%d notifications", len(got.messages))
		}
	})
}

func TestListenerHearsAnOldSession(t *testing.T) {
	overSSE(t, "sse", nil, func(b *bed, s *sseServer) {
		heard, stop := b.hearing(user("a"), upstream.Watch{})
		synctest.Wait()
		s.current().send(event(toolsChanged))
		synctest.Wait()
		b.wantHeard(heard(), "tools/list_changed")
		stop()
	})
}
