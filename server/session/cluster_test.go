package session

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/sse"
	"github.com/mcpraft/mcpraft/raftnode"
	"github.com/mcpraft/mcpraft/raftnode/peer"
	"github.com/mcpraft/mcpraft/server/exchange"
	"github.com/mcpraft/mcpraft/server/mcp"
)

// A world is a cluster without Raft: one log that every node applies, and calls
// between nodes that are functions. It is made inside a bubble.
type world struct {
	t   *testing.T
	ctx context.Context

	mu         sync.Mutex
	log        []fsm.Entry
	truth      *fsm.Machine // applies everything at once, for the outcomes
	nodes      []*testNode
	leaderless bool
	moved      chan struct{} // closed when anything above has changed
}

// A testNode is one of its nodes.
type testNode struct {
	*Sessions
	w        *world
	name     string
	machine  *fsm.Machine
	handlers map[uint16]peer.Handler
	watchers []func([]fsm.Change)
	ctx      context.Context // ends when it is killed
	kill     context.CancelFunc
	ended    chan struct{} // Run has returned

	// world.mu guards these.
	held     bool   // applies nothing
	applied  int    // entries
	isolated bool   // from all others
	onRead   func() // between a view and its use, once
}

var timeline = record.Timeline{Number: 1, Salt: 0xabcd}

func newWorld(t *testing.T, ctx context.Context, nodes ...string) *world {
	w := &world{t: t, ctx: ctx, moved: make(chan struct{})}
	w.truth = w.open("truth", nil)
	actor := record.Principal{Issuer: "node", Subject: "truth"}
	w.append(actor, &fsm.EpochStart{Node: "truth", Process: record.ID{1}, Supports: fsm.MaxVersion})
	w.append(actor, &fsm.InitCluster{ID: record.ID{2}, Name: "test", Timeline: timeline})
	for _, name := range nodes {
		w.start(name)
	}
	synctest.Wait()
	return w
}

func (w *world) open(dir string, changed func([]fsm.Change)) *fsm.Machine {
	m, err := fsm.Open(dir, fsm.Options{FS: vfs.NewMem(), Fatal: func(err error) { w.t.Error(err) }, Changed: changed})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := m.Close(); err != nil {
			w.t.Error(err)
		}
	})
	return m
}

// start starts a node, or a new process of one that was killed.
func (w *world) start(name string, options ...func(*Config)) *testNode {
	n := &testNode{w: w, name: name, handlers: make(map[uint16]peer.Handler), ended: make(chan struct{})}
	n.machine = w.open(name, func(changes []fsm.Change) {
		for _, watch := range n.watchers {
			watch(changes)
		}
	})
	n.ctx, n.kill = context.WithCancel(w.ctx)
	actor := record.Principal{Issuer: "node", Subject: name}
	c := Config{
		Node: n, Self: name, Actor: actor, Keys: testKeys{}, Sealer: testKeys{},
		Activity: NewActivity(ActivityConfig{Proposer: n, Actor: actor}),
	}
	for _, o := range options {
		o(&c)
	}
	n.Sessions = New(c)
	w.mu.Lock()
	w.nodes = slices.DeleteFunc(w.nodes, func(old *testNode) bool { return old.name == name })
	w.nodes = append(w.nodes, n)
	w.catchUp(n)
	w.mu.Unlock()
	go func() {
		defer close(n.ended)
		if err := n.Run(n.ctx); err != nil {
			w.t.Error(err)
		}
	}()
	return n
}

func (w *world) node(name string) *testNode {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range w.nodes {
		if n.name == name {
			return n
		}
	}
	w.t.Fatalf("no node %s", name)
	return nil
}

// change changes the world's condition and wakes whoever waits for it.
func (w *world) change(how func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	how()
	for _, n := range w.nodes {
		w.catchUp(n)
	}
	close(w.moved)
	w.moved = make(chan struct{})
}

// die kills a node as kill -9 does: whatever it was doing ends without a word.
func (w *world) die(n *testNode) {
	w.change(func() { n.kill() })
	<-n.ended
}

// append appends one command. mu is not held.
func (w *world) append(actor record.Principal, command fsm.Command) (fsm.Outcome, int) {
	encoded, err := fsm.EncodeProposal(&fsm.Proposal{Actor: actor, Command: command})
	if err != nil {
		return fsm.Outcome{Kind: fault.Of(err), Message: err.Error()}, 0
	}
	data, err := fsm.AppendEnvelope(record.LogTimeAt(time.Now()), [][]byte{encoded})
	if err != nil {
		w.t.Error(err)
	}
	var outcome fsm.Outcome
	var index int
	w.change(func() {
		e := fsm.Entry{Index: uint64(len(w.log) + 1), Term: 1, Data: data}
		w.log = append(w.log, e)
		index = len(w.log)
		results, err := w.truth.Apply([]fsm.Entry{e})
		if err != nil {
			w.t.Error(err)
			return
		}
		outcome = results[0][0]
	})
	return outcome, index
}

// catchUp has n apply what it has not. mu is held.
func (w *world) catchUp(n *testNode) {
	if n.held || n.isolated || n.ctx.Err() != nil || n.applied == len(w.log) {
		return
	}
	if _, err := n.machine.Apply(w.log[n.applied:]); err != nil {
		w.t.Error(err)
	}
	n.applied = len(w.log)
}

// await waits until ok, asked under mu, or ctx ends.
func (w *world) await(ctx context.Context, ok func() bool) error {
	for {
		w.mu.Lock()
		done, moved := ok(), w.moved
		w.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (n *testNode) led() bool { return !n.w.leaderless && !n.isolated && n.ctx.Err() == nil }

func (n *testNode) Propose(ctx context.Context, r raftnode.Request) (raftnode.Receipt, error) {
	if n.ctx.Err() != nil || n.w.await(ctx, n.led) != nil {
		return raftnode.Receipt{}, fault.New(fault.NoLeader, "no leader")
	}
	outcome, index := n.w.append(r.Actor, r.Command)
	return raftnode.Receipt{Outcome: outcome, Index: uint64(index), Timeline: timeline}, nil
}

func (n *testNode) Read(ctx context.Context, o raftnode.ReadOptions) (*fsm.View, raftnode.ReadInfo, error) {
	index := int(o.MinIndex)
	if o.Mode == raftnode.Linearizable {
		if n.w.await(ctx, n.led) != nil {
			return nil, raftnode.ReadInfo{}, fault.New(fault.NoLeader, "no leader")
		}
		n.w.mu.Lock()
		index = len(n.w.log)
		n.w.mu.Unlock()
	}
	if n.w.await(ctx, func() bool { return n.applied >= index }) != nil {
		return nil, raftnode.ReadInfo{}, fault.New(fault.Stale, "not there yet")
	}
	view, err := n.machine.View()
	if err != nil {
		return nil, raftnode.ReadInfo{}, err
	}
	n.w.mu.Lock()
	hook := n.onRead
	n.onRead = nil
	n.w.mu.Unlock()
	if hook != nil {
		hook()
	}
	return view, raftnode.ReadInfo{}, nil
}

func (n *testNode) Timeline() record.Timeline        { return timeline }
func (n *testNode) Meta() fsm.Meta                   { return n.machine.Meta() }
func (n *testNode) Watch(watch func([]fsm.Change))   { n.watchers = append(n.watchers, watch) }
func (n *testNode) Handle(op uint16, h peer.Handler) { n.handlers[op] = h }

func (n *testNode) Status() raftnode.Status {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	var s raftnode.Status
	for _, other := range n.w.nodes {
		s.Voters = append(s.Voters, other.name)
	}
	return s
}

func (n *testNode) Call(ctx context.Context, node string, op uint16, body []byte) ([]byte, error) {
	other := n.w.node(node)
	n.w.mu.Lock()
	cut := n.isolated || other.isolated || other.ctx.Err() != nil || n.ctx.Err() != nil
	n.w.mu.Unlock()
	if cut {
		return nil, fault.New(fault.Unreachable, "no connection to %s", node)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	died := errors.New("died")
	for _, end := range []*testNode{n, other} {
		defer context.AfterFunc(end.ctx, func() { cancel(died) })()
	}
	answer, err := other.handlers[op](ctx, peer.From{Node: n.name}, body)
	switch {
	case errors.Is(context.Cause(ctx), died):
		return nil, fault.New(fault.OutcomeUnknown, "connection lost")
	case ctx.Err() != nil:
		return nil, fault.New(fault.Timeout, "late")
	case len(body) > 4<<20 || len(answer) > 4<<20:
		return nil, fault.New(fault.TooLarge, "a frame has at most 4 MiB")
	}
	return answer, err
}

// testKeys are keys that anybody could make.
type testKeys struct{}

func (testKeys) MAC(purpose string, parts ...[]byte) []byte {
	h := hmac.New(sha256.New, []byte(purpose))
	for _, p := range parts {
		h.Write([]byte{byte(len(p) >> 8), byte(len(p))})
		h.Write(p)
	}
	return h.Sum(nil)[:16]
}

func (k testKeys) Verify(purpose string, mac []byte, parts ...[]byte) bool {
	return hmac.Equal(mac, k.MAC(purpose, parts...))
}

func (testKeys) Seal(purpose string, aad, plain []byte) ([]byte, error) {
	return append([]byte(purpose+"|"+string(aad)+"|"), plain...), nil
}

func (testKeys) Open(purpose string, aad, sealed []byte) ([]byte, error) {
	plain, ok := strings.CutPrefix(string(sealed), purpose+"|"+string(aad)+"|")
	if !ok {
		return nil, errors.New("not sealed for this")
	}
	return []byte(plain), nil
}

// A wire is a client's end of one HTTP exchange.
type wire struct {
	mu     sync.Mutex
	events []sse.Event
	broken bool
}

func (w *wire) Send(e sse.Event) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken {
		return errors.New("client is gone")
	}
	e.Data = slices.Clone(e.Data)
	w.events = append(w.events, e)
	return nil
}

func (w *wire) hangUp() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken = true
}

// got is what came when there is nothing more to come at once.
func (w *wire) got() []sse.Event {
	synctest.Wait()
	return w.seen()
}

func (w *wire) seen() []sse.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.events)
}

// lastID is the newest event id that the client has.
func (w *wire) lastID() (id string) {
	for _, e := range w.seen() {
		if e.HasID {
			id = e.ID
		}
	}
	return id
}

// firstID is the oldest event id that the client has.
func (w *wire) firstID() string {
	for _, e := range w.seen() {
		if e.HasID {
			return e.ID
		}
	}
	return ""
}

// messages are the JSON-RPC messages that came.
func (w *wire) messages() (list []*mcp.Message) {
	for _, e := range w.got() {
		if len(e.Data) == 0 {
			continue
		}
		if m, err := mcp.Parse(e.Data, mcp.FromUpstream); err == nil {
			list = append(list, m)
		}
	}
	return list
}

var (
	alice = record.Principal{Issuer: "idp", Subject: "alice"}
	bob   = record.Principal{Issuer: "idp", Subject: "bob"}
)

func draft(p record.Principal, v mcp.Version) *Draft {
	return &Draft{Caller: exchange.Caller{Principal: p, Method: "jwt"}, Protocol: v, Transport: "streamable-http"}
}

// begin opens a session at n.
func (n *testNode) begin(p record.Principal, v mcp.Version) string {
	n.w.t.Helper()
	id, err := n.Create(n.ctx, draft(p, v))
	if err != nil {
		n.w.t.Fatal(err)
	}
	return id
}

func (n *testNode) get(id string, p record.Principal) *Live {
	n.w.t.Helper()
	l, err := n.Get(n.ctx, id, p)
	if err != nil {
		n.w.t.Fatal(err)
	}
	return l
}

// call opens a call of the session.
func (n *testNode) call(id string, request string, w *wire) *Call {
	n.w.t.Helper()
	c, err := n.OpenCall(n.ctx, n.get(id, alice), mcp.ID(request), w, CallOptions{})
	if err != nil {
		n.w.t.Fatal(err)
	}
	return c
}

// listen opens a GET stream; the returned function ends it and gives its error.
func (n *testNode) listen(id string, w *wire, o ListenOptions) (end func() error) {
	n.w.t.Helper()
	live := n.get(id, alice)
	ctx, cancel := context.WithCancel(n.ctx)
	done := make(chan error, 1)
	go func() { done <- n.Listen(ctx, live, w, o) }()
	synctest.Wait()
	return func() error {
		cancel()
		return <-done
	}
}

// deliver hands a message of the client in at n.
func (n *testNode) deliver(id string, m *mcp.Message) {
	n.w.t.Helper()
	handled, err := n.Deliver(n.ctx, n.get(id, alice), m)
	if err != nil || !handled {
		n.w.t.Errorf("Deliver(%s) = %v, %v", m.Bytes(), handled, err)
	}
	synctest.Wait()
}

func wantKind(t *testing.T, err error, kind fault.Kind, what string) {
	t.Helper()
	if fault.Of(err) != kind {
		t.Errorf("%s: error %v (%v), want %v", what, err, fault.Of(err), kind)
	}
}

func answerTo(id mcp.ID) *mcp.Message { return mcp.Answer(id, []byte(`{"ok":true}`)) }
