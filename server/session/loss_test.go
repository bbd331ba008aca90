package session

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/mcp"
)

var lossStories = []clusterStory{
	{"a call whose upstream can be resumed is taken over", callIsTakenOver},
	{"only one node takes a call over", oneTakesOver},
	{"who comes again while a call is taken over waits for it", comingAgainWaits},
	{"who is late to take a call over does not", lateTakerGetsNothing},
	{"a call that cannot be taken over is lost with a word", callIsLost},
	{"a restarted owner is not the owner", restartedOwner},
	{"an upstream that does not resume is a loss with a word", upstreamDoesNotResume},
	{"without a leader the client is told to come back", comeBackLater},
	{"the owner's death ends a resumed stream as well", ownerDiesUnderReader},
	{"short calls have no record, answered ones none any more", recordsAreRare},
	{"an owner out of reach for a moment is waited for", ownerComesBack},
	{"a node that is drained sends GET streams elsewhere", drainMovesListeners},
	{"a node that is drained leaves its calls and answers to others", drainHandsOver},
}

func suspendByAdmin(l *Live) *fsm.MoveSession {
	return &fsm.MoveSession{ID: l.Record.ID, To: record.Suspended, ByAdmin: true}
}

// upstreamAt is where the upstream of a call has come to.
func upstreamAt(event string) Upstream {
	return Upstream{Alias: "demo", Protocol: "2025-11-25", Session: "up-session", Request: "77", LastEventID: event}
}

// running is a call on node a that its client waits on, with an upstream that can
// be resumed.
func running(w *world) (id string, c *Call, client *wire) {
	a := w.node("a")
	id = a.begin(alice, mcp.V20251125)
	client = new(wire)
	c = a.call(id, `"call"`, client)
	c.Upstream(upstreamAt("e1"))
	time.Sleep(patience + recordInterval)
	c.Upstream(upstreamAt("e2"))
	time.Sleep(recordEvery + 2*recordInterval)
	synctest.Wait()
	return id, c, client
}

func wantNodeLost(t *testing.T, got *wire, request mcp.ID) {
	t.Helper()
	m := got.messages()
	if len(m) != 1 || m[0].ID() != request || m[0].Err() == nil || !strings.Contains(string(m[0].Err().Data), `"node_lost"`) {
		t.Errorf("the client got %d messages, want one that says node_lost", len(m))
		for _, m := range m {
			t.Logf("%s", m.Bytes())
		}
	}
}

func callIsTakenOver(t *testing.T, w *world) {
	id, _, client := running(w)
	w.die(w.node("a"))
	b := w.node("b")
	var resumed []Upstream
	got := new(wire)
	ended := make(chan error, 1)
	go func() {
		ended <- b.Listen(w.ctx, b.get(id, alice), got, ListenOptions{LastEventID: client.lastID(), Resume: func(c *Call, u Upstream) (*mcp.Message, error) {
			resumed = append(resumed, u)
			c.Notify(notification(5))
			time.Sleep(time.Second)
			return answerTo(c.Request()), nil
		}})
	}()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if want := upstreamAt("e2"); len(resumed) != 1 || resumed[0] != want {
		t.Errorf("resumed at %+v", resumed)
	}
	m := got.messages()
	if len(m) != 2 || m[0].Method() != mcp.Progress || m[1].ID() != `"call"` || m[1].Err() != nil {
		t.Fatalf("the client got %d messages", len(m))
	}
	// Its answer is b's now: another node can ask for it, though not twice.
	again := new(wire)
	c := w.node("c")
	if err := c.Listen(w.ctx, c.get(id, alice), again, ListenOptions{LastEventID: got.firstID()}); err != nil {
		t.Fatal(err)
	}
	if m := again.messages(); len(m) != 1 || m[0].Err() != nil {
		t.Errorf("the answer from b through c: %d messages", len(m))
	}
	time.Sleep(2 * recordInterval)
	if n := w.callsLeft(); n != 0 {
		t.Errorf("%d call records are left", n)
	}
}

func (w *world) callsLeft() (n int) {
	view, err := w.truth.View()
	if err != nil {
		w.t.Fatal(err)
	}
	defer view.Close()
	for range view.Calls(0, record.ID{}) {
		n++
	}
	return n
}

func oneTakesOver(t *testing.T, w *world) {
	id, _, client := running(w)
	w.die(w.node("a"))
	taken := 0
	clients := []*wire{new(wire), new(wire)}
	done := make(chan error, 2)
	for i, name := range []string{"b", "c"} {
		n := w.node(name)
		go func() {
			done <- n.Listen(w.ctx, n.get(id, alice), clients[i], ListenOptions{LastEventID: client.lastID(), Resume: func(c *Call, _ Upstream) (*mcp.Message, error) {
				taken++
				return answerTo(c.Request()), nil
			}})
		}()
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if taken != 1 {
		t.Errorf("taken over %d times", taken)
	}
	for _, c := range clients {
		if m := c.messages(); len(m) != 1 || m[0].ID() != `"call"` {
			t.Errorf("a client got %d messages", len(m))
		}
	}
}

// comingAgainWaits has a client give up its first GET and send another, to the same
// node and to the third, at once and while the upstream is being asked.
func comingAgainWaits(t *testing.T, w *world) {
	for _, c := range []struct {
		name  string
		later time.Duration
	}{{"b", 0}, {"b", 4 * time.Second}, {"c", 4 * time.Second}} {
		if n := w.node("a"); n.ctx.Err() != nil {
			w.start("a")
		}
		id, _, client := running(w)
		w.die(w.node("a"))
		taken := 0
		listen := func(node string, got *wire) chan error {
			n := w.node(node)
			ended := make(chan error, 1)
			go func() {
				ended <- n.Listen(w.ctx, n.get(id, alice), got, ListenOptions{LastEventID: client.lastID(), Resume: func(c *Call, _ Upstream) (*mcp.Message, error) {
					taken++
					time.Sleep(10 * time.Second)
					return answerTo(c.Request()), nil
				}})
			}()
			return ended
		}
		first, second := new(wire), new(wire)
		one := listen("b", first)
		time.Sleep(c.later)
		two := listen(c.name, second)
		if err := errors.Join(<-one, <-two); err != nil {
			t.Error(err)
		}
		answers := append(first.messages(), second.messages()...)
		if taken != 1 || len(answers) != 1 || answers[0].ID() != `"call"` || answers[0].Err() != nil {
			t.Errorf("again on %s after %v: taken over %d times, %d answers", c.name, c.later, taken, len(answers))
			for _, m := range answers {
				t.Logf("%s", m.Bytes())
			}
		}
	}
}

func lateTakerGetsNothing(t *testing.T, w *world) {
	id, c, client := running(w)
	w.die(w.node("a"))
	b := w.node("b")
	live := b.get(id, alice)
	w.change(func() { // somebody else is faster, after b has seen the record
		b.onRead = func() { w.append(alice, &fsm.DropCalls{IDs: []record.ID{c.id}}) }
	})
	got := new(wire)
	err := b.Listen(w.ctx, live, got, ListenOptions{LastEventID: client.lastID(), Resume: func(c *Call, _ Upstream) (*mcp.Message, error) {
		t.Error("a call is taken over that is somebody else's")
		return answerTo(c.Request()), nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	wantNodeLost(t, got, `"call"`)
}

func callIsLost(t *testing.T, w *world) {
	id, _, client := left(w, mcp.V20251125) // no upstream event ids: nothing to go on from
	w.die(w.node("a"))
	for _, name := range []string{"b", "c"} {
		n := w.node(name)
		got := new(wire)
		began := time.Now()
		if err := n.Listen(w.ctx, n.get(id, alice), got, ListenOptions{LastEventID: client.lastID()}); err != nil {
			t.Fatal(err)
		}
		wantNodeLost(t, got, call1)
		if took := time.Since(began); took > ownerLost+time.Second {
			t.Errorf("told after %v", took)
		}
		err := n.Listen(w.ctx, n.get(id, alice), new(wire), ListenOptions{LastEventID: got.lastID()})
		wantKind(t, err, fault.MethodNotAllowed, "after the loss was told")
	}
}

func restartedOwner(t *testing.T, w *world) {
	id, _, client := left(w, mcp.V20251125)
	w.die(w.node("a"))
	w.start("a")
	for _, name := range []string{"a", "b"} {
		n := w.node(name)
		got := new(wire)
		began := time.Now()
		if err := n.Listen(w.ctx, n.get(id, alice), got, ListenOptions{LastEventID: client.lastID()}); err != nil {
			t.Fatal(err)
		}
		wantNodeLost(t, got, call1)
		if took := time.Since(began); took != 0 {
			t.Errorf("on %s: told after %v, though the new process knows", name, took)
		}
	}
}

func upstreamDoesNotResume(t *testing.T, w *world) {
	id, _, client := running(w)
	w.die(w.node("a"))
	b := w.node("b")
	got := new(wire)
	err := b.Listen(w.ctx, b.get(id, alice), got, ListenOptions{LastEventID: client.lastID(), Resume: func(*Call, Upstream) (*mcp.Message, error) {
		return nil, errors.New("405")
	}})
	if err != nil {
		t.Fatal(err)
	}
	wantNodeLost(t, got, `"call"`)
}

func comeBackLater(t *testing.T, w *world) {
	id, _, client := running(w)
	w.die(w.node("a"))
	w.change(func() { w.leaderless = true })
	b := w.node("b")
	got := new(wire)
	began := time.Now()
	if err := b.Listen(w.ctx, b.get(id, alice), got, ListenOptions{LastEventID: client.lastID()}); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > ownerLost+holdFor+time.Second {
		t.Errorf("held for %v", took)
	}
	events := got.got()
	if last := events[len(events)-1]; got.lastID() != client.lastID() || last.Retry < time.Second {
		t.Errorf("the client is told %+v", events)
	}
	w.change(func() { w.leaderless = false })
	again := new(wire)
	err := b.Listen(w.ctx, b.get(id, alice), again, ListenOptions{LastEventID: got.lastID(), Resume: func(c *Call, _ Upstream) (*mcp.Message, error) {
		return answerTo(c.Request()), nil
	}})
	if m := again.messages(); err != nil || len(m) != 1 || m[0].Err() != nil {
		t.Errorf("a moment later: %v, %d messages", err, len(m))
	}
}

func ownerDiesUnderReader(t *testing.T, w *world) {
	id, c, client := running(w)
	client.hangUp()
	b := w.node("b")
	got := new(wire)
	ended := make(chan error, 1)
	go func() {
		ended <- b.Listen(w.ctx, b.get(id, alice), got, ListenOptions{LastEventID: client.lastID(), Resume: func(c *Call, _ Upstream) (*mcp.Message, error) {
			return answerTo(c.Request()), nil
		}})
	}()
	synctest.Wait()
	c.Notify(notification(1))
	synctest.Wait()
	w.die(w.node("a"))
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	m := got.messages()
	if len(m) != 2 || m[0].Method() != mcp.Progress || m[1].ID() != `"call"` || m[1].Err() != nil {
		t.Errorf("the client got %d messages", len(m))
	}
}

func recordsAreRare(t *testing.T, w *world) {
	a := w.node("a")
	id := a.begin(alice, mcp.V20251125)
	puts := func() (n int) {
		for _, e := range w.log {
			envelope, err := fsm.DecodeEnvelope(e.Data)
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := envelope.Proposals[0].Command.(*fsm.PutCalls); ok {
				n++
			}
		}
		return n
	}
	quick, dumb := a.call(id, "1", new(wire)), a.call(id, "2", new(wire))
	dumb.Upstream(Upstream{Alias: "demo"})
	for i := range 15 {
		quick.Upstream(upstreamAt(fmt.Sprint(i)))
		time.Sleep(100 * time.Millisecond)
	}
	quick.Finish(answerTo("1"))
	time.Sleep(time.Minute)
	synctest.Wait()
	if n := puts(); n != 0 {
		t.Errorf("%d writes for a call of 1.5 s and one that cannot be resumed", n)
	}
	dumb.Finish(answerTo("2"))
	long := []*Call{a.call(id, "3", new(wire)), a.call(id, "4", new(wire))}
	for i := range 200 { // 20 s of events, ten a second, in two calls
		for _, c := range long {
			c.Upstream(upstreamAt(fmt.Sprint(i)))
		}
		time.Sleep(100 * time.Millisecond)
	}
	synctest.Wait()
	if n := puts(); n < 8 || n > 10 {
		t.Errorf("%d writes in 20 s, want one in 2 s for both", n)
	}
	if n := w.callsLeft(); n != 2 {
		t.Errorf("%d records", n)
	}
	for _, c := range long {
		c.Finish(answerTo(c.Request()))
	}
	time.Sleep(time.Second)
	if n := w.callsLeft(); n != 0 {
		t.Errorf("%d records of calls that were answered", n)
	}
}

func ownerComesBack(t *testing.T, w *world) {
	a, b := w.node("a"), w.node("b")
	id, c, client := left(w, mcp.V20251125)
	w.change(func() { a.isolated = true })
	got := new(wire)
	ended := make(chan error, 1)
	go func() { ended <- b.Listen(w.ctx, b.get(id, alice), got, ListenOptions{LastEventID: client.lastID()}) }()
	time.Sleep(ownerLost / 2)
	w.change(func() { a.isolated = false })
	time.Sleep(time.Second)
	c.Finish(answerTo(call1))
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if m := got.messages(); len(m) != 1 || m[0].Err() != nil {
		t.Errorf("the client got %d messages", len(m))
	}
}

func drainMovesListeners(t *testing.T, w *world) {
	a, b := w.node("a"), w.node("b")
	id := a.begin(alice, mcp.V20251125)
	client := new(wire)
	end := a.listen(id, client, ListenOptions{})
	a.Drain(w.ctx)
	if err := end(); err != nil {
		t.Errorf("Listen = %v", err)
	}
	events := client.got()
	if last := events[len(events)-1]; last.Retry < time.Second {
		t.Errorf("the last event is %+v", last)
	}
	late := new(wire)
	if err := a.Listen(w.ctx, a.get(id, alice), late, ListenOptions{LastEventID: client.lastID()}); err != nil || late.got()[0].Retry < time.Second {
		t.Errorf("a GET on the node that stops: %v, %v", err, late.got())
	}
	_, err := a.OpenCall(w.ctx, a.get(id, alice), call1, new(wire), CallOptions{})
	wantKind(t, err, fault.Unavailable, "a call on the node that stops")
	back := new(wire)
	end = b.listen(id, back, ListenOptions{LastEventID: late.lastID()})
	if n := len(back.messages()); n != 3 {
		t.Errorf("the client comes back to %d messages", n)
	}
	_ = end()
}

func drainHandsOver(t *testing.T, w *world) {
	a := w.node("a")
	id, c, client := running(w)
	c.Upstream(upstreamAt("e3"))
	answered, doneClient := a.call(id, "2", new(wire)), new(wire)
	answered.carrier = doneClient
	answered.openNow()
	answered.Finish(answerTo("2"))
	plain := a.call(id, "3", new(wire)) // cannot be gone on with
	final := make(chan *mcp.Error, 1)
	for _, c := range []*Call{c, plain} {
		go func() {
			<-c.Context().Done()
			a := c.Finish(mcp.Failed(c.Request(), mcp.FromFault(context.Cause(c.Context()), "r")))
			if c == plain {
				final <- a.Message.Err()
			} else if a.Message != nil {
				t.Errorf("the call is answered with %s", a.Message.Bytes())
			}
		}()
	}
	limited, cancel := context.WithTimeout(w.ctx, time.Second)
	defer cancel()
	a.Drain(limited)
	// Its upstream may have carried it out: it must not be told to send it again.
	if e := <-final; e == nil || !strings.Contains(string(e.Data), `"reason":"outcome_unknown","retryable":false`) {
		t.Errorf("the call that cannot be gone on with is told %v", e)
	}
	events := client.got()
	if last := events[len(events)-1]; last.Retry < time.Second {
		t.Errorf("the client of the call is told %+v", last)
	}
	w.die(a)
	n := w.node("c")
	got := new(wire)
	if err := n.Listen(w.ctx, n.get(id, alice), got, ListenOptions{LastEventID: doneClient.lastID()}); err != nil {
		t.Fatal(err)
	}
	if m := got.messages(); len(m) != 1 || m[0].ID() != "2" || m[0].Err() != nil {
		t.Errorf("the answer that was handed over: %d messages", len(m))
	}
	var at Upstream
	got = new(wire)
	err := n.Listen(w.ctx, n.get(id, alice), got, ListenOptions{LastEventID: client.lastID(), Resume: func(c *Call, u Upstream) (*mcp.Message, error) {
		at = u
		return answerTo(c.Request()), nil
	}})
	if m := got.messages(); err != nil || at != upstreamAt("e3") || len(m) != 1 || m[0].Err() != nil {
		t.Errorf("the call went on at %+v with %d messages, %v", at, len(m), err)
	}
}
