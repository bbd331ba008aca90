package peer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/test/model/memnet"
)

// id is a recognisable record.ID.
func id(b byte) record.ID { return record.ID{b, 15: b} }

var (
	testCluster  = id(0xc1)
	testTimeline = record.Timeline{Number: 1, Salt: 0x5f3a90c1}
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// A world is where nodes of a test live: a network, a CA and who is where.
type world struct {
	t     testing.TB
	ca    *CA
	other *CA             // of cluster "other"
	mem   *memnet.Network // nil: TCP on loopback

	mu    sync.Mutex
	where map[string]place
}

type place struct {
	addr string
	disk record.ID
}

func newWorld(t testing.TB) *world {
	return &world{t: t, ca: must(MakeCA("test")), other: must(MakeCA("other")), mem: memnet.New(), where: make(map[string]place)}
}

func (w *world) resolve(node string) (string, record.ID, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at, ok := w.where[node]
	return at.addr, at.disk, ok
}

func (w *world) place(node, addr string, disk record.ID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.where[node] = place{addr, disk}
}

// A testNode is a Port that runs.
type testNode struct {
	*Port
	world *world
	host  string
	addr  string
	id    atomic.Pointer[Identity]
	stop  func() // ends Run and waits for it
	dead  bool   // killed
}

// setup is what differs from an ordinary node n of the cluster.
type setup struct {
	identity    func(*Identity)
	issuer      *CA                // nil: of the world
	validity    time.Duration      // 0: CertValidity
	trusts      []byte             // nil: the CA of the world
	limits      Limits             // zero: defaults
	credentials *Credentials       // nil: issued
	host        string             // "": the name of the node
	hidden      bool               // nobody is told its address
	claims      func(id *Identity) // changes the identity after New has checked it
}

func (w *world) start(node string, s setup) *testNode {
	w.t.Helper()
	number := node[len(node)-1]
	own := Identity{Cluster: "test", ClusterID: testCluster, Timeline: testTimeline, Node: node, Disk: id(0xd0 + number&15), Process: id(0xa0 + number&15)}
	if s.identity != nil {
		s.identity(&own)
	}
	issuer, trusts, host := s.issuer, s.trusts, s.host
	if issuer == nil {
		issuer = w.ca
	}
	if trusts == nil {
		trusts = w.ca.Pair().Cert
	}
	if host == "" {
		host = node
	}
	n := &testNode{world: w, host: host}
	n.id.Store(&own)
	ln, dial := w.network(host)
	n.addr = ln.Addr().String()
	credentials := s.credentials
	if credentials == nil {
		credentials = must(NewCredentials(must(issuer.Issue(own.Node, nil, s.validity)), trusts))
	}
	port, err := New(Config{
		Identity:    func() Identity { return *n.id.Load() },
		Credentials: credentials,
		Listener:    ln,
		Dial:        dial,
		Resolve:     w.resolve,
		Logger:      slog.New(slog.NewTextHandler(w.t.Output(), nil)).With("node", host),
		Limits:      s.limits,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	n.Port = port
	if s.claims != nil {
		n.become(s.claims)
	}
	if !s.hidden {
		w.place(own.Node, n.addr, own.Disk)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- port.Run(ctx) }()
	n.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil && !n.dead {
			w.t.Errorf("Run of %s: %v", node, err)
		}
	})
	w.t.Cleanup(n.stop)
	return n
}

func (w *world) network(host string) (net.Listener, func(context.Context, string) (net.Conn, error)) {
	if w.mem == nil {
		return must(net.Listen("tcp", "127.0.0.1:0")), nil
	}
	h := w.mem.Host(host)
	return must(h.Listen(":7442")), h.Dial
}

// become changes the identity of a node that runs.
func (n *testNode) become(change func(*Identity)) {
	own := *n.id.Load()
	change(&own)
	n.id.Store(&own)
}

func (n *testNode) raftDial(node string) error {
	_, disk, _ := n.world.resolve(node)
	nc, err := n.RaftLayer().Dial(raftAddress(node, disk), 0)
	if err == nil {
		nc.Close()
	}
	return err
}

const (
	opEcho uint16 = 1 + iota
	opFail
	opWait
	opFirst
	opPanic
)

// echo registers operations that tests call.
func (n *testNode) echo() *testNode {
	n.Handle(opEcho, func(_ context.Context, from From, body []byte) ([]byte, error) {
		return append([]byte(from.Node+": "), body...), nil
	})
	n.Handle(opWait, func(ctx context.Context, _ From, _ []byte) ([]byte, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	n.Handle(opFirst, func(_ context.Context, from From, _ []byte) ([]byte, error) {
		return []byte(from.ClusterID.String()), nil
	}, BeforeMembership())
	n.Handle(opPanic, func(context.Context, From, []byte) ([]byte, error) { panic("broken handler") })
	return n
}

// bubble runs f in a synctest bubble, which fails if a goroutine is left.
func bubble(t *testing.T, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(newWorld(t)) })
}

func wantAnswer(t testing.TB, got []byte, err error, want string) {
	t.Helper()
	if string(got) != want || err != nil {
		t.Errorf("answer %q, %v; want %q", got, err, want)
	}
}

// wantRefusal checks kind Unreachable, the reason, and words of the message or hint.
func wantRefusal(t testing.TB, err error, reason Reason, words string) {
	t.Helper()
	e := fault.As(err)
	if e == nil || e.Kind != fault.Unreachable || ReasonOf(err) != reason {
		t.Errorf("error %v (kind %v, reason %q), want unreachable for reason %q", err, fault.Of(err), ReasonOf(err), reason)
		return
	}
	if text := e.Error() + " | " + e.Hint; !strings.Contains(text, words) {
		t.Errorf("error says %q, want it to contain %q", text, words)
	}
}

func wantKind(t testing.TB, err error, kind fault.Kind, words string) {
	t.Helper()
	if fault.Of(err) != kind || !strings.Contains(err.Error(), words) {
		t.Errorf("error %v of kind %v, want %v with %q", err, fault.Of(err), kind, words)
	}
}

func wantRefused(t testing.TB, n *testNode, reason Reason) {
	t.Helper()
	if got := testutil.ToFloat64(n.o.Metrics.refused.WithLabelValues(string(reason))); got == 0 {
		t.Errorf("%s did not count a refusal for reason %q", n.host, reason)
	}
}

func TestNodesCallEachOtherOverTCPAndMemory(t *testing.T) {
	check := func(w *world) {
		n1, n2 := w.start("n1", setup{}).echo(), w.start("n2", setup{}).echo()
		ctx := w.t.Context()
		answer, err := n1.Call(ctx, "n2", opEcho, []byte("hello"))
		wantAnswer(w.t, answer, err, "n1: hello")
		answer, err = n2.Call(ctx, "n1", opEcho, []byte("and back"))
		wantAnswer(w.t, answer, err, "n2: and back")
		answer, err = n1.CallAddr(ctx, n2.addr, opEcho, []byte("by address"))
		wantAnswer(w.t, answer, err, "n1: by address")
		answer, err = n1.CallAddr(ctx, n1.addr, opEcho, []byte("myself"))
		wantAnswer(w.t, answer, err, "n1: myself")
		n2.stop()
		n1.stop()
	}
	t.Run("memory", func(t *testing.T) { bubble(t, check) })
	t.Run("tcp", func(t *testing.T) {
		w := newWorld(t)
		w.mem = nil
		check(w)
	})
}

func TestRefusals(t *testing.T) {
	both := func(w *world) []byte { return slices.Concat(w.ca.Pair().Cert, w.other.Pair().Cert) }
	call := func(n1, n2 *testNode) error {
		_, err := n1.Call(n1.world.t.Context(), "n2", opEcho, nil)
		return err
	}
	raft := func(n1, n2 *testNode) error { return n1.raftDial("n2") }
	for _, c := range []struct {
		name    string
		n1, n2  func(w *world) setup
		arrange func(n1, n2 *testNode)
		act     func(n1, n2 *testNode) error
		reason  Reason
		words   string
		dialler bool // n1 refuses n2, not the reverse
		noLayer bool
	}{
		{
			name:   "timeline",
			n1:     func(*world) setup { return setup{identity: func(i *Identity) { i.Timeline.Number = 2 }} },
			act:    call,
			reason: ReasonTimeline, words: "this is cluster test, timeline 1-5f3a90c1; you say 2-5f3a90c1",
		},
		{
			name:   "cluster id",
			n1:     func(*world) setup { return setup{identity: func(i *Identity) { i.ClusterID = id(0xee) }} },
			act:    call,
			reason: ReasonClusterID, words: "this is cluster test with id c1000000; you say ee000000: two clusters have one name",
		},
		{
			name: "cluster name in the certificate",
			n1: func(w *world) setup {
				return setup{identity: func(i *Identity) { i.Cluster = "other" }, issuer: w.other, trusts: both(w)}
			},
			n2:     func(w *world) setup { return setup{trusts: both(w)} },
			act:    call,
			reason: ReasonCluster, words: "certificate is of node n2 of cluster test, this is cluster other", dialler: true,
		},
		{
			name: "cluster name in the hello",
			act: func(n1, n2 *testNode) error {
				return rawHello(n1, n2, protocolCalls, func(h *hello) { h.From.Cluster = "other" })
			},
			reason: ReasonCluster, words: "this is cluster test; you say other",
		},
		{
			name:   "wrong CA at the acceptor",
			n1:     func(w *world) setup { return setup{issuer: must(MakeCA("test")), trusts: nil} },
			act:    call,
			reason: ReasonCertUntrusted, words: `certificate "n1" is not signed by a CA that this node trusts`,
		},
		{
			name:   "wrong CA at the dialler",
			n2:     func(w *world) setup { return setup{issuer: must(MakeCA("test"))} },
			act:    call,
			reason: ReasonCertUntrusted, words: `certificate "n2" is not signed by a CA that this node trusts`, dialler: true,
		},
		{
			name:   "expired certificate of the dialler",
			n1:     func(*world) setup { return setup{validity: time.Hour} },
			act:    func(n1, n2 *testNode) error { time.Sleep(2 * time.Hour); return call(n1, n2) },
			reason: ReasonCertExpired, words: "certificate of n1 expired on 2000-01-01 | issue a new one with `mcpraft cluster cert issue n1`",
		},
		{
			name:   "expired certificate of the acceptor",
			n2:     func(*world) setup { return setup{validity: time.Hour} },
			act:    func(n1, n2 *testNode) error { time.Sleep(2 * time.Hour); return call(n1, n2) },
			reason: ReasonCertExpired, words: "certificate of n2 expired on 2000-01-01 | issue a new one with `mcpraft cluster cert issue n2`",
			dialler: true,
		},
		{
			name: "another node at the address",
			arrange: func(n1, n2 *testNode) {
				n3 := n1.world.start("n3", setup{})
				n1.world.place("n2", n3.addr, n2.id.Load().Disk)
			},
			act:    call,
			reason: ReasonCertName, words: "node n2 (n3:7442) cannot be reached: certificate is of node n3, node n2 was meant", dialler: true,
		},
		{
			name:   "hello of another node",
			n1:     func(*world) setup { return setup{claims: func(i *Identity) { i.Node = "n3" }} },
			act:    call,
			reason: ReasonCertName, words: "certificate names node n1, the hello says n3",
		},
		{
			name: "own name",
			n1: func(*world) setup {
				return setup{host: "clone", hidden: true, identity: func(i *Identity) { i.Node = "n2" }}
			},
			act:    call,
			reason: ReasonOwnName, words: "node n2 is this node's own name: it runs as process a2000000 here, you are process a1000000",
		},
		{
			name: "another process of a connected node",
			arrange: func(n1, n2 *testNode) {
				clone := n1.world.start("n1", setup{host: "clone", hidden: true, identity: func(i *Identity) { i.Process = id(0xff) }})
				if err := clone.raftDial("n2"); err != nil { // a stream that is gone again
					n1.world.t.Error(err)
				}
				n2.echo()
				if _, err := clone.Call(n1.world.t.Context(), "n2", opEcho, nil); err != nil {
					n1.world.t.Error(err)
				}
			},
			act:    call,
			reason: ReasonDuplicate, words: "node n1 is already connected from another process (ff000000)",
		},
		{
			name:    "raft to a disk that was replaced",
			arrange: func(n1, n2 *testNode) { n1.world.place("n2", n2.addr, id(0x01)) },
			act:     raft,
			reason:  ReasonDisk, words: "target disk 01000000 is not mine: this node's disk was replaced, it is d2000000 now",
		},
		{
			name:    "call to a disk that was replaced",
			arrange: func(n1, n2 *testNode) { n1.world.place("n2", n2.addr, id(0x01)) },
			act:     call,
			reason:  ReasonDisk, words: "target disk 01000000 is not mine",
		},
		{
			name:   "raft before the other node has a cluster",
			n2:     func(*world) setup { return setup{identity: outside} },
			act:    raft,
			reason: ReasonNoClusterID, words: "raft begins when both nodes belong to the cluster; node n2 does not yet",
		},
		{
			name:   "raft before this node has a cluster",
			n1:     func(*world) setup { return setup{identity: outside} },
			act:    raft,
			reason: ReasonNoClusterID, words: "this node belongs to no cluster yet", dialler: true,
		},
		{
			name:   "raft when it does not run",
			act:    raft,
			reason: ReasonNoRaft, words: "raft does not run on node n2", noLayer: true,
		},
		{
			name: "raft without a target",
			act: func(n1, n2 *testNode) error {
				return rawHello(n1, n2, protocolRaft, func(h *hello) { h.Target = record.ID{} })
			},
			reason: ReasonHello, words: "names the disk it is meant for",
		},
		{
			name: "hello without a process",
			act: func(n1, n2 *testNode) error {
				return rawHello(n1, n2, protocolCalls, func(h *hello) { h.From.Process = record.ID{} })
			},
			reason: ReasonHello, words: "process id of node n1 is missing",
		},
		{
			name: "hello of a later format",
			act: func(n1, n2 *testNode) error {
				return rawBytes(n1, n2, protocolCalls, []byte{2, 0, 1, 0})
			},
			reason: ReasonFormat, words: "hello is of format 2, this node reads 1 | update the older of the two nodes",
		},
		{
			name: "hello above the limit",
			act: func(n1, n2 *testNode) error {
				return rawBytes(n1, n2, protocolCalls, []byte{1, 0xff, 0xff})
			},
			reason: ReasonHello, words: "hello has 65535 bytes, the limit is 4096",
		},
		{
			name: "hello of garbage",
			act: func(n1, n2 *testNode) error {
				return rawBytes(n1, n2, protocolCalls, []byte{1, 0, 2, 0xff, 0xff})
			},
			reason: ReasonHello, words: "hello does not decode",
		},
		{
			name:   "no protocol",
			act:    func(n1, n2 *testNode) error { return rawBytes(n1, n2, "", nil) },
			reason: ReasonProtocol, words: `protocol "", this node speaks peer/1 and raft/1`,
		},
		{
			name: "too many connections of one node",
			n2:   func(*world) setup { return setup{limits: Limits{PerNode: 1}} },
			act: func(n1, n2 *testNode) error {
				n2.echo()
				if err := call(n1, n2); err != nil {
					return err
				}
				return raft(n1, n2)
			},
			reason: ReasonLimit, words: "node n1 has 1 connections, the limit",
		},
		{
			name: "unknown node",
			act: func(n1, n2 *testNode) error {
				_, err := n1.Call(n1.world.t.Context(), "n9", opEcho, nil)
				return err
			},
			reason: ReasonUnknownNode, words: "node n9 is not known here", dialler: true,
		},
		{
			name:   "nobody listens",
			act:    func(n1, n2 *testNode) error { n2.stop(); return call(n1, n2) },
			reason: ReasonNetwork, words: "node n2 (n2:7442) cannot be reached: dial mem n2:7442: connection refused", dialler: true,
		},
		{
			name: "nobody answers",
			act: func(n1, n2 *testNode) error {
				n1.world.mem.Cut("n1", "n2", memnet.Drop)
				return call(n1, n2)
			},
			reason: ReasonNetwork, words: "node n2 (n2:7442) cannot be reached: no answer in time", dialler: true,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(w *world) {
				var s1, s2 setup
				if c.n1 != nil {
					s1 = c.n1(w)
				}
				if c.n2 != nil {
					s2 = c.n2(w)
				}
				if s1.issuer != nil && s1.trusts == nil {
					s1.trusts = slices.Concat(w.ca.Pair().Cert, s1.issuer.Pair().Cert)
				}
				if s2.issuer != nil && s2.trusts == nil {
					s2.trusts = slices.Concat(w.ca.Pair().Cert, s2.issuer.Pair().Cert)
				}
				n2 := w.start("n2", s2)
				n1 := w.start("n1", s1)
				if !c.noLayer {
					n2.RaftLayer()
				}
				if c.arrange != nil {
					c.arrange(n1, n2)
				}
				wantRefusal(w.t, c.act(n1, n2), c.reason, c.words)
				if !c.dialler {
					wantRefused(w.t, n2, c.reason)
				}
				n1.stop()
				n2.stop()
			})
		})
	}
}

func outside(i *Identity) { i.ClusterID, i.Timeline = record.ID{}, record.Timeline{} }

// rawHello connects as n1 with a hello that a Port would not send.
func rawHello(n1, n2 *testNode, protocol string, change func(*hello)) error {
	h := hello{From: wireIdentity(*n1.id.Load()), Target: n2.id.Load().Disk}
	change(&h)
	return rawBytes(n1, n2, protocol, must(encodeHello(&h)))
}

// rawBytes connects as n1, sends b and returns what n2 answers.
func rawBytes(n1, n2 *testNode, protocol string, b []byte) error {
	ctx, g := n1.world.t.Context(), goal{protocol: protocol, addr: n2.addr}
	nc, err := n1.o.Dial(ctx, n2.addr)
	if err != nil {
		return err
	}
	defer nc.Close()
	config := n1.o.Credentials.clientTLS(protocol, Name{"test", "n2"})
	if protocol == "" {
		config.NextProtos = nil
	}
	tc := tlsClient(nc, config)
	if err := tc.HandshakeContext(ctx); err != nil {
		return err
	}
	if _, err := tc.Write(b); err != nil {
		return err
	}
	var w welcome
	if err := readHello(tc, &w); err != nil {
		return err
	}
	if w.Refusal == nil {
		return errors.New("not refused")
	}
	return unreachable(g, refusal(w.Refusal))
}

func TestRefusalsReachTheDiallerOverTCP(t *testing.T) {
	w := newWorld(t)
	w.mem = nil
	n2 := w.start("n2", setup{})
	foreign := must(MakeCA("test"))
	for node, c := range map[string]struct {
		s      setup
		reason Reason
		words  string
	}{
		"n1": {setup{identity: func(i *Identity) { i.Timeline.Number = 2 }}, ReasonTimeline, "you say 2-5f3a90c1"},
		"n3": {setup{issuer: foreign, trusts: slices.Concat(w.ca.Pair().Cert, foreign.Pair().Cert)}, ReasonCertUntrusted, "not signed by a CA"},
		"n4": {setup{validity: time.Nanosecond}, ReasonCertExpired, "mcpraft cluster cert issue n4"},
	} {
		n := w.start(node, c.s)
		for range 20 {
			_, err := n.CallAddr(t.Context(), n2.addr, opEcho, nil)
			wantRefusal(t, err, c.reason, c.words)
		}
	}
}

func TestDuplicateNodeGivesWayWhenItFallsSilent(t *testing.T) {
	bubble(t, func(w *world) {
		n2 := w.start("n2", setup{}).echo()
		first := w.start("n1", setup{host: "first"})
		second := w.start("n1", setup{host: "second", identity: func(i *Identity) { i.Process = id(0xff) }})
		ctx := w.t.Context()
		if _, err := first.Call(ctx, "n2", opEcho, nil); err != nil {
			w.t.Fatal(err)
		}
		time.Sleep(time.Hour) // idle, and alive all the same
		_, err := second.Call(ctx, "n2", opEcho, nil)
		wantRefusal(w.t, err, ReasonDuplicate, "already connected from another process")

		// The machine of the first loses its power: nothing is ever closed.
		w.mem.Cut("first", "n2", memnet.Drop)
		time.Sleep(n2.o.Limits.SilentAfter + 2*n2.o.Limits.RedialMax)
		answer, err := second.Call(ctx, "n2", opEcho, []byte("mine now"))
		wantAnswer(w.t, answer, err, "n1: mine now")
		w.mem.HealAll()
		for _, n := range []*testNode{first, second, n2} {
			n.stop()
		}
	})
}

func TestDuplicateNodeGivesWayWhenItsRaftFallsSilent(t *testing.T) {
	bubble(t, func(w *world) {
		n2 := w.start("n2", setup{})
		n2.RaftLayer()
		first := w.start("n1", setup{host: "first"})
		second := w.start("n1", setup{host: "second", identity: func(i *Identity) { i.Process = id(0xff) }})
		stream := must(first.RaftLayer().Dial(raftAddress("n2", n2.id.Load().Disk), 0))
		wantRefusal(w.t, second.raftDial("n2"), ReasonDuplicate, "already connected")
		time.Sleep(n2.o.Limits.SilentAfter)
		if err := second.raftDial("n2"); err != nil {
			w.t.Error(err)
		}
		if _, err := stream.Read(make([]byte, 1)); err == nil {
			w.t.Error("the stream of the first process is still open")
		}
		for _, n := range []*testNode{first, second, n2} {
			n.stop()
		}
	})
}

func TestDuplicateNodeGivesWayWhenItDies(t *testing.T) {
	bubble(t, func(w *world) {
		n2 := w.start("n2", setup{}).echo()
		first := w.start("n1", setup{host: "first"})
		second := w.start("n1", setup{host: "second", identity: func(i *Identity) { i.Process = id(0xff) }})
		if _, err := first.Call(w.t.Context(), "n2", opEcho, nil); err != nil {
			w.t.Fatal(err)
		}
		first.dead = true
		w.mem.Host("first").Kill()
		synctest.Wait()
		answer, err := second.Call(w.t.Context(), "n2", opEcho, []byte("at once"))
		wantAnswer(w.t, answer, err, "n1: at once")
		second.stop()
		n2.stop()
	})
}

func TestHalfOpenConnectionsAreBoundedAndTimedOut(t *testing.T) {
	bubble(t, func(w *world) {
		n1 := w.start("n1", setup{limits: Limits{HalfOpen: 2}}).echo()
		stranger := w.mem.Host("stranger")
		var open []net.Conn
		for range 3 {
			open = append(open, must(stranger.Dial(w.t.Context(), n1.addr)))
			synctest.Wait()
		}
		one := make([]byte, 1)
		if _, err := open[2].Read(one); err == nil {
			w.t.Error("a third half-open connection was kept")
		}
		wantRefused(w.t, n1, ReasonLimit)
		start := time.Now()
		if _, err := open[0].Read(one); err == nil {
			w.t.Error("a silent stranger was answered")
		}
		if took := time.Since(start); took != 5*time.Second {
			w.t.Errorf("a silent stranger was cut off after %v, want 5s", took)
		}
		wantRefused(w.t, n1, ReasonTLS)
		n2 := w.start("n2", setup{})
		answer, err := n2.Call(w.t.Context(), "n1", opEcho, nil)
		wantAnswer(w.t, answer, err, "n2: ")
		for _, nc := range open {
			nc.Close()
		}
		n2.stop()
		n1.stop()
	})
}

func TestStrangerOnThePortIsToldInWords(t *testing.T) {
	bubble(t, func(w *world) {
		ln := must(w.mem.Host("web").Listen(":80"))
		go func() {
			nc, err := ln.Accept()
			if err == nil {
				fmt.Fprint(nc, "HTTP/1.1 400 Bad Request\r\n\r\n")
				nc.Close()
			}
		}()
		n1 := w.start("n1", setup{})
		_, err := n1.CallAddr(w.t.Context(), "web:80", opEcho, nil)
		wantRefusal(w.t, err, ReasonTLS, "is this the peer port of an mcpraft node")
		ln.Close()
		n1.stop()
	})
}

func TestNewRefusesTheCertificateOfAnotherNode(t *testing.T) {
	ca := must(MakeCA("test"))
	own := Identity{Cluster: "test", Node: "n1", Disk: id(1), Process: id(2)}
	_, err := New(Config{
		Identity:    func() Identity { return own },
		Credentials: must(NewCredentials(must(ca.Issue("n3", nil, 0)), ca.Pair().Cert)),
		Listener:    must(memnet.New().Host("n1").Listen(":1")),
		Resolve:     func(string) (string, record.ID, bool) { return "", record.ID{}, false },
	})
	wantKind(t, err, fault.Invalid, "the certificate is of node n3 of cluster test, this is node n1 of cluster test")
}

func TestRunEndsWithItsListener(t *testing.T) {
	bubble(t, func(w *world) {
		ca := w.ca
		ln := must(w.mem.Host("n1").Listen(":1"))
		own := Identity{Cluster: "test", Node: "n1", Disk: id(1), Process: id(2)}
		p := must(New(Config{
			Identity:    func() Identity { return own },
			Credentials: must(NewCredentials(must(ca.Issue("n1", nil, 0)), ca.Pair().Cert)),
			Listener:    ln,
			Resolve:     w.resolve,
		}))
		ln.Close()
		if err := p.Run(w.t.Context()); !errors.Is(err, net.ErrClosed) {
			w.t.Errorf("Run: %v, want %v", err, net.ErrClosed)
		}
		_, err := p.CallAddr(w.t.Context(), "n1:1", opEcho, nil)
		wantRefusal(w.t, err, ReasonStopped, "shutting down")
	})
}
