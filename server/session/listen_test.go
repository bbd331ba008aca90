package session

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/mcp"
)

var listenStories = []clusterStory{
	{"each GET stream starts with a fresh event id, for who knows", listenStartsWithID},
	{"the newest GET stream gets the messages", newestListenerWins},
	{"an older GET stream takes over", olderListenerTakesOver},
	{"a fifth GET stream closes the oldest", fifthClosesOldest},
	{"the loss of the node of the newest is noticed", lostNewestIsNoticed},
	{"nodes that were apart agree again", partedNodesAgree},
	{"a client that comes back looks again", comingBackLooksAgain},
	{"a source that fails is started again", sourceIsRestarted},
	{"questions on a GET stream are answered anywhere", askOnListener},
	{"a session with a stream open is in use", openStreamIsUse},
	{"an administrator's suspension closes GET streams", suspensionClosesStreams},
}

// A tap is a source that sends what it is given while it runs.
type tap struct {
	running atomic.Int32
	out     chan *mcp.Message
	l       atomic.Pointer[Listener]
}

func newTap() *tap { return &tap{out: make(chan *mcp.Message)} }

func (t *tap) source(ctx context.Context, l *Listener) error {
	t.running.Add(1)
	defer t.running.Add(-1)
	t.l.Store(l)
	for {
		select {
		case m := <-t.out:
			if err := l.Notify(m); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func wantRunning(t *testing.T, taps ...*tap) func(want ...int32) {
	return func(want ...int32) {
		t.Helper()
		synctest.Wait()
		for i, tap := range taps {
			if got := tap.running.Load(); got != want[i] {
				t.Errorf("source %d runs %d times, want %d", i, got, want[i])
			}
		}
	}
}

func listenStartsWithID(t *testing.T, w *world) {
	a := w.node("a")
	for _, v := range []mcp.Version{mcp.V20250326, mcp.V20251125} {
		id := a.begin(alice, v)
		seen := make(map[string]bool)
		for range 2 {
			client := new(wire)
			end := a.listen(id, client, ListenOptions{})
			events := client.got()
			if len(events) == 0 || events[0].HasID != (v == mcp.V20251125) || len(events[0].Data) != 0 || seen[events[0].ID] && v == mcp.V20251125 {
				t.Errorf("%s: events %+v", v, events)
			}
			seen[events[0].ID] = true
			if err := end(); err != nil {
				t.Errorf("Listen = %v", err)
			}
		}
	}
}

func newestListenerWins(t *testing.T, w *world) {
	id := w.node("a").begin(alice, mcp.V20250618)
	order := []string{"b", "a", "c", "a"}
	var taps []*tap
	var clients []*wire
	var ends []func() error
	for i, name := range order {
		tap, client := newTap(), new(wire)
		ends = append(ends, w.node(name).listen(id, client, ListenOptions{Source: tap.source}))
		taps, clients = append(taps, tap), append(clients, client)
		want := make([]int32, len(taps))
		want[i] = 1
		wantRunning(t, taps...)(want...)
	}
	last := len(order) - 1
	taps[last].out <- mcp.Notification(mcp.ResourceUpdated, []byte(`{"uri":"test://x"}`))
	count := func(c *wire) (n int) {
		for _, m := range c.messages() {
			if m.Method() == mcp.ResourceUpdated {
				n++
			}
		}
		return n
	}
	for i, c := range clients {
		if got := count(c); got != 0 && i != last || got != 1 && i == last {
			t.Errorf("stream %d got the message %d times", i, got)
		}
	}
	if err := taps[0].l.Load().Notify(notification(1)); !errors.Is(err, errOvertaken) {
		t.Errorf("a stream that is not the newest sends: %v", err)
	}
	for _, end := range ends {
		if err := end(); err != nil {
			t.Error(err)
		}
	}
}

func olderListenerTakesOver(t *testing.T, w *world) {
	id := w.node("a").begin(alice, mcp.V20250618)
	taps := []*tap{newTap(), newTap(), newTap()}
	older := new(wire)
	endA := w.node("a").listen(id, older, ListenOptions{Source: taps[0].source})
	endB := w.node("b").listen(id, new(wire), ListenOptions{Source: taps[1].source})
	endC := w.node("c").listen(id, new(wire), ListenOptions{Source: taps[2].source})
	want := wantRunning(t, taps...)
	want(0, 0, 1)
	_ = endB()
	want(0, 0, 1)
	before := len(older.messages())
	_ = endC()
	want(1, 0, 0)
	if n := len(older.messages()) - before; n != 3 {
		t.Errorf("%d notifications of what may have been missed, want 3", n)
	}
	_ = endA()
}

func fifthClosesOldest(t *testing.T, w *world) {
	id := w.node("a").begin(alice, mcp.V20250618)
	endOldest := w.node("a").listen(id, new(wire), ListenOptions{})
	var ends []func() error
	for _, name := range []string{"b", "c", "b", "c"} {
		ends = append(ends, w.node(name).listen(id, new(wire), ListenOptions{}))
	}
	wantKind(t, endOldest(), fault.Quota, "the oldest of five")
	for _, end := range ends {
		wantKind(t, end(), 0, "one of the four newest")
	}
}

func lostNewestIsNoticed(t *testing.T, w *world) {
	id := w.node("a").begin(alice, mcp.V20250618)
	older, newer := newTap(), newTap()
	end := w.node("a").listen(id, new(wire), ListenOptions{Source: older.source})
	w.node("b").listen(id, new(wire), ListenOptions{Source: newer.source})
	want := wantRunning(t, older, newer)
	want(0, 1)
	w.die(w.node("b"))
	time.Sleep(settleInterval + time.Second)
	want(1, 0)
	_ = end()
}

func partedNodesAgree(t *testing.T, w *world) {
	a, b := w.node("a"), w.node("b")
	id := a.begin(alice, mcp.V20250618)
	b.get(id, alice)
	w.change(func() { b.isolated = true })
	one, two := newTap(), newTap()
	endOne := a.listen(id, new(wire), ListenOptions{Source: one.source})
	endTwo := b.listen(id, new(wire), ListenOptions{Source: two.source})
	want := wantRunning(t, one, two)
	want(1, 1)
	w.change(func() { b.isolated = false })
	time.Sleep(2*settleInterval + time.Second)
	want(0, 1) // of equal ranks the higher name
	_ = endTwo()
	want(1, 0)
	_ = endOne()
}

func comingBackLooksAgain(t *testing.T, w *world) {
	a, b := w.node("a"), w.node("b")
	id := a.begin(alice, mcp.V20251125)
	first := new(wire)
	end := a.listen(id, first, ListenOptions{})
	if n := len(first.messages()); n != 0 {
		t.Errorf("the first stream of a session starts with %d messages", n)
	}
	_ = end()
	back := new(wire)
	missed := func() []*mcp.Message { return []*mcp.Message{mcp.Notification(mcp.ToolsListChanged, nil)} }
	end = b.listen(id, back, ListenOptions{LastEventID: first.lastID(), Missed: missed})
	if m := back.messages(); len(m) != 1 || m[0].Method() != mcp.ToolsListChanged {
		t.Errorf("a client that comes back gets %v", m)
	}
	_ = end()
	again := new(wire)
	end = a.listen(id, again, ListenOptions{}) // without an id: the node remembers
	if n := len(again.messages()); n != 3 {
		t.Errorf("a client that comes back without an id gets %d messages", n)
	}
	_ = end()
}

func sourceIsRestarted(t *testing.T, w *world) {
	a := w.node("a")
	id := a.begin(alice, mcp.V20250618)
	runs := 0
	client := new(wire)
	end := a.listen(id, client, ListenOptions{Source: func(ctx context.Context, _ *Listener) error {
		if runs++; runs < 3 {
			return errors.New("reset")
		}
		return nil // there is nothing to listen to
	}})
	time.Sleep(time.Minute)
	synctest.Wait()
	if runs != 3 || len(client.messages()) != 6 {
		t.Errorf("%d runs, %d messages", runs, len(client.messages()))
	}
	_ = end()
}

func askOnListener(t *testing.T, w *world) {
	a, b := w.node("a"), w.node("b")
	id := a.begin(alice, mcp.V20250618)
	client := new(wire)
	answers := make(chan *mcp.Message, 1)
	end := a.listen(id, client, ListenOptions{Source: func(ctx context.Context, l *Listener) error {
		m, err := l.Ask(ctx, mcp.Request(`"ping-1"`, mcp.Ping, nil))
		if err != nil {
			return err
		}
		answers <- m
		return nil
	}})
	asked := client.messages()
	b.deliver(id, mcp.Answer(asked[0].ID(), []byte(`{}`)))
	if m := <-answers; m.ID() != `"ping-1"` {
		t.Errorf("answer %s", m.Bytes())
	}
	_ = end()
}

func openStreamIsUse(t *testing.T, w *world) {
	a := w.node("a")
	id := a.begin(alice, mcp.V20250618)
	l := a.get(id, alice)
	end := a.listen(id, new(wire), ListenOptions{})
	for range 10 {
		time.Sleep(time.Minute)
		if seen, ok := a.c.Activity.Seen(l.Record.ID); !ok || time.Since(seen) > 2*openTouch {
			t.Fatalf("seen %v ago, %v", time.Since(seen), ok)
		}
	}
	_ = end()
	time.Sleep(time.Minute)
	if seen, _ := a.c.Activity.Seen(l.Record.ID); time.Since(seen) < 50*time.Second {
		t.Error("a session without a stream counts as used")
	}
}

func suspensionClosesStreams(t *testing.T, w *world) {
	a := w.node("a")
	id := a.begin(alice, mcp.V20250618)
	l := a.get(id, alice)
	synctest.Wait()
	end := a.listen(id, new(wire), ListenOptions{})
	call := a.call(id, call1, new(wire))
	w.append(alice, suspendByAdmin(l))
	synctest.Wait()
	wantKind(t, end(), fault.Forbidden, "the GET stream")
	if call.Context().Err() != nil {
		t.Error("a call in flight ended")
	}
	call.Finish(answerTo(call1))
}
