package router

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/exchange"
	"github.com/mcpraft/mcpraft/server/mcp"
	"github.com/mcpraft/mcpraft/server/upstream"
)

// joinedListening has a subscriptions/listen of the aggregate open while story runs,
// and gives how it ended.
func (w *world) joinedListening(t *testing.T, params string, stream *fakeStream, story func()) (a exchange.Answer, err error) {
	t.Helper()
	ctx, hangUp := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		a, err = w.Post(ctx, joinedSent(mcp.SubscriptionsListen, "").request(), parse(t, modernBody(mcp.SubscriptionsListen, params)), stream)
	})
	synctest.Wait()
	story()
	hangUp()
	wg.Wait()
	return a, err
}

// take is what a stream has, which it forgets: method and params without the id of
// the subscription.
func (s *fakeStream) take(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, data := range s.data() {
		m := parse(t, data)
		params := mcp.WithoutField(m.Params(), "_meta", mcp.MetaSubscriptionID)
		if string(mcp.Meta(m.Params(), mcp.MetaSubscriptionID)) != "7" {
			t.Errorf("%s does not name its subscription", data)
		}
		if string(mcp.Field(params, "_meta")) == "{}" {
			params = mcp.WithoutField(params, "_meta")
		}
		out = append(out, strings.TrimPrefix(m.Method(), "notifications/")+" "+string(params))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = nil
	return out
}

func wantTold(t *testing.T, s *fakeStream, want ...string) {
	t.Helper()
	if got := s.take(t); !slices.Equal(got, want) {
		t.Errorf("told\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

const bothNotes = `"notifications":{"toolsListChanged":true,"resourceSubscriptions":["gw://files/note://a","gw://mail/note://a","gw://mute/x","gw://nobody/x","note://a"]}`

func TestSubscriptionOfTheAggregateSpansUpstreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTwins(t)
		mute := twin("mute", mcp.V20251125)
		mute.Capabilities = []byte(`{"resources":{}}`)
		w.catalog.put(mute)
		files, mail := newSpeaker(w, "files"), newSpeaker(w, "mail")
		stream := new(fakeStream)
		_, err := w.joinedListening(t, bothNotes, stream, func() {
			wantTold(t, stream, `subscriptions/acknowledged {"notifications":{"toolsListChanged":true,"resourceSubscriptions":["gw://files/note://a","gw://mail/note://a"]}}`)
			files.say(t, changedResource("note://a"))
			files.say(t, changedResource("note://b"))
			mail.say(t, changedResource("note://a/part"))
			mail.say(t, `{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
			settle()
			wantTold(t, stream, event("gw://files/note://a", "update"), event("gw://mail/note://a/part", "update"))
			w.catalog.remove("mail")
			settle()
			wantTold(t, stream, "tools/list_changed {}")
		})
		if err != nil {
			t.Error(err)
		}
		for _, up := range []*speaker{files, mail} {
			if got := up.listened(); !slices.Equal(got, []string{"note://a"}) {
				t.Errorf("an upstream was asked for %q", got)
			}
		}
	})
}

func TestEventsOfAModernSubscription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTwins(t)
		mute := twin("mute", mcp.V20251125)
		mute.Capabilities = []byte(`{"resources":{}}`)
		w.catalog.put(mute)
		files := newSpeaker(w, "files")
		stream := new(fakeStream)
		params := `"notifications":{"resourceSubscriptions":["gw://files/note://a","gw://mute/x"]},"events":["create","delete"]`
		_, _ = w.joinedListening(t, params, stream, func() {
			wantTold(t, stream, `subscriptions/acknowledged {"notifications":{"resourceSubscriptions":["gw://files/note://a","gw://mute/x"]}}`)
			w.catalog.put(mute, item(record.ListResources, "x", `{"uri":"x"}`))
			w.catalog.put(twin("files", mcp.V20251125))
			settle()
			wantTold(t, stream, event("gw://files/note://a", "delete"), event("gw://mute/x", "create"))
		})
		if files.listeners() != 0 || len(files.watches) != 0 {
			t.Error("an upstream is listened to for what the catalogue tells")
		}
	})
}

// One that is broken costs the others nothing but the time that is waited for it.
func TestBrokenUpstreamHoldsASubscriptionUpForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTwins(t)
		files := newSpeaker(w, "files")
		w.upstreams.at["mail"].listen = func(ctx context.Context, _ upstream.Caller, _ upstream.Watch, _ func(*mcp.Message)) error {
			<-ctx.Done() // connects, and says nothing
			return context.Cause(ctx)
		}
		stream := new(fakeStream)
		_, _ = w.joinedListening(t, bothNotes, stream, func() {
			time.Sleep(beginWait - time.Millisecond)
			if len(stream.data()) > 0 {
				t.Error("acknowledged before anybody listens")
			}
			files.say(t, changedResource("note://a"))
			settle()
			got := stream.take(t)
			if len(got) != 2 || !strings.HasPrefix(got[0], "subscriptions/acknowledged") || got[1] != event("gw://files/note://a", "update") {
				t.Errorf("told %q", got)
			}
		})
	})
}

func TestUpstreamThatCameBackIsListenedToAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTwins(t)
		newSpeaker(w, "files")
		tries := 0
		w.upstreams.at["mail"].listen = func(ctx context.Context, _ upstream.Caller, _ upstream.Watch, _ func(*mcp.Message)) error {
			if tries++; tries == 1 {
				return fault.New(fault.NotFound, "removed")
			}
			<-ctx.Done()
			return context.Cause(ctx)
		}
		stream := new(fakeStream)
		_, _ = w.joinedListening(t, bothNotes, stream, func() {
			stream.take(t)
			time.Sleep(listenAgain)
			settle()
			wantTold(t, stream, event("gw://mail/note://a", "update"))
		})
		if tries != 2 {
			t.Errorf("listened %d times", tries)
		}
	})
}

func TestSubscriptionOfTheAggregateEndsInOrderByDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTwins(t)
		stream := new(fakeStream)
		var ended bool
		a, err := w.joinedListening(t, `"notifications":{"promptsListChanged":true}`, stream, func() {
			w.Drain()
			synctest.Wait()
			ended = true
		})
		if err != nil || !ended || !strings.Contains(text(a.Message), `"resultType":"complete"`) {
			t.Errorf("%s, %v", text(a.Message), err)
		}
	})
}

func TestPrincipalListensToSoMuchOnANode(t *testing.T) {
	var s shares
	bob := record.Principal{Issuer: "i", Subject: "bob"}
	if !s.take(alice, maxWatched) || s.take(alice, 1) || !s.take(bob, 1) {
		t.Error("the share is not that of a principal")
	}
	s.give(alice, maxWatched)
	if !s.take(alice, 1) {
		t.Error("what was given back is not there")
	}
	w := newTwins(t)
	w.watching.held = map[record.Principal]int{alice: maxWatched}
	w.upstreams.at["files"].listen = func(context.Context, upstream.Caller, upstream.Watch, func(*mcp.Message)) error { return nil }
	a := w.post(t, joinedSent(mcp.SubscriptionsListen, ""), modernBody(mcp.SubscriptionsListen, `"notifications":{"resourceSubscriptions":["gw://files/note://a"]}`))
	if e := a.Message.Err(); e == nil || !strings.Contains(e.Message, "4096 resources") {
		t.Errorf("answer %s", text(a.Message))
	}
}
