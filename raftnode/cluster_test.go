package raftnode

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode/logstore"
	"github.com/mcpraft/mcpraft/raftnode/peer"
	modelbubble "github.com/mcpraft/mcpraft/test/model/bubble"
	"github.com/mcpraft/mcpraft/test/model/memnet"
	"github.com/mcpraft/mcpraft/test/sim/simstore"
)

// bubble runs f in virtual time.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	modelbubble.Run(t, f)
}

// cluster is some nodes in one bubble.
type cluster struct {
	t     *testing.T
	net   *memnet.Network
	ca    *peer.CA
	hosts map[string]*host
	tune  func(*Config) // changes the configuration of every node
}

// host is where a node lives; its disk outlasts the node.
type host struct {
	cluster *cluster
	name    string
	fs      *vfs.MemFS
	node    *Node
	up      bool

	mu     sync.Mutex
	fatals []error
	free   uint64 // percent of the disk
	ahead  time.Duration
}

func newCluster(t *testing.T, tune func(*Config)) *cluster {
	ca, err := peer.MakeCA("test")
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, net: memnet.New(), ca: ca, hosts: make(map[string]*host), tune: tune}
	return c
}

// closeAll ends every node; a bubble must not end before they have.
func (c *cluster) closeAll() {
	for _, h := range c.hosts {
		h.close()
	}
}

func (c *cluster) host(name string) *host {
	h := c.hosts[name]
	if h == nil {
		h = &host{cluster: c, name: name, fs: vfs.NewCrashableMem(), free: 50}
		c.hosts[name] = h
	}
	return h
}

func addr(name string) string { return name + ":7442" }

// config is that of a node that forms a cluster with expect nodes.
func (h *host) config(expect int, join ...string) Config {
	t := h.cluster.t
	pair, err := h.cluster.ca.Issue(h.name, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	credentials, err := peer.NewCredentials(pair, h.cluster.ca.Pair().Cert)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := h.cluster.net.Host(h.name).Listen(addr(h.name))
	if err != nil {
		t.Fatal(err)
	}
	fs := h.fs
	c := Config{
		Node: h.name, Cluster: "test", Dir: "data", FS: fs,
		OpenLog:  func(dir string) (logstore.Base, error) { return simstore.Open(fs, dir) },
		Listener: ln, Credentials: credentials, PeerAddr: addr(h.name),
		Dial: func(ctx context.Context, addr string) (net.Conn, error) {
			return h.cluster.net.Host(h.name).Dial(ctx, addr)
		},
		BootstrapExpect: expect,
		CacheBytes:      1 << 20, MemTableBytes: 1 << 20,
		FreeDisk:  func() (uint64, uint64, error) { h.mu.Lock(); defer h.mu.Unlock(); return h.free, 100, nil },
		WallClock: func() time.Time { h.mu.Lock(); defer h.mu.Unlock(); return time.Now().Add(h.ahead) },
		Fatal:     func(err error) { h.mu.Lock(); defer h.mu.Unlock(); h.fatals = append(h.fatals, err) },
		Logger:    slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: logLevel()})).With("on", h.name),
	}
	for _, name := range join {
		c.Join = append(c.Join, addr(name))
	}
	if h.cluster.tune != nil {
		h.cluster.tune(&c)
	}
	return c
}

// config2 is the node's name and a certificate of its own, for an impostor.
func (h *host) config2() Config {
	pair, err := h.cluster.ca.Issue(h.name, nil, 0)
	if err != nil {
		h.cluster.t.Fatal(err)
	}
	credentials, err := peer.NewCredentials(pair, h.cluster.ca.Pair().Cert)
	if err != nil {
		h.cluster.t.Fatal(err)
	}
	return Config{Node: h.name, Credentials: credentials}
}

func logLevel() slog.Level {
	if os.Getenv("RAFTNODE_TEST_DEBUG") != "" {
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

func (h *host) start(expect int, join ...string) {
	h.cluster.t.Helper()
	if err := h.tryStart(expect, join...); err != nil {
		h.cluster.t.Fatalf("starting %s: %v", h.name, err)
	}
}

func (h *host) tryStart(expect int, join ...string) error {
	c := h.config(expect, join...)
	n, err := Start(h.cluster.t.Context(), c)
	if err != nil {
		_ = c.Listener.Close()
		return err
	}
	h.node, h.up = n, true
	return nil
}

func (h *host) close() {
	if !h.up {
		return
	}
	h.up = false
	if err := h.node.Close(); err != nil {
		h.cluster.t.Errorf("closing %s: %v", h.name, err)
	}
}

// crash kills the node: the network forgets it, unsynced bytes are lost, and the
// process is stopped afterwards without reaching anything.
func (h *host) crash() {
	h.crashLosing(100)
}

func (h *host) crashLosing(percentLost int) {
	h.up = false
	h.cluster.net.Host(h.name).Kill()
	disk := h.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100 - percentLost})
	h.cut()
	_ = h.node.Close() // what it says does not matter any more
	h.fs = disk
	h.heal()
}

// cut isolates the host: packets are lost, and what streams hold arrives after
// heal. sever isolates it and ends its connections, with what they hold.
func (h *host) cut()   { h.isolate(memnet.Drop) }
func (h *host) sever() { h.isolate(memnet.Reset) }

func (h *host) isolate(m memnet.Mode) {
	for name := range h.cluster.hosts {
		h.cluster.net.Cut(h.name, name, m)
	}
}

func (h *host) heal() {
	for name := range h.cluster.hosts {
		h.cluster.net.Heal(h.name, name)
	}
}

// wipe takes the disk away.
func (h *host) wipe() { h.fs = vfs.NewCrashableMem() }

func (h *host) failures() []error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.fatals)
}

func (h *host) setFree(percent uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.free = percent
}

var three = []string{"n1", "n2", "n3"}

// form starts a cluster of three that is ready.
func form(t *testing.T, tune func(*Config)) *cluster {
	t.Helper()
	c := newCluster(t, tune)
	for _, name := range three {
		c.host(name)
	}
	for _, name := range three {
		c.host(name).start(3, three...)
	}
	c.ready(three...)
	return c
}

// ready waits until the nodes named serve.
func (c *cluster) ready(names ...string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	for _, name := range names {
		if err := c.host(name).node.Ready(ctx); err != nil {
			c.t.Fatalf("%s is not ready: %v", name, err)
		}
	}
}

// leader waits until one of the running nodes leads and is ready.
func (c *cluster) leader(not ...string) *host {
	c.t.Helper()
	var found *host
	c.eventually("a leader", func() bool {
		for name, h := range c.hosts {
			if h.up && !slices.Contains(not, name) && h.node.leads() != nil {
				found = h
				return true
			}
		}
		return false
	})
	return found
}

// follower is some running node that does not lead.
func (c *cluster) follower() *host {
	leader := c.leader()
	for _, name := range three {
		if h := c.host(name); h.up && h != leader {
			return h
		}
	}
	c.t.Fatal("no follower")
	return nil
}

// eventually waits, in virtual time, for at most a minute.
func (c *cluster) eventually(what string, ok func() bool) {
	c.t.Helper()
	for range 6000 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	c.t.Fatalf("never: %s", what)
}

var alice = record.Principal{Issuer: "test", Subject: "alice"}

func register(key string) *fsm.RegisterEntry {
	return &fsm.RegisterEntry{Entry: record.Entry{Type: record.TypeTool, Key: key, Location: "here", Principal: alice}}
}

// put registers key through h and fails the test if that is not accepted.
func (h *host) put(key string) Receipt {
	h.cluster.t.Helper()
	r, err := h.tryPut(key, 10*time.Second)
	if err == nil {
		err = r.Outcome.Err()
	}
	if err != nil {
		h.cluster.t.Fatalf("put %s on %s: %v", key, h.name, err)
	}
	return r
}

func (h *host) tryPut(key string, limit time.Duration) (Receipt, error) {
	ctx, cancel := context.WithTimeout(h.cluster.t.Context(), limit)
	defer cancel()
	return h.node.Propose(ctx, Request{Actor: alice, Command: register(key)})
}

// tryRead opens a view and closes it again: a node waits for its views when it
// is closed.
func (h *host) tryRead(ctx context.Context, o ReadOptions) error {
	view, _, err := h.node.Read(ctx, o)
	if err == nil {
		view.Close()
	}
	return err
}

// has reads key on h.
func (h *host) has(key string, o ReadOptions) (bool, error) {
	ctx, cancel := context.WithTimeout(h.cluster.t.Context(), 5*time.Second)
	defer cancel()
	view, _, err := h.node.Read(ctx, o)
	if err != nil {
		return false, err
	}
	defer view.Close()
	_, err = view.WhereIs(0, record.TypeTool, key)
	if fault.Of(err) == fault.NotFound {
		return false, nil
	}
	return err == nil, err
}

func (h *host) mustHave(key string, o ReadOptions) {
	h.cluster.t.Helper()
	ok, err := h.has(key, o)
	if err != nil || !ok {
		h.cluster.t.Fatalf("%s read of %s on %s: %v, %v", o.Mode, key, h.name, ok, err)
	}
}

// sameState waits until the nodes named have applied the same and compares.
func (c *cluster) sameState(names ...string) {
	c.t.Helper()
	c.eventually("equal indexes on "+fmt.Sprint(names), func() bool {
		first := c.host(names[0]).node.Meta().Index
		return !slices.ContainsFunc(names, func(name string) bool { return c.host(name).node.Meta().Index != first })
	})
	first := c.host(names[0]).node.Meta()
	for _, name := range names[1:] {
		if m := c.host(name).node.Meta(); m.Digest != first.Digest || m.Revision != first.Revision {
			c.t.Errorf("%s has digest %v at %d, %s has %v at %d", names[0], first.Digest, first.Index, name, m.Digest, m.Index)
		}
	}
}

func wantKind(t *testing.T, err error, want fault.Kind) {
	t.Helper()
	if fault.Of(err) != want {
		t.Fatalf("error %v is of kind %v, want %v", err, fault.Of(err), want)
	}
}

var errTest = errors.New("test")
