package sim

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode"
)

// healLimit is how long a cluster without faults may take to be whole again, and
// for each of the steps after that.
const healLimit = time.Minute

// heal ends what is left of the faults and waits until every node is a voter and
// ready.
func (n *nemesis) heal() bool {
	n.trace.printf("healing")
	n.start(n.names...)
	deadline := time.Now().Add(healLimit)
	for !n.whole() {
		if time.Now().After(deadline) {
			n.failf("%v after the last fault the cluster is not whole: %s", healLimit, n.describe())
			return false
		}
		n.mend()
		time.Sleep(500 * time.Millisecond)
	}
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	for _, h := range n.up() {
		if err := h.life.Load().node.Ready(ctx); err != nil {
			n.failf("%s is not ready %v after the last fault: %v", h.name, healLimit, err)
			return false
		}
	}
	n.trace.printf("whole again")
	return true
}

// mend does what an operator would do: nodes without a vote get it, and nodes
// that were removed get an empty disk.
func (n *nemesis) mend() {
	for _, name := range n.names {
		h := n.hosts[name]
		s := h.life.Load().node.Status()
		if slices.ContainsFunc(s.Alarms, func(a raftnode.Alarm) bool { return a.Name == raftnode.AlarmRemoved }) {
			n.trace.printf("%s was removed: it gets an empty disk", name)
			h.stop()
			h.wipe()
			h.start()
		}
		if leader := n.leader(); leader != nil && slices.Contains(leader.life.Load().node.Status().Replicas, name) {
			n.promote(name)
		}
	}
}

// describe is where every node stands, for people.
func (n *nemesis) describe() string {
	var b strings.Builder
	for _, h := range n.up() {
		s := h.life.Load().node.Status()
		b.WriteString("\n  " + h.name + ": " + s.Role + " leader=" + s.Leader + " voters=" + strings.Join(s.Voters, ",") +
			" replicas=" + strings.Join(s.Replicas, ",") + " applied=" + strconv.FormatUint(s.AppliedIndex, 10) +
			" last=" + strconv.FormatUint(s.LastIndex, 10) + " term=" + strconv.FormatUint(s.Term, 10))
		for _, a := range s.Alarms {
			b.WriteString(" alarm=" + a.Name)
		}
	}
	return b.String()
}

// readAll reads every entry and session from every node: what the cluster says
// in the end explains requests whose outcome nobody knew.
func (c *cluster) readAll(clients []*client) {
	last := newClient(c, len(clients))
	last.name = "end"
	last.haste, last.patience = time.Minute, time.Minute // a node that was away may have to catch up
	linearizable := raftnode.ReadOptions{Mode: raftnode.Linearizable}
	for _, h := range c.up() {
		for _, key := range last.keys() {
			if _, ok := last.find(h, key, linearizable); !ok {
				c.failf("%s cannot be read on %s in the end", key, h.name)
			}
		}
		for _, id := range last.ids() {
			last.look(h, id, linearizable)
		}
	}
	e, _ := last.find(c.up()[0], tallyKey, linearizable)
	number, _, _ := strings.Cut(e.Location, ":")
	n, _ := strconv.Atoi(number) // "" is 0: it was never raised
	c.checkTally(n, clients)
}

// converge waits until all nodes have applied the same, and compares.
func (c *cluster) converge() {
	deadline := time.Now().Add(healLimit)
	for !c.equalIndexes() {
		if time.Now().After(deadline) {
			c.failf("the nodes did not reach one index within %v", healLimit)
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	first := c.up()[0].life.Load().node.Meta()
	for _, h := range c.up() {
		l := h.life.Load()
		m := l.node.Meta()
		if m.Index == first.Index && (m.Digest != first.Digest || m.Revision != first.Revision || m.LogTime != first.LogTime) {
			c.failf("at index %d %s has digest %v, revision %d, log time %d; %s has %v, %d, %d",
				m.Index, h.name, m.Digest, m.Revision, m.LogTime, c.up()[0].name, first.Digest, first.Revision, first.LogTime)
		}
		for _, a := range l.node.Status().Alarms {
			c.failf("%s has alarm %s in the end: %s", h.name, a.Name, a.Message)
		}
	}
}

func (c *cluster) equalIndexes() bool {
	first := c.up()[0].life.Load().node.Meta().Index
	return !slices.ContainsFunc(c.up(), func(h *host) bool { return h.life.Load().node.Meta().Index != first })
}

// inspect takes the power from a host whose node has closed, opens the state on
// its disk again and reads all of it.
func (h *host) inspect(want fsm.Meta, r *seeded) {
	disk := r.crashClone(h.disk, 0)
	m, err := fsm.Open(stateDir, fsm.Options{FS: disk, CacheBytes: 1 << 20, MemTableBytes: 1 << 20, Fatal: func(err error) { h.cluster.failf("state of %s: %v", h.name, err) }})
	if err != nil {
		h.cluster.failf("the state of %s does not open: %v", h.name, err)
		return
	}
	if have := m.Meta(); have.Index != want.Index || have.Digest != want.Digest {
		h.cluster.failf("after a power failure the state of %s is at index %d with digest %v; it closed at %d with %v", h.name, have.Index, have.Digest, want.Index, want.Digest)
	}
	if wrong := m.Mismatch(); wrong != nil {
		h.cluster.failf("%s has noticed a digest that is not the leader's: %+v", h.name, *wrong)
	}
	report, err := m.Scrub(context.Background(), nil)
	if err == nil && report.Damaged() {
		err = fault.New(fault.Integrity, "digest %v, written was %v", report.Digest, report.Want)
	}
	if err := errors.Join(err, m.Close()); err != nil {
		h.cluster.failf("scrub of %s: %v", h.name, err)
	}
}
