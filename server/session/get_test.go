package session

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/mcp"
)

var getStories = []clusterStory{
	{"a session is known on every node and active after its first request", sessionIsEverywhere},
	{"a node that is behind waits for the session", laggingNodeWaits},
	{"404 needs proof, and until then it is 503", notFoundNeedsProof},
	{"a known session needs no leader", knownSessionNeedsNoLeader},
	{"forged ids are not found", forgedIDsAreNotFound},
	{"a foreign session looks like none", foreignSessionIsNotFound},
	{"use lifts idleness, only an administrator lifts an administrator's suspension", suspension},
	{"a change between read and store is not lost", invalidationRace},
	{"a session ends on all nodes", endIsEverywhere},
	{"a node that ends a session does not know it afterwards", endWaitsForItsNode},
	{"those who served a session are told of its end", endingIsTold},
	{"the longest idle session makes room", longestIdleMakesRoom},
	{"sessions are begun at a limited rate", creationIsLimited},
	{"without a leader a session is refused after five seconds", creationNeedsLeader},
	{"subscriptions of two nodes are both kept", subscriptionsAreKept},
	{"memory of sessions is bounded", memoryIsBounded},
}

func sessionIsEverywhere(t *testing.T, w *world) {
	d := draft(alice, mcp.V20250618)
	d.Endpoint, d.Bindings = "demo", []record.Binding{{Alias: "demo", Protocol: "2025-06-18", Session: []byte("secret")}}
	id, err := w.node("a").Create(w.ctx, d)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"b", "c", "a"} {
		l := w.node(name).get(id, alice)
		if l.ID != id || l.Record.Endpoint != "demo" || l.Version() != mcp.V20250618 {
			t.Errorf("on %s the session is %+v", name, l.Record)
		}
		b, err := l.Binding("demo")
		if err != nil || b == nil || string(b.Session) != "secret" {
			t.Errorf("on %s the binding is %+v, %v", name, b, err)
		}
		synctest.Wait()
	}
	l := w.node("a").get(id, alice)
	if l.Record.State != record.Active {
		t.Errorf("the session is %v", l.Record.State)
	}
	if strings.Contains(string(l.Record.Bindings[0].Session), "secret") == (string(l.Record.Bindings[0].Session) == "secret") {
		t.Errorf("the record holds %q", l.Record.Bindings[0].Session)
	}
	moves := 0
	for range 3 {
		w.node("c").get(id, alice)
		synctest.Wait()
	}
	for _, e := range w.log {
		envelope, err := fsm.DecodeEnvelope(e.Data)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := envelope.Proposals[0].Command.(*fsm.ActivateSessions); ok {
			moves++
		}
	}
	if moves != 1 {
		t.Errorf("%d moves to active, want 1", moves)
	}
}

func laggingNodeWaits(t *testing.T, w *world) {
	b := w.node("b")
	w.change(func() { b.held = true })
	id := w.node("a").begin(alice, mcp.V20250618)
	found := make(chan error, 1)
	go func() {
		_, err := b.Get(w.ctx, id, alice)
		found <- err
	}()
	time.Sleep(2 * time.Second)
	w.change(func() { b.held = false })
	if err := <-found; err != nil {
		t.Errorf("a session that came late: %v", err)
	}
}

func notFoundNeedsProof(t *testing.T, w *world) {
	b := w.node("b")
	w.change(func() { b.held = true })
	id := w.node("a").begin(alice, mcp.V20250618)
	began := time.Now()
	_, err := b.Get(w.ctx, id, alice)
	wantKind(t, err, fault.Unavailable, "a session that is not here yet")
	if took := time.Since(began); took != findWait || fault.As(err).RetryAfter == 0 {
		t.Errorf("refused after %v, retry after %v", took, fault.As(err).RetryAfter)
	}
	w.change(func() { b.held = false })
	// Of this timeline: what was applied proves it, leader or not.
	w.change(func() { w.leaderless = true })
	never := formatSessionID(testKeys{}, newRecordID(), timeline, 3)
	_, err = b.Get(w.ctx, never, alice)
	wantKind(t, err, fault.NotFound, "a session that is proven not to be")
	// Of another one: only the leader can tell.
	other := formatSessionID(testKeys{}, newRecordID(), record.Timeline{Number: 9}, 1)
	_, err = b.Get(w.ctx, other, alice)
	wantKind(t, err, fault.Unavailable, "a session of another timeline, leaderless")
	w.change(func() { w.leaderless = false })
	_, err = b.Get(w.ctx, other, alice)
	wantKind(t, err, fault.NotFound, "a session of another timeline")
}

func knownSessionNeedsNoLeader(t *testing.T, w *world) {
	id := w.node("a").begin(alice, mcp.V20250618)
	w.change(func() { w.leaderless = true })
	began := time.Now()
	for _, name := range []string{"a", "b", "c"} {
		w.node(name).get(id, alice)
	}
	w.change(func() { w.node0("c").isolated = true })
	w.node("c").get(id, alice)
	if took := time.Since(began); took != 0 {
		t.Errorf("known sessions took %v", took)
	}
	w.change(func() { w.leaderless = false })
	synctest.Wait()
	if l := w.node("a").get(id, alice); l.Record.State != record.Active {
		t.Errorf("the session is %v once there is a leader", l.Record.State)
	}
}

// node0 is node with mu held.
func (w *world) node0(name string) *testNode {
	for _, n := range w.nodes {
		if n.name == name {
			return n
		}
	}
	return nil
}

func forgedIDsAreNotFound(t *testing.T, w *world) {
	a := w.node("a")
	id := a.begin(alice, mcp.V20250618)
	l := a.get(id, alice)
	ref, _ := parseSessionID(id)
	ref.head[len(ref.head)-1] ^= 1
	forged := ref.record + ids64.EncodeToString(append(append([]byte(nil), ref.head...), ref.mac...))
	// A record id that somebody has seen is no session id.
	for _, bad := range []string{"", "x", l.Record.ID, l.Record.ID + "AAAA", id[:len(id)-1], id + "A", strings.ToLower(id), forged, strings.Repeat("A", 10_000)} {
		for range 2 {
			_, err := a.Get(w.ctx, bad, alice)
			wantKind(t, err, fault.NotFound, fmt.Sprintf("id %.80q", bad))
		}
	}
	w.change(func() { w.leaderless = true })
	_, err := a.Get(w.ctx, forged, alice)
	wantKind(t, err, fault.Unavailable, "an id whose key may still come")
	_, err = a.Get(w.ctx, "garbage", alice)
	wantKind(t, err, fault.NotFound, "garbage needs no leader")
}

func foreignSessionIsNotFound(t *testing.T, w *world) {
	id := w.node("a").begin(alice, mcp.V20250618)
	_, foreign := w.node("b").Get(w.ctx, id, bob)
	never := formatSessionID(testKeys{}, newRecordID(), timeline, 3)
	_, missing := w.node("b").Get(w.ctx, never, bob)
	wantKind(t, foreign, fault.NotFound, "a foreign session")
	if foreign.Error() != missing.Error() || fault.As(foreign).Hint != fault.As(missing).Hint {
		t.Errorf("a foreign session is told from a missing one: %v, %v", foreign, missing)
	}
	_, err := w.node("b").Get(w.ctx, id, record.Principal{Issuer: alice.Subject, Subject: alice.Issuer})
	wantKind(t, err, fault.NotFound, "another issuer")
}

func suspension(t *testing.T, w *world) {
	a, b := w.node("a"), w.node("b")
	id := a.begin(alice, mcp.V20250618)
	l := a.get(id, alice)
	synctest.Wait()
	w.append(alice, &fsm.MoveSession{ID: l.Record.ID, To: record.Suspended, Reason: "idle"})
	b.get(id, alice)
	synctest.Wait()
	if l := a.get(id, alice); l.Record.State != record.Active {
		t.Errorf("the session is %v after use", l.Record.State)
	}
	w.append(alice, &fsm.MoveSession{ID: l.Record.ID, To: record.Suspended, ByAdmin: true})
	for range 2 {
		_, err := b.Get(w.ctx, id, alice)
		wantKind(t, err, fault.Forbidden, "a session that an administrator suspended")
		synctest.Wait()
	}
	_, err := b.Get(w.ctx, id, bob)
	wantKind(t, err, fault.NotFound, "the same, for somebody else")
	w.append(alice, &fsm.MoveSession{ID: l.Record.ID, To: record.Active, ByAdmin: true})
	b.get(id, alice)
}

func invalidationRace(t *testing.T, w *world) {
	a := w.node("a")
	id := a.begin(alice, mcp.V20250618)
	record0 := id[:recordIDLen]
	a.get(id, alice)
	synctest.Wait()
	sh := a.shard(record0)
	sh.mu.Lock()
	delete(sh.live, record0)
	sh.mu.Unlock()
	w.change(func() {
		a.onRead = func() { w.append(alice, &fsm.MoveSession{ID: record0, To: record.Suspended, ByAdmin: true}) }
	})
	_, _ = a.Get(w.ctx, id, alice) // may be answered by either state
	_, err := a.Get(w.ctx, id, alice)
	wantKind(t, err, fault.Forbidden, "the request after the change")
}

func endIsEverywhere(t *testing.T, w *world) {
	a, b, c := w.node("a"), w.node("b"), w.node("c")
	id := a.begin(alice, mcp.V20251125)
	listening := new(wire)
	ended := b.listen(id, listening, ListenOptions{})
	call := c.call(id, "1", new(wire))
	letGo := 0
	err := a.End(w.ctx, a.get(id, alice), func(context.Context) error { letGo++; return nil })
	if err != nil || letGo != 1 {
		t.Fatalf("End = %v, let go %d times", err, letGo)
	}
	synctest.Wait()
	if err := context.Cause(call.Context()); fault.Of(err) != fault.NotFound {
		t.Errorf("a call of the session ended with %v", err)
	}
	call.Finish(nil)
	wantKind(t, ended(), fault.NotFound, "a GET stream of the session")
	for _, n := range []*testNode{a, b, c} {
		_, err := n.Get(w.ctx, id, alice)
		wantKind(t, err, fault.NotFound, "the session on "+n.name)
	}
	wantKind(t, a.End(w.ctx, &Live{ID: id, Record: call.live.Record}, nil), 0, "ending it again")
}

// A follower hears of the end from the leader before it has applied it itself.
func endWaitsForItsNode(t *testing.T, w *world) {
	a := w.node("a")
	id := a.begin(alice, mcp.V20250618)
	l := a.get(id, alice)
	synctest.Wait()
	w.change(func() { a.held = true })
	ended := make(chan error, 1)
	go func() { ended <- a.End(w.ctx, l, nil) }()
	time.Sleep(time.Second)
	if len(ended) > 0 {
		t.Error("the end is acknowledged by a node that still knows the session")
	}
	w.change(func() { a.held = false })
	if err := <-ended; err != nil {
		t.Errorf("End = %v", err)
	}
	_, err := a.Get(w.ctx, id, alice)
	wantKind(t, err, fault.NotFound, "the request after the end")
}

func endingIsTold(t *testing.T, w *world) {
	var mu sync.Mutex
	told := make(map[string][]string)
	for _, name := range []string{"a", "b", "c"} {
		w.die(w.node(name))
		w.start(name, func(c *Config) {
			c.Ended = func(r *record.Session) {
				mu.Lock()
				defer mu.Unlock()
				told[name] = append(told[name], r.ID)
			}
		})
	}
	a, b := w.node("a"), w.node("b")
	id := a.begin(alice, mcp.V20251125)
	r := a.get(id, alice).Record
	if r.OwnerNode != "a" {
		t.Errorf("the session was begun at %q, want a", r.OwnerNode)
	}
	b.get(id, alice)
	synctest.Wait()
	w.append(alice, &fsm.MoveSession{ID: r.ID, To: record.Dead, Reason: "abuse"})
	synctest.Wait()
	if want := map[string][]string{"a": {r.ID}, "b": {r.ID}}; !maps.EqualFunc(told, want, slices.Equal) {
		t.Errorf("told %v, want %v", told, want)
	}
}

func longestIdleMakesRoom(t *testing.T, w *world) {
	settings := record.DefaultSessionSettings()
	settings.MaxPerPrincipal = 6
	w.append(alice, &fsm.PutSessionSettings{Settings: settings})
	a := w.node("a")
	var ids []string
	for range 6 {
		ids = append(ids, a.begin(alice, mcp.V20250618))
		time.Sleep(time.Second)
	}
	others := a.begin(bob, mcp.V20250618)
	a.get(ids[0], alice) // used, though not in the log
	ids = append(ids, a.begin(alice, mcp.V20250618), a.begin(alice, mcp.V20250618))
	synctest.Wait()
	for i, id := range ids {
		_, err := a.Get(w.ctx, id, alice)
		want := fault.Kind(0)
		if i == 1 || i == 2 {
			want = fault.NotFound
		}
		wantKind(t, err, want, fmt.Sprintf("session %d", i))
	}
	a.get(others, bob)
}

func creationIsLimited(t *testing.T, w *world) {
	n := w.start("d", func(c *Config) { c.CreateRate, c.CreateBurst = 1, 2 })
	n.begin(alice, mcp.V20250618)
	n.begin(alice, mcp.V20250618)
	_, err := n.Create(w.ctx, draft(alice, mcp.V20250618))
	wantKind(t, err, fault.Quota, "the third session in a second")
	if after := fault.As(err).RetryAfter; after <= 0 || after > time.Second {
		t.Errorf("retry after %v", after)
	}
	n.begin(bob, mcp.V20250618)
	time.Sleep(time.Second)
	n.begin(alice, mcp.V20250618)
	time.Sleep(10 * time.Second)
	synctest.Wait()
	if left := len(n.starts.buckets); left != 0 {
		t.Errorf("%d principals are remembered who did nothing", left)
	}
}

func creationNeedsLeader(t *testing.T, w *world) {
	w.change(func() { w.leaderless = true })
	began := time.Now()
	_, err := w.node("a").Create(w.ctx, draft(alice, mcp.V20250618))
	wantKind(t, err, fault.NoLeader, "a session without a leader")
	if took := time.Since(began); took != createWait {
		t.Errorf("refused after %v", took)
	}
	made := make(chan error, 1)
	go func() {
		_, err := w.node("a").Create(w.ctx, draft(alice, mcp.V20250618))
		made <- err
	}()
	time.Sleep(4 * time.Second)
	w.change(func() { w.leaderless = false })
	if err := <-made; err != nil {
		t.Errorf("a leader after 4 s: %v", err)
	}
}

func subscriptionsAreKept(t *testing.T, w *world) {
	a, b := w.node("a"), w.node("b")
	id := a.begin(alice, mcp.V20250618)
	la, lb := a.get(id, alice), b.get(id, alice)
	if err := a.Bind(w.ctx, la, record.Binding{Alias: "demo", Protocol: "2025-06-18", Session: []byte("s1")}); err != nil {
		t.Fatal(err)
	}
	for i := range 5 { // each from a view of the session that is older than the others' changes
		n, l := a, la
		if i%2 == 1 {
			n, l = b, lb
		}
		if err := n.Subscribe(w.ctx, l, "demo", fmt.Sprintf("test://%d", i), record.EventUpdate); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Unsubscribe(w.ctx, lb, "demo", "test://0", record.AllEvents); err != nil {
		t.Fatal(err)
	}
	binding, err := a.get(id, alice).Binding("demo")
	if err != nil || len(binding.Subscriptions) != 4 || string(binding.Session) != "s1" {
		t.Errorf("binding = %+v, %v", binding, err)
	}
	if err := a.SetLogLevel(w.ctx, la, "warning"); err != nil {
		t.Fatal(err)
	}
	if level := a.get(id, alice).Record.LogLevel; level != "warning" {
		t.Errorf("log level %q", level)
	}
	if err := a.Unbind(w.ctx, la, "demo"); err != nil {
		t.Fatal(err)
	}
	if binding, err := a.get(id, alice).Binding("demo"); binding != nil || err != nil {
		t.Errorf("binding after Unbind = %+v, %v", binding, err)
	}
}

func memoryIsBounded(t *testing.T, w *world) {
	synctest.Wait()
	sh := &w.node("a").shards[0]
	for i := range maxKnown/shardCount + 100 {
		sh.keep(&Live{Record: record.Session{ID: fmt.Sprint(i)}}, sh.generation)
	}
	if n := len(sh.live); n != maxKnown/shardCount {
		t.Errorf("%d sessions in a shard", n)
	}
}
