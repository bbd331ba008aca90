package sim

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/raftnode"
	"github.com/mcpraft/mcpraft/raftnode/logstore"
	"github.com/mcpraft/mcpraft/raftnode/peer"
	"github.com/mcpraft/mcpraft/server/session"
	"github.com/mcpraft/mcpraft/test/model/memnet"
	"github.com/mcpraft/mcpraft/test/sim/simstore"
)

const (
	clusterName = "sim"
	dataDir     = "data"
	stateDir    = "data/fsm"
)

// A cluster is the hosts of one seed and what connects them.
type cluster struct {
	*report
	plan  plan
	net   *memnet.Network
	links links
	names []string
	hosts map[string]*host

	// Those that were crashed: they run on, cut off from everything, until they
	// have noticed.
	ghosts sync.WaitGroup
}

func newCluster(t *testing.T, p plan, r *report) *cluster {
	c := &cluster{report: r, plan: p, net: memnet.New(), hosts: make(map[string]*host)}
	ca, err := peer.MakeCA(clusterName)
	if err != nil {
		t.Fatal(err)
	}
	clocks := generator(p.seed, "clocks")
	for i := range p.nodes {
		name := fmt.Sprintf("n%d", i+1)
		pair, err := ca.Issue(name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		credentials, err := peer.NewCredentials(pair, ca.Pair().Cert)
		if err != nil {
			t.Fatal(err)
		}
		h := &host{cluster: c, name: name, credentials: credentials, disk: vfs.NewCrashableMem()}
		if p.skew > 0 {
			h.ahead = between(clocks, 0, p.skew)
		}
		c.names = append(c.names, name)
		c.hosts[name] = h
	}
	c.links = newLinks(c.net, c.names)
	c.setLatency(p.latency, c.names...)
	return c
}

// setLatency makes all links of the hosts named slower or faster.
func (c *cluster) setLatency(d time.Duration, of ...string) {
	for _, a := range of {
		for _, b := range c.names {
			if a != b {
				c.net.SetLatency(a, b, d)
			}
		}
	}
}

func address(name string) string { return name + ":7442" }

// up is the hosts that run, by name.
func (c *cluster) up() []*host {
	var up []*host
	for _, name := range c.names {
		if h := c.hosts[name]; h.life.Load() != nil {
			up = append(up, h)
		}
	}
	return up
}

// leader is the host that leads in the newest term, or nil.
func (c *cluster) leader() *host {
	var leader *host
	var term uint64
	for _, h := range c.up() {
		if s := h.life.Load().node.Status(); s.Role == "leader" && s.Term > term {
			leader, term = h, s.Term
		}
	}
	return leader
}

// whole reports whether every node runs and its disk is the one voter of its
// name, as the leader knows.
func (c *cluster) whole() bool {
	leader := c.leader()
	if leader == nil || len(c.up()) < len(c.names) {
		return false
	}
	members, err := leader.life.Load().node.Members(context.Background())
	if err != nil || len(members) != len(c.names) {
		return false
	}
	return !slices.ContainsFunc(members, func(m raftnode.MemberStatus) bool {
		return !m.Voter || c.hosts[m.Node].life.Load().node.Status().Disk != m.Disk
	})
}

// A host is a machine: its disk and its name outlast the processes on it. Only
// one goroutine, the nemesis, starts and stops them.
type host struct {
	cluster     *cluster
	name        string
	credentials *peer.Credentials
	disk        *vfs.MemFS
	ahead       time.Duration // of its wall clock
	life        atomic.Pointer[life]
}

// A life is one process of a host.
type life struct {
	node     *raftnode.Node
	disk     *slowDisk
	crashed  atomic.Bool // nothing that it says from now on counts
	activity *session.Activity
	stop     context.CancelFunc // of tasks
	tasks    sync.WaitGroup
}

func (h *host) start() {
	if err := h.tryStart(); err != nil {
		h.cluster.failf("%s does not start: %v", h.name, err)
	}
}

func (h *host) tryStart() error {
	c := h.cluster
	ln, err := c.net.Host(h.name).Listen(address(h.name))
	if err != nil {
		return err
	}
	disk, l := h.disk, new(life)
	cfg := raftnode.Config{
		Node: h.name, Cluster: clusterName, Dir: dataDir, FS: disk,
		OpenLog: func(dir string) (logstore.Base, error) {
			base, err := simstore.Open(disk, dir)
			l.disk = &slowDisk{Base: base}
			return l.disk, err
		},
		Listener: ln, Credentials: h.credentials, PeerAddr: address(h.name),
		Dial: func(ctx context.Context, to string) (net.Conn, error) { return h.dial(ctx, l, to) },

		BootstrapExpect: c.plan.nodes,
		Timing:          c.plan.timing, SnapshotEntries: c.plan.snapshot, TrailingLogs: c.plan.trailing,
		CacheBytes: 1 << 20, MemTableBytes: 1 << 20, DigestInterval: 3 * time.Second,
		FreeDisk:  func() (free, total uint64, err error) { return 50, 100, nil },
		WallClock: func() time.Time { return time.Now().Add(h.ahead) },
		Fatal: func(err error) {
			if !l.crashed.Load() {
				c.failf("%s stops: %v", h.name, err)
			}
		},
		Logger: c.trace.logger(h.name),
	}
	for _, name := range c.names {
		cfg.Join = append(cfg.Join, address(name))
	}
	if l.node, err = raftnode.Start(context.Background(), cfg); err != nil {
		_ = ln.Close() // it may have been closed already
		return err
	}
	l.run(h.name)
	h.life.Store(l)
	return nil
}

// run starts what a server runs beside its node for sessions.
func (l *life) run(name string) {
	actor := record.Principal{Issuer: "mcpraft", Subject: "node/" + name}
	// The model knows of no suspension that no client asked for: server/session has
	// the stories of those.
	expiry := session.NewExpiry(session.ExpiryConfig{Replica: l.node, Actor: actor, IdleAfter: record.MaxSessionTTL})
	l.node.Duty("expiry", expiry.Run)
	l.activity = session.NewActivity(session.ActivityConfig{Proposer: l.node, Actor: actor})
	ctx, stop := context.WithCancel(context.Background())
	l.stop = stop
	l.tasks.Go(func() { _ = l.activity.Run(ctx) }) // always nil
}

func (l *life) close() error {
	l.stop()
	l.tasks.Wait()
	return l.node.Close()
}

// dial connects, unless the process has been crashed.
func (h *host) dial(ctx context.Context, l *life, to string) (net.Conn, error) {
	if l.crashed.Load() {
		return nil, net.ErrClosed
	}
	nc, err := h.cluster.net.Host(h.name).Dial(ctx, to)
	if err == nil && l.crashed.Load() {
		_ = nc.Close()
		return nil, net.ErrClosed
	}
	return nc, err
}

// stop ends the process in good order.
func (h *host) stop() {
	l := h.life.Swap(nil)
	if l == nil {
		return
	}
	if err := l.close(); err != nil {
		h.cluster.failf("%s does not close: %v", h.name, err)
	}
}

// crash ends the process at this moment. What survives of its disk is all that
// was synced and some of the rest: kept percent of it.
func (h *host) crash(kept int, r *seeded) {
	l := h.life.Swap(nil)
	if l == nil {
		return
	}
	l.crashed.Store(true) // before its disk is taken away: what it says later may not be on it
	h.cluster.net.Host(h.name).Kill()
	h.disk = r.crashClone(h.disk, kept)
	h.cluster.ghosts.Go(func() { _ = l.close() }) // what it says does not matter any more
}

// wipe gives the host, which does not run, an empty disk.
func (h *host) wipe() { h.disk = vfs.NewCrashableMem() }

// slowDisk is a log on a disk that may stall.
type slowDisk struct {
	logstore.Base
	stall atomic.Int64 // ns that a write takes
}

func (d *slowDisk) StoreLog(l *raft.Log) error { return d.StoreLogs([]*raft.Log{l}) }

func (d *slowDisk) StoreLogs(logs []*raft.Log) error {
	if stall := d.stall.Load(); stall > 0 {
		time.Sleep(time.Duration(stall))
	}
	return d.Base.StoreLogs(logs)
}

// links is what the network between the hosts does: several faults may cut the
// same link, and it passes again when all of them have ended.
type links struct {
	net   *memnet.Network
	names []string
	now   map[link]memnet.Mode
	cuts  map[int][]cut
	last  int
}

type link struct{ from, to string }

type cut struct {
	link
	mode memnet.Mode
}

func newLinks(n *memnet.Network, names []string) links {
	return links{net: n, names: names, now: make(map[link]memnet.Mode), cuts: make(map[int][]cut)}
}

// cut breaks links until undo is called.
func (l *links) cut(mode memnet.Mode, broken ...link) (undo func()) {
	l.last++
	id := l.last
	for _, b := range broken {
		l.cuts[id] = append(l.cuts[id], cut{b, mode})
	}
	l.apply()
	return func() {
		delete(l.cuts, id)
		l.apply()
	}
}

func (l *links) apply() {
	want := make(map[link]memnet.Mode)
	for _, cuts := range l.cuts {
		for _, c := range cuts {
			want[c.link] = max(want[c.link], c.mode)
		}
	}
	for _, from := range l.names {
		for _, to := range l.names {
			if at := (link{from, to}); from != to && l.now[at] != want[at] {
				l.net.CutOneWay(from, to, want[at])
				l.now[at] = want[at]
			}
		}
	}
}

// both is the links between every host of one group and every one of another.
func both(a, b []string) []link {
	return append(oneWay(a, b), oneWay(b, a)...)
}

func oneWay(from, to []string) []link {
	var all []link
	for _, f := range from {
		for _, t := range to {
			if f != t {
				all = append(all, link{f, t})
			}
		}
	}
	return all
}
