package router

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/mcp"
	"github.com/mcpraft/mcpraft/server/upstream"
)

// A speaker is an upstream that says what a test has it say.
type speaker struct {
	fakeUpstreams
	hear    sync.Mutex
	watches []upstream.Watch // of those who listen or have listened
	deliver map[int]func(*mcp.Message)
}

func newSpeaker(w *world, alias string) *speaker {
	s := &speaker{deliver: make(map[int]func(*mcp.Message))}
	s.listen = func(ctx context.Context, _ upstream.Caller, watch upstream.Watch, deliver func(*mcp.Message)) error {
		s.hear.Lock()
		n := len(s.watches)
		s.watches, s.deliver[n] = append(s.watches, watch), deliver
		s.hear.Unlock()
		if watch.Begun != nil {
			watch.Begun()
		}
		<-ctx.Done()
		s.hear.Lock()
		defer s.hear.Unlock()
		delete(s.deliver, n)
		return context.Cause(ctx)
	}
	if w.upstreams.at == nil {
		w.upstreams.at = make(map[string]*fakeUpstreams)
	}
	w.upstreams.at[alias] = &s.fakeUpstreams
	return s
}

// say says a message to all who listen.
func (s *speaker) say(t *testing.T, body string) {
	s.hear.Lock()
	defer s.hear.Unlock()
	for _, deliver := range s.deliver {
		deliver(parse(t, body))
	}
}

func (s *speaker) listeners() int {
	s.hear.Lock()
	defer s.hear.Unlock()
	return len(s.deliver)
}

// listened are the resources that each listener has asked for.
func (s *speaker) listened() []string {
	s.hear.Lock()
	defer s.hear.Unlock()
	var list []string
	for _, w := range s.watches {
		list = append(list, strings.Join(w.URIs, " "))
	}
	return list
}

func changedResource(uri string) string {
	return `{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"` + uri + `"}}`
}

// event is what a client hears of a resource.
func event(uri, name string) string {
	return `resources/updated {"uri":"` + uri + `","_meta":{"io.github.mcpraft/event":"` + name + `"}}`
}

// joinedGet has a GET stream of session "s" of the aggregate open while story runs.
func (w *world) joinedGet(t *testing.T, to *fakeListener, story func()) {
	t.Helper()
	w.sessions.listen = func(ctx context.Context, o ListenOptions) error { return o.Source(ctx, to) }
	ctx, hangUp := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = w.Listen(ctx, inJoined.request(), new(fakeStream)) })
	synctest.Wait()
	story()
	hangUp()
	wg.Wait()
}

// settle lets everything that is under way be told.
func settle() {
	time.Sleep(2 * time.Second)
	synctest.Wait()
}

func subscribed(alias, protocol string, events map[string]record.Events) record.Binding {
	b := record.Binding{Alias: alias, Protocol: protocol}
	for uri, e := range events {
		b.SetEvents(uri, e)
	}
	return b
}

func wantHeard(t *testing.T, to *fakeListener, want ...string) {
	t.Helper()
	got := to.heard()
	if !slices.Equal(got, want) {
		t.Errorf("heard\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	to.mu.Lock()
	defer to.mu.Unlock()
	to.got = nil
}

func TestChangesOfListsComeFromTheCatalogue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTwins(t)
		files := newSpeaker(w, "files")
		w.openJoined(mcp.V20251125, bound(record.Binding{Alias: "files", Protocol: "2025-11-25"}))
		to := new(fakeListener)
		w.joinedGet(t, to, func() {
			files.say(t, `{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
			settle()
			wantHeard(t, to) // what the catalogue does not have yet, nobody can list

			s := twin("files", mcp.V20251125)
			s.Announce([]record.ListKind{record.ListTools}, 9)
			w.catalog.put(s, twinItems()...)
			settle()
			wantHeard(t, to, "tools/list_changed ") // nothing differs, and yet it was said

			w.catalog.remove("mail")
			settle()
			wantHeard(t, to, "prompts/list_changed ", "resources/list_changed ", "tools/list_changed ")
		})
	})
}

func TestUpdatesAreThoseThatTheSessionWants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTwins(t)
		files, mail := newSpeaker(w, "files"), newSpeaker(w, "mail")
		w.openJoined(mcp.V20251125, bound(
			subscribed("files", "2025-11-25", map[string]record.Events{"note://a": record.EventUpdate, "note://d": record.EventDelete}),
			subscribed("mail", "", map[string]record.Events{"note://a": record.EventUpdate})))
		to := new(fakeListener)
		w.joinedGet(t, to, func() {
			for _, up := range []*speaker{files, mail} {
				up.say(t, changedResource("note://a"))
				up.say(t, changedResource("note://a/part"))
				up.say(t, changedResource("note://d"))
				up.say(t, changedResource("note://of-somebody-else"))
			}
			settle()
			wantHeard(t, to, event("gw://files/note://a", "update"), event("gw://files/note://a/part", "update"),
				event("gw://mail/note://a", "update"), event("gw://mail/note://a/part", "update"))
		})
		if got := files.listened(); !slices.Equal(got, []string{""}) {
			t.Errorf("files, which was told by a request, is asked for %q", got)
		}
		if got := mail.listened(); !slices.Equal(got, []string{"note://a"}) {
			t.Errorf("mail, which is modern, is asked for %q", got)
		}
	})
}

func TestUpdatesComeTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTwins(t)
		files := newSpeaker(w, "files")
		w.openJoined(mcp.V20251125, bound(subscribed("files", "2025-11-25", map[string]record.Events{"note://": record.EventUpdate})))
		to := new(fakeListener)
		w.joinedGet(t, to, func() {
			for range 1000 { // over a second
				files.say(t, changedResource("note://a"))
				time.Sleep(time.Millisecond)
			}
			settle()
			if got := to.heard(); len(got) < 4 || len(got) > 6 {
				t.Errorf("heard %d updates of a second", len(got))
			}
			to.got = nil
			files.say(t, changedResource("note://first"))
			synctest.Wait()
			for i := range maxMail + 10 {
				files.say(t, changedResource(fmt.Sprintf("note://%04d", i)))
			}
			settle()
			got := to.heard()
			if len(got) != 1+maxMail+1 || !slices.Contains(got, event("gw://files/note://", "update")) {
				t.Errorf("heard of %d resources", len(got))
			}
		})
	})
}

func TestCreatedAndDeletedComeFromTheCatalogue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTwins(t)
		files := newSpeaker(w, "files")
		w.openJoined(mcp.V20251125, bound(subscribed("files", "2025-11-25", map[string]record.Events{
			"note://a": record.EventDelete, "note://dir/": record.EventCreate, "note://n": record.AllEvents, "note://u": record.EventUpdate,
		})))
		lists := func(uris ...string) {
			var items []record.ListItem
			for _, uri := range uris {
				items = append(items, item(record.ListResources, uri, `{"uri":"`+uri+`"}`))
			}
			w.catalog.put(twin("files", mcp.V20251125), items...)
			settle()
		}
		to := new(fakeListener)
		w.joinedGet(t, to, func() {
			lists("note://dir/1", "note://n", "note://nothing", "note://u")
			wantHeard(t, to, "prompts/list_changed ", "resources/list_changed ", "tools/list_changed ",
				event("gw://files/note://a", "delete"), event("gw://files/note://dir/1", "create"), event("gw://files/note://n", "create"))
			lists("note://a", "note://u")
			wantHeard(t, to, "resources/list_changed ", event("gw://files/note://n", "delete"))
		})
		// What was refused while it was not there is asked for again.
		if got := files.listened(); !slices.Equal(got, []string{"note://n", "note://n"}) {
			t.Errorf("the upstream was asked for %q", got)
		}
	})
}

func TestStreamFollowsTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTwins(t)
		files, mail := newSpeaker(w, "files"), newSpeaker(w, "mail")
		l := w.openJoined(mcp.V20251125)
		to := new(fakeListener)
		w.joinedGet(t, to, func() {
			if files.listeners()+mail.listeners() != 0 {
				t.Error("upstreams that were never opened are listened to")
			}
			if err := w.sessions.Subscribe(t.Context(), l, "mail", "note://a", record.EventUpdate); err != nil { // on any node
				t.Fatal(err)
			}
			settle()
			mail.say(t, changedResource("note://a"))
			settle()
			wantHeard(t, to, event("gw://mail/note://a", "update"))
			if err := w.sessions.Unsubscribe(t.Context(), l, "mail", "note://a", record.AllEvents); err != nil {
				t.Fatal(err)
			}
			settle()
			if mail.listeners() != 0 {
				t.Error("an upstream of which nothing is wanted is listened to")
			}
		})
	})
}

func TestBrokenUpstreamKeepsNothingFromTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTwins(t)
		mail := newSpeaker(w, "mail")
		var up atomic.Bool
		w.upstreams.at["files"].listen = func(ctx context.Context, _ upstream.Caller, _ upstream.Watch, _ func(*mcp.Message)) error {
			if !up.Load() {
				return fault.New(fault.Unavailable, "disabled")
			}
			<-ctx.Done()
			return context.Cause(ctx)
		}
		updates := map[string]record.Events{"note://a": record.EventUpdate}
		w.openJoined(mcp.V20251125, bound(subscribed("files", "2025-11-25", updates), subscribed("mail", "", updates)))
		to := new(fakeListener)
		w.joinedGet(t, to, func() {
			mail.say(t, changedResource("note://a"))
			settle()
			wantHeard(t, to, event("gw://mail/note://a", "update"))
			up.Store(true)
			time.Sleep(listenAgain)
			settle()
			wantHeard(t, to, event("gw://files/note://a", "update")) // it may have been
		})
	})
}

func TestGapOfAnUpstreamIsToldAsUpdatesOfItsResources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTwins(t)
		files := newSpeaker(w, "files")
		w.openJoined(mcp.V20251125, bound(subscribed("files", "2025-11-25", map[string]record.Events{"note://a": record.EventUpdate, "note://b": record.EventDelete})))
		to := new(fakeListener)
		w.joinedGet(t, to, func() {
			files.watches[0].Missed()
			settle()
			wantHeard(t, to, event("gw://files/note://a", "update"))
		})
	})
}

func TestClientThatComesBackLooksAgainAtEverything(t *testing.T) {
	w := newTwins(t)
	w.openJoined(mcp.V20251125, bound(subscribed("files", "", map[string]record.Events{"note://a": record.EventUpdate, "note://b": record.EventDelete})))
	w.sessions.listen = func(_ context.Context, o ListenOptions) error {
		var got []string
		for _, m := range o.Missed() {
			got = append(got, strings.TrimPrefix(m.Method(), "notifications/")+" "+string(m.Params()))
		}
		want := []string{"tools/list_changed ", "resources/list_changed ", "prompts/list_changed ", `resources/updated {"uri":"gw://files/note://a"}`}
		if !slices.Equal(got, want) {
			t.Errorf("missed %q, want %q", got, want)
		}
		return nil
	}
	_ = w.Listen(t.Context(), inJoined.request(), new(fakeStream))
}

func TestUpstreamAsksOutsideCallsThroughTheAggregate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTwins(t)
		files := newSpeaker(w, "files")
		w.openJoined(mcp.V20251125, bound(record.Binding{Alias: "files", Protocol: "2025-11-25"}))
		var asked string
		to := &fakeListener{asks: func(m *mcp.Message) (*mcp.Message, error) {
			asked = string(m.Params())
			return mcp.Answer(m.ID(), []byte(`{"action":"accept"}`)), nil
		}}
		w.joinedGet(t, to, func() {
			m, err := files.watches[0].Ask(t.Context(), parse(t, `{"jsonrpc":"2.0","id":1,"method":"elicitation/create","params":{"message":"Sure?"}}`))
			if err != nil || string(m.Result()) != `{"action":"accept"}` || asked != `{"message":"files: Sure?"}` {
				t.Errorf("asked %s, got %s, %v", asked, text(m), err)
			}
			files.say(t, `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","logger":"db"}}`)
			wantHeard(t, to, `message {"level":"info","logger":"files/db"}`)
		})
	})
}
