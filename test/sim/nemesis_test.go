package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/raftnode"
	"github.com/mcpraft/mcpraft/test/model/memnet"
)

// changeLimit bounds one change of the membership that the nemesis asks for.
const changeLimit = 4 * time.Second

// An attack is a fault that the nemesis knows how to bring about. start does it and
// returns how to end it; nil when there is nothing to end, or when it cannot be
// done now.
type attack struct {
	name  string
	start func(n *nemesis) (undo func())
}

func (a attack) String() string { return a.name }

func attacks() []attack {
	return []attack{
		{"isolate-leader", (*nemesis).isolateLeader},
		{"deafen-leader", (*nemesis).deafenLeader},
		{"strand-leader", (*nemesis).strandLeader},
		{"split", (*nemesis).split},
		{"cut-pair", (*nemesis).cutPair},
		{"flap", (*nemesis).flap},
		{"slow-links", (*nemesis).slowLinks},
		{"stall-leader", (*nemesis).stallLeader},
		{"stall-disk", (*nemesis).stallDisk},
		{"crash-leader", (*nemesis).crashLeader},
		{"crash-one", (*nemesis).crashOne},
		{"crash-majority", (*nemesis).crashMajority},
		{"crash-all", (*nemesis).crashAll},
		{"away", (*nemesis).away},
		{"restart", (*nemesis).restart},
		{"transfer", (*nemesis).transfer},
		{"demote", (*nemesis).demote},
		{"remove", (*nemesis).remove},
		{"replace-disk", (*nemesis).replaceDisk},
	}
}

// seeded is a source of randomness that can also take a disk's unsynced bytes.
type seeded struct{ *rand.Rand }

func (r *seeded) crashClone(disk *vfs.MemFS, kept int) *vfs.MemFS {
	return disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: kept, RNG: r.Rand})
}

// A nemesis takes a cluster apart and puts it together again.
type nemesis struct {
	*cluster
	rng     *seeded
	loading <-chan struct{} // closed when the load ends
}

func newNemesis(c *cluster) *nemesis {
	return &nemesis{cluster: c, rng: &seeded{generator(c.plan.seed, "nemesis")}}
}

// run does one or two faults at a time, with quiet between them, until the load
// ends; then all faults have ended too.
func (n *nemesis) run(ctx context.Context) {
	n.loading = ctx.Done()
	for n.rest(300*time.Millisecond, 2*time.Second) {
		var undo []func()
		for range 1 + n.rng.IntN(2) {
			a := pick(n.rng.Rand, n.plan.attacks...)
			n.trace.printf("attack %s", a)
			if end := a.start(n); end != nil {
				undo = append(undo, end)
			} else {
				n.trace.printf("attack %s is over", a)
			}
			n.rest(50*time.Millisecond, 1500*time.Millisecond)
		}
		n.rng.Shuffle(len(undo), func(i, j int) { undo[i], undo[j] = undo[j], undo[i] })
		for _, end := range undo {
			end()
			n.trace.printf("an attack ends")
			n.rest(0, 200*time.Millisecond)
		}
	}
}

// rest sleeps and reports whether the load goes on.
func (n *nemesis) rest(low, high time.Duration) bool {
	t := time.NewTimer(between(n.rng.Rand, low, high))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-n.loading:
		return false
	}
}

// others is every name but those.
func (n *nemesis) others(names ...string) []string {
	return slices.DeleteFunc(slices.Clone(n.names), func(name string) bool { return slices.Contains(names, name) })
}

// shuffled is some of the names, in any order.
func (n *nemesis) shuffled(count int) []string {
	names := slices.Clone(n.names)
	n.rng.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	return names[:count]
}

func (n *nemesis) mode() memnet.Mode { return pick(n.rng.Rand, memnet.Drop, memnet.Reset) }

func (n *nemesis) cut(what string, mode memnet.Mode, broken []link) (undo func()) {
	n.trace.printf("  cut (mode %d): %s", mode, what)
	return n.links.cut(mode, broken...)
}

func (n *nemesis) isolateLeader() func() {
	h := n.leader()
	if h == nil {
		return nil
	}
	return n.cut(h.name+" from all", n.mode(), both([]string{h.name}, n.others(h.name)))
}

// deafenLeader cuts one direction only: the leader can be heard or can hear.
func (n *nemesis) deafenLeader() func() {
	h := n.leader()
	if h == nil {
		return nil
	}
	if n.rng.IntN(2) == 0 {
		return n.cut("nothing reaches "+h.name, memnet.Drop, oneWay(n.others(h.name), []string{h.name}))
	}
	return n.cut(h.name+" reaches nobody", memnet.Drop, oneWay([]string{h.name}, n.others(h.name)))
}

// strandLeader cuts the leader off while many commands arrive at it. It is left
// with a tail of the log that nobody else has; if the others cut theirs meanwhile,
// it gets a snapshot that contradicts its log.
func (n *nemesis) strandLeader() func() {
	h := n.leader()
	if h == nil {
		return nil
	}
	l := h.life.Load()
	heal := n.cut(h.name+" from all", memnet.Drop, both([]string{h.name}, n.others(h.name)))
	ctx, cancel := context.WithCancel(context.Background())
	var stranded sync.WaitGroup
	for i := range 30 + n.rng.IntN(60) {
		stranded.Go(func() {
			_, _ = l.node.Propose(ctx, raftnode.Request{ // nobody waits for the answer
				Actor:   record.Principal{Issuer: "sim", Subject: "stranded"},
				Command: &fsm.RegisterEntry{Entry: record.Entry{Type: record.TypeResource, Key: fmt.Sprintf("stranded-%d", i)}},
			})
		})
		time.Sleep(time.Millisecond)
	}
	n.rest(time.Second, 3*time.Second)
	return func() {
		cancel()
		stranded.Wait()
		heal()
	}
}

func (n *nemesis) split() func() {
	some := n.shuffled(1 + n.rng.IntN(len(n.names)/2))
	return n.cut(fmt.Sprint(some, " from the others"), n.mode(), both(some, n.others(some...)))
}

func (n *nemesis) cutPair() func() {
	pair := n.shuffled(2)
	return n.cut(fmt.Sprint(pair), n.mode(), both(pair[:1], pair[1:]))
}

func (n *nemesis) flap() func() {
	some := n.shuffled(1)
	broken := both(some, n.others(some...))
	for range 3 + n.rng.IntN(4) {
		end := n.cut(fmt.Sprint(some, " from the others, for a moment"), n.mode(), broken)
		n.rest(50*time.Millisecond, 500*time.Millisecond)
		end()
		n.rest(50*time.Millisecond, 500*time.Millisecond)
	}
	return nil
}

func (n *nemesis) slowLinks() func() {
	some, d := n.shuffled(1+n.rng.IntN(len(n.names))), between(n.rng.Rand, 5*time.Millisecond, 120*time.Millisecond)
	n.trace.printf("  links of %v take %v", some, d)
	n.setLatency(d, some...)
	return func() { n.setLatency(n.plan.latency, n.names...) }
}

// stallLeader makes the leader believe in itself for longer than it may: while
// its disk hangs, it does not notice that it is alone.
func (n *nemesis) stallLeader() func() {
	h := n.leader()
	if h == nil {
		return nil
	}
	end := n.stall(h)
	n.rest(20*time.Millisecond, 200*time.Millisecond)
	heal := n.cut(h.name+" from all", n.mode(), both([]string{h.name}, n.others(h.name)))
	return func() { end(); heal() }
}

func (n *nemesis) stallDisk() func() { return n.stall(n.hosts[n.shuffled(1)[0]]) }

// stall makes writes of the log slow, but not as slow as to be given up.
func (n *nemesis) stall(h *host) func() {
	l := h.life.Load()
	if l == nil {
		return nil
	}
	d := between(n.rng.Rand, 100*time.Millisecond, 2500*time.Millisecond)
	n.trace.printf("  writes of %s's log take %v", h.name, d)
	l.disk.stall.Store(int64(d))
	return func() { l.disk.stall.Store(0) }
}

// crash ends processes, by kill -9 or by a power failure, after which nobody
// even refuses connections. What was not synced is lost, or some of it, or none.
func (n *nemesis) crash(names ...string) (undo func()) {
	heal := func() {}
	kept := pick(n.rng.Rand, 0, 0, 50, 100)
	power := n.rng.IntN(2) == 0
	n.trace.printf("  crash of %v, power failure %v, %d %% of unsynced bytes survive", names, power, kept)
	if power {
		heal = n.links.cut(memnet.Drop, both(names, n.names)...)
	}
	for _, name := range names {
		n.hosts[name].crash(kept, n.rng)
	}
	return func() {
		heal()
		n.start(names...)
	}
}

func (n *nemesis) start(names ...string) {
	n.trace.printf("  start of %v", names)
	for _, name := range names {
		if h := n.hosts[name]; h.life.Load() == nil {
			h.start()
		}
	}
}

func (n *nemesis) crashLeader() func() {
	h := n.leader()
	if h == nil {
		return nil
	}
	return n.crash(h.name)
}

func (n *nemesis) crashOne() func() { return n.crash(n.shuffled(1)...) }

func (n *nemesis) crashMajority() func() { return n.crash(n.shuffled(len(n.names)/2 + 1)...) }

func (n *nemesis) crashAll() func() { return n.crash(n.names...) }

// away lets a node miss so much that it comes back by snapshot, if logs are
// short.
func (n *nemesis) away() func() {
	name := n.shuffled(1)[0]
	undo := func() { n.start(name) }
	if n.rng.IntN(2) == 0 {
		n.trace.printf("  stop of %s", name)
		n.hosts[name].stop()
	} else {
		undo = n.crash(name)
	}
	n.rest(2*time.Second, 5*time.Second)
	return undo
}

func (n *nemesis) restart() func() {
	name := n.shuffled(1)[0]
	n.trace.printf("  stop of %s", name)
	n.hosts[name].stop()
	return func() { n.start(name) }
}

// change asks a node that runs to change the membership or the leadership.
func (n *nemesis) change(what string, do func(ctx context.Context, node *raftnode.Node) error) error {
	up := n.up()
	if len(up) == 0 {
		return nil
	}
	by := pick(n.rng.Rand, up...)
	ctx, cancel := context.WithTimeout(context.Background(), changeLimit)
	defer cancel()
	err := do(ctx, by.life.Load().node)
	n.trace.printf("  %s, asked of %s: %v", what, by.name, err)
	return err
}

func (n *nemesis) transfer() func() {
	to := pick(n.rng.Rand, append([]string{""}, n.names...)...)
	_ = n.change("transfer to "+to, func(ctx context.Context, node *raftnode.Node) error {
		return node.TransferLeadership(ctx, to)
	})
	return nil
}

func (n *nemesis) demote() func() {
	if !n.whole() {
		return nil
	}
	name := n.shuffled(1)[0]
	_ = n.change("demote "+name, func(ctx context.Context, node *raftnode.Node) error { return node.Demote(ctx, name) })
	return func() { n.promote(name) }
}

func (n *nemesis) promote(name string) {
	_ = n.change("promote "+name, func(ctx context.Context, node *raftnode.Node) error { return node.Promote(ctx, name) })
}

// remove takes a node out of the cluster and brings it back with an empty disk.
// A disk is taken away only while all others are voters: two at a time may hold
// the only copies of an entry.
func (n *nemesis) remove() func() {
	if !n.whole() {
		return nil
	}
	name := n.shuffled(1)[0]
	err := n.change("remove "+name, func(ctx context.Context, node *raftnode.Node) error { return node.Remove(ctx, name) })
	if err != nil && n.rng.IntN(2) == 0 {
		return nil
	}
	n.hosts[name].stop()
	n.hosts[name].wipe()
	n.rest(0, time.Second)
	return func() { n.start(name) }
}

// replaceDisk wipes a node that nobody has removed before.
func (n *nemesis) replaceDisk() func() {
	if !n.whole() {
		return nil
	}
	name := n.shuffled(1)[0]
	end := n.crash(name)
	n.hosts[name].wipe()
	return end
}
