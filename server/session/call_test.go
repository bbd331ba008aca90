package session

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/mcp"
)

var streamStories = []clusterStory{
	{"an answer that nothing precedes is no stream", answerAlone},
	{"after five seconds a call is a stream, primed only for who knows", patienceEnds},
	{"a client that takes no stream gets only the answer", jsonOnly},
	{"an answer to a question may arrive at any node", answerAnywhere},
	{"foreign and forged answers reach nobody", foreignAnswers},
	{"progress on a question comes under its own token", progressOnAsk},
	{"a cancellation reaches its call on any node", cancelAnywhere},
	{"a cancellation may outrun its call", cancelOutruns},
	{"an id in use twice cancels nothing", cancelAmbiguous},
	{"a cancellation that comes too late does not hit the next call", cancelTooLate},
	{"a client that hangs up has not cancelled", disconnectIsNoCancel},
	{"calls of a session are bounded", callsAreBounded},
	{"questions of a call are bounded", asksAreBounded},
	{"a stream is resumed on its own node", resumeHere},
	{"a stream is resumed through its owner", resumeThere},
	{"a finished stream is not resumed", finishedIsNotResumed},
	{"a newer reader takes over from an older one", newerReaderWins},
	{"an answer of many megabytes crosses nodes", largeAnswerCrosses},
	{"a foreign event id resumes nothing", foreignEventID},
	{"rings are bounded", ringsAreBounded},
	{"what is kept is forgotten after a while", ringsExpire},
}

const call1 = `1`

func notification(n int) *mcp.Message {
	return mcp.Notification(mcp.Progress, fmt.Appendf(nil, `{"progressToken":9,"progress":%d}`, n))
}

func answerAlone(t *testing.T, w *world) {
	a := w.node("a")
	id := a.begin(alice, mcp.V20251125)
	client := new(wire)
	c := a.call(id, call1, client)
	answer := c.Finish(answerTo(c.Request()))
	if answer.Message == nil || answer.EventID != "" || len(client.got()) != 0 {
		t.Errorf("answer %+v after events %v", answer, client.got())
	}
	if again := c.Finish(nil); again != answer {
		t.Errorf("a second Finish gives %+v", again)
	}
	time.Sleep(10 * time.Second)
	if n := len(client.got()); n != 0 {
		t.Errorf("%d events after the end", n)
	}
}

func patienceEnds(t *testing.T, w *world) {
	a := w.node("a")
	for _, v := range []mcp.Version{mcp.V20241105, mcp.V20250326, mcp.V20250618, mcp.V20251125} {
		client := new(wire)
		c := a.call(a.begin(alice, v), call1, client)
		time.Sleep(patience - time.Millisecond)
		if n := len(client.got()); n != 0 {
			t.Errorf("%s: %d events before", v, n)
		}
		time.Sleep(2 * time.Millisecond)
		events := client.got()
		if len(events) != 1 || events[0].HasID != (v == mcp.V20251125) || events[0].Data != nil || events[0].Retry != 0 {
			t.Fatalf("%s: events %+v", v, events)
		}
		answer := c.Finish(answerTo(c.Request()))
		if answer.Message == nil || (answer.EventID != "") != (v != mcp.V20241105) {
			t.Errorf("%s: answer %+v", v, answer)
		}
	}
}

func jsonOnly(t *testing.T, w *world) {
	a := w.node("a")
	id := a.begin(alice, mcp.V20251125)
	client := new(wire)
	c, err := a.OpenCall(w.ctx, a.get(id, alice), call1, client, CallOptions{JSONOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	c.Notify(notification(1))
	time.Sleep(2 * patience)
	_, err = c.Ask(w.ctx, mcp.Request("7", mcp.RootsList, nil))
	wantKind(t, err, fault.Unsupported, "a question to a client without a stream")
	if n := len(client.got()); n != 0 {
		t.Errorf("%d events", n)
	}
	if answer := c.Finish(answerTo(call1)); answer.Message == nil || answer.EventID != "" {
		t.Errorf("answer %+v", answer)
	}
}

// asking has the call ask its client, and gives what came of it.
func asking(ctx context.Context, c *Call, m *mcp.Message) chan any {
	came := make(chan any, 1)
	go func() {
		answer, err := c.Ask(ctx, m)
		if err != nil {
			came <- err
			return
		}
		came <- answer
	}()
	synctest.Wait()
	return came
}

func answerAnywhere(t *testing.T, w *world) {
	a := w.node("a")
	for _, name := range []string{"a", "b", "c"} {
		id := a.begin(alice, mcp.V20250618)
		client := new(wire)
		c := a.call(id, call1, client)
		came := asking(w.ctx, c, mcp.Request(`"up-7"`, mcp.RootsList, nil))
		asked := client.messages()
		if len(asked) != 1 || asked[0].Method() != mcp.RootsList || asked[0].ID() == `"up-7"` {
			t.Fatalf("asked %v", asked)
		}
		w.node(name).deliver(id, mcp.Answer(asked[0].ID(), []byte(`{"roots":[]}`)))
		answer, ok := (<-came).(*mcp.Message)
		if !ok || answer.ID() != `"up-7"` || string(answer.Result()) != `{"roots":[]}` {
			t.Errorf("on %s: answer %v", name, answer)
		}
		w.node(name).deliver(id, mcp.Answer(asked[0].ID(), []byte(`{}`))) // twice: dropped
		c.Finish(answerTo(call1))
		w.node(name).deliver(id, mcp.Answer(asked[0].ID(), []byte(`{}`))) // late: dropped
	}
}

func foreignAnswers(t *testing.T, w *world) {
	a, b := w.node("a"), w.node("b")
	id, other := a.begin(alice, mcp.V20250618), a.begin(alice, mcp.V20250618)
	client := new(wire)
	c := a.call(id, call1, client)
	ctx, stop := context.WithCancel(w.ctx)
	came := asking(ctx, c, mcp.Request("7", mcp.RootsList, nil))
	asked := client.messages()[0].ID()
	event := mcp.TextID(client.lastID())
	b.deliver(other, mcp.Answer(asked, []byte(`{"forged":1}`)))
	for _, forged := range []mcp.ID{"1", `"x"`, `""`, asked[:len(asked)-2] + `"`, event} {
		b.deliver(id, mcp.Answer(forged, []byte(`{"forged":1}`)))
	}
	stop()
	if err, ok := (<-came).(error); !ok || !errors.Is(err, context.Canceled) {
		t.Errorf("somebody else's answer was taken: %v", err)
	}
	c.Finish(answerTo(call1))
}

func progressOnAsk(t *testing.T, w *world) {
	a, b := w.node("a"), w.node("b")
	id := a.begin(alice, mcp.V20250618)
	client := new(wire)
	progress := make(chan *mcp.Message, 1)
	c, err := a.OpenCall(w.ctx, a.get(id, alice), call1, client, CallOptions{Progress: func(m *mcp.Message) { progress <- m }})
	if err != nil {
		t.Fatal(err)
	}
	came := asking(w.ctx, c, mcp.Request("7", mcp.SamplingCreate, []byte(`{"maxTokens":1,"_meta":{"progressToken":42,"x":1}}`)))
	asked := client.messages()[0]
	token := mcp.Field(asked.Params(), "_meta", "progressToken")
	if string(token) != string(asked.ID()) || string(mcp.Field(asked.Params(), "_meta", "x")) != "1" {
		t.Fatalf("asked %s", asked.Bytes())
	}
	b.deliver(id, mcp.Notification(mcp.Progress, fmt.Appendf(nil, `{"progressToken":%s,"progress":0.5}`, token)))
	if m := <-progress; string(m.Params()) != `{"progressToken":42,"progress":0.5}` {
		t.Errorf("progress %s", m.Bytes())
	}
	b.deliver(id, mcp.Notification(mcp.Progress, []byte(`{"progressToken":42,"progress":1}`))) // not ours: dropped
	b.deliver(id, mcp.Answer(asked.ID(), []byte(`{}`)))
	<-came
	c.Finish(answerTo(call1))
}

func cancellation(request string) *mcp.Message {
	return mcp.Notification(mcp.Cancelled, fmt.Appendf(nil, `{"requestId":%s,"reason":"enough"}`, request))
}

func wantCancelled(t *testing.T, c *Call, want bool) {
	t.Helper()
	cause, ok := errors.AsType[*Cancelled](context.Cause(c.Context()))
	if ok != want || ok && cause.Reason != "enough" {
		t.Errorf("the call's context: %v, cancelled should be %v", context.Cause(c.Context()), want)
	}
}

func cancelAnywhere(t *testing.T, w *world) {
	a := w.node("a")
	for _, name := range []string{"a", "b"} {
		id := a.begin(alice, mcp.V20250618)
		c, other := a.call(id, `"x"`, new(wire)), a.call(id, "2", new(wire))
		foreign := a.call(a.begin(alice, mcp.V20250618), `"x"`, new(wire))
		w.node(name).deliver(id, cancellation(`"x"`))
		wantCancelled(t, c, true)
		wantCancelled(t, other, false)
		wantCancelled(t, foreign, false)
		if answer := c.Finish(answerTo(`"x"`)); answer.Message != nil {
			t.Errorf("a cancelled call is answered with %+v", answer)
		}
		other.Finish(answerTo("2"))
		foreign.Finish(answerTo(`"x"`))
	}
}

func cancelOutruns(t *testing.T, w *world) {
	a, b := w.node("a"), w.node("b")
	id := a.begin(alice, mcp.V20250618)
	a.deliver(id, cancellation("5"))
	time.Sleep(cancelMemory - time.Millisecond)
	c := b.call(id, "5", new(wire))
	wantCancelled(t, c, true)
	c.Finish(nil)
	c = b.call(id, "5", new(wire)) // once
	wantCancelled(t, c, false)
	c.Finish(answerTo("5"))
	a.deliver(id, cancellation("6"))
	time.Sleep(cancelMemory)
	c = b.call(id, "6", new(wire))
	wantCancelled(t, c, false)
	c.Finish(answerTo("6"))
}

func cancelAmbiguous(t *testing.T, w *world) {
	a, b := w.node("a"), w.node("b")
	id := a.begin(alice, mcp.V20250618)
	for _, second := range []*testNode{a, b} {
		c, d := a.call(id, "1", new(wire)), second.call(id, "1", new(wire))
		w.node("c").deliver(id, cancellation("1"))
		wantCancelled(t, c, false)
		wantCancelled(t, d, false)
		c.Finish(answerTo("1"))
		d.Finish(answerTo("1"))
		time.Sleep(cancelMemory)
	}
}

func cancelTooLate(t *testing.T, w *world) {
	a, b := w.node("a"), w.node("b")
	id := a.begin(alice, mcp.V20250618)
	a.call(id, "1", new(wire)).Finish(answerTo("1"))
	b.deliver(id, cancellation("1"))
	c := b.call(id, "1", new(wire))
	wantCancelled(t, c, false)
	c.Finish(answerTo("1"))
}

func disconnectIsNoCancel(t *testing.T, w *world) {
	a := w.node("a")
	id := a.begin(alice, mcp.V20250618)
	ctx, hangUp := context.WithCancel(w.ctx)
	client := new(wire)
	c, err := a.OpenCall(ctx, a.get(id, alice), call1, client, CallOptions{})
	if err != nil {
		t.Fatal(err)
	}
	hangUp()
	client.hangUp()
	c.Notify(notification(1))
	if c.Context().Err() != nil {
		t.Errorf("the call ended with the connection: %v", context.Cause(c.Context()))
	}
	// Nobody can come back for a stream that nobody has an id of.
	_, err = c.Ask(w.ctx, mcp.Request("7", mcp.RootsList, nil))
	wantKind(t, err, fault.Unsupported, "a question to nobody")
	c.Finish(answerTo(call1))
}

func callsAreBounded(t *testing.T, w *world) {
	a := w.node("a")
	id := a.begin(alice, mcp.V20250618)
	var calls []*Call
	for range maxCalls {
		calls = append(calls, a.call(id, call1, new(wire)))
	}
	_, err := a.OpenCall(w.ctx, a.get(id, alice), call1, new(wire), CallOptions{})
	wantKind(t, err, fault.Quota, "a call too many")
	for _, c := range calls {
		c.Finish(answerTo(call1))
	}
	a.call(id, call1, new(wire)).Finish(nil)
}

func asksAreBounded(t *testing.T, w *world) {
	a := w.node("a")
	c := a.call(a.begin(alice, mcp.V20250618), call1, new(wire))
	ctx, stop := context.WithCancel(w.ctx)
	for range maxAsks {
		asking(ctx, c, mcp.Request("7", mcp.RootsList, nil))
	}
	_, err := c.Ask(ctx, mcp.Request("7", mcp.RootsList, nil))
	wantKind(t, err, fault.Quota, "a question too many")
	stop()
	synctest.Wait()
	if n := len(c.asks.open); n != 0 {
		t.Errorf("%d questions are open that nobody waits for", n)
	}
	c.Finish(answerTo(call1))
	_, err = c.Ask(w.ctx, mcp.Request("7", mcp.RootsList, nil))
	wantKind(t, err, fault.Conflict, "a question after the answer")
}

// left is a call on a whose client has seen a question, and hung up.
func left(w *world, v mcp.Version) (id string, c *Call, client *wire) {
	a := w.node("a")
	id = a.begin(alice, v)
	client = new(wire)
	c = a.call(id, call1, client)
	asking(w.ctx, c, mcp.Request("7", mcp.RootsList, nil))
	client.hangUp()
	return id, c, client
}

func resumeOn(t *testing.T, w *world, name string) {
	for _, v := range []mcp.Version{mcp.V20250326, mcp.V20251125} {
		n := w.node(name)
		id, c, client := left(w, v)
		c.Notify(notification(1)) // while nobody listens: lost
		again := new(wire)
		ended := make(chan error, 1)
		go func() { ended <- n.Listen(w.ctx, n.get(id, alice), again, ListenOptions{LastEventID: client.lastID()}) }()
		synctest.Wait()
		c.Notify(notification(2))
		came := asking(w.ctx, c, mcp.Request("8", mcp.RootsList, nil))
		answer := c.Finish(answerTo(call1))
		if answer.Message != nil {
			t.Errorf("the old connection gets %+v, too", answer)
		}
		if err := <-ended; err != nil {
			t.Errorf("Listen = %v", err)
		}
		<-came
		got := again.messages()
		if len(got) != 3 || string(got[0].Params()) != string(notification(2).Params()) || got[1].Method() != mcp.RootsList || got[2].ID() != call1 {
			t.Errorf("%s on %s: resumed with %d messages", v, name, len(got))
		}
		// Whoever has seen the answer has seen everything.
		err := n.Listen(w.ctx, n.get(id, alice), new(wire), ListenOptions{LastEventID: again.lastID()})
		wantKind(t, err, fault.MethodNotAllowed, "after the answer")
	}
}

func resumeHere(t *testing.T, w *world)  { resumeOn(t, w, "a") }
func resumeThere(t *testing.T, w *world) { resumeOn(t, w, "b") }

func finishedIsNotResumed(t *testing.T, w *world) {
	a, b := w.node("a"), w.node("b")
	id, c, client := left(w, mcp.V20251125)
	answer := c.Finish(answerTo(call1))
	if answer.EventID == "" {
		t.Fatal("the answer has no event id")
	}
	for _, n := range []*testNode{a, b} {
		got := new(wire)
		if err := n.Listen(w.ctx, n.get(id, alice), got, ListenOptions{LastEventID: client.lastID()}); err != nil {
			t.Errorf("on %s: the answer that was missed: %v", n.name, err)
		}
		if m := got.messages(); len(m) != 1 || m[0].ID() != call1 || got.lastID() != answer.EventID {
			t.Errorf("on %s: %d messages, last id %s", n.name, len(m), got.lastID())
		}
		err := n.Listen(w.ctx, n.get(id, alice), new(wire), ListenOptions{LastEventID: answer.EventID})
		wantKind(t, err, fault.MethodNotAllowed, "the end, on "+n.name)
	}
}

func newerReaderWins(t *testing.T, w *world) {
	b, c3 := w.node("b"), w.node("c")
	id, c, client := left(w, mcp.V20251125)
	first, second := new(wire), new(wire)
	o := ListenOptions{LastEventID: client.lastID()}
	endFirst := b.listen(id, first, o)
	endSecond := c3.listen(id, second, o)
	c.Notify(notification(1))
	c.Finish(answerTo(call1))
	synctest.Wait()
	if err := endFirst(); err != nil {
		t.Errorf("the older reader: %v", err)
	}
	synctest.Wait()
	if len(first.messages()) != 0 || len(second.messages()) != 2 {
		t.Errorf("the older reader got %d messages, the newer %d", len(first.messages()), len(second.messages()))
	}
	_ = endSecond()
}

func largeAnswerCrosses(t *testing.T, w *world) {
	b := w.node("b")
	id, c, client := left(w, mcp.V20251125)
	large := append(append([]byte(`{"text":"`), bytes.Repeat([]byte("0123456789abcdef"), 500_000)...), `"}`...)
	c.Finish(mcp.Answer(call1, large))
	got := new(wire)
	if err := b.Listen(w.ctx, b.get(id, alice), got, ListenOptions{LastEventID: client.lastID()}); err != nil {
		t.Fatal(err)
	}
	if m := got.messages(); len(m) != 1 || !bytes.Equal(m[0].Result(), large) {
		t.Errorf("%d messages", len(m))
	}
}

func foreignEventID(t *testing.T, w *world) {
	a, b := w.node("a"), w.node("b")
	id, c, client := left(w, mcp.V20251125)
	other := a.begin(alice, mcp.V20251125)
	event := client.lastID()
	asked, _ := client.messages()[0].ID().Text()
	for _, n := range []*testNode{a, b} {
		err := n.Listen(w.ctx, n.get(other, alice), new(wire), ListenOptions{LastEventID: event})
		wantKind(t, err, fault.NotFound, "another session's event")
		for _, forged := range []string{"x", "1", event[1:], event + "AAAA", event[:len(event)-1]} {
			err := n.Listen(w.ctx, n.get(id, alice), new(wire), ListenOptions{LastEventID: forged})
			wantKind(t, err, fault.NotFound, "a forged event")
		}
		err = n.Listen(w.ctx, n.get(id, alice), new(wire), ListenOptions{LastEventID: asked})
		wantKind(t, err, fault.MethodNotAllowed, "the id of a question")
	}
	c.Finish(nil)
}

func ringsAreBounded(t *testing.T, w *world) {
	n := w.start("d", func(c *Config) { c.RingBytes = 1 << 20 })
	id := n.begin(alice, mcp.V20251125)
	text := mcp.Answer(call1, append(append([]byte(`{"x":"`), bytes.Repeat([]byte("x"), 300_000)...), `"}`...))
	var ids []string
	for range 5 {
		client := new(wire)
		c := n.call(id, call1, client)
		c.openNow()
		c.Finish(text)
		ids = append(ids, client.lastID())
	}
	if used := n.events.bytes.Load(); used > 1<<20 {
		t.Errorf("rings hold %d bytes", used)
	}
	outcomes := make(map[bool]int)
	for _, event := range ids {
		got := new(wire)
		if err := n.Listen(w.ctx, n.get(id, alice), got, ListenOptions{LastEventID: event}); err != nil {
			t.Fatal(err)
		}
		m := got.messages()
		if len(m) != 1 || m[0].ID() != call1 {
			t.Fatalf("%d messages", len(m))
		}
		outcomes[m[0].Err() == nil]++
	}
	if outcomes[true] != 3 || outcomes[false] != 2 {
		t.Errorf("answers kept: %d, lost with a word: %d", outcomes[true], outcomes[false])
	}
	// One stream: the oldest events go.
	client := new(wire)
	c := n.call(id, "2", client)
	for range maxStreamEvents + 10 {
		c.carry([]byte(`{"jsonrpc":"2.0","method":"x"}`), true)
	}
	if len(c.ring) != maxStreamEvents {
		t.Errorf("a ring of %d events", len(c.ring))
	}
	if _, _, err := c.attach(5); !errors.Is(err, errTorn) {
		t.Errorf("behind an event that is gone: %v", err)
	}
	if _, _, err := c.attach(c.sequence - 10); err != nil {
		t.Errorf("behind an event that is there: %v", err)
	}
	c.Finish(nil)
}

func ringsExpire(t *testing.T, w *world) {
	a := w.node("a")
	id, c, client := left(w, mcp.V20251125)
	c.Finish(answerTo(call1))
	time.Sleep(keepFor + 2*sweepInterval)
	synctest.Wait()
	if used := a.events.bytes.Load(); used != 0 {
		t.Errorf("%d bytes are left", used)
	}
	got := new(wire)
	if err := w.node("b").Listen(w.ctx, a.get(id, alice), got, ListenOptions{LastEventID: client.lastID()}); err != nil {
		t.Fatal(err)
	}
	if m := got.messages(); len(m) != 1 || m[0].ID() != call1 || m[0].Err() == nil {
		t.Errorf("a client that comes too late gets %v", m)
	}
	time.Sleep(hubRest + 2*sweepInterval)
	synctest.Wait()
	if n := len(a.shard(id[:recordIDLen]).hubs); n != 0 {
		t.Errorf("%d hubs are left", n)
	}
}
