// Package nemesis takes a cluster apart and puts it together again. Which faults,
// when, to whom and how hard follows from a seed; between them lie quiet windows in
// which the cluster must become whole, so that being stuck is noticed as well as
// being wrong. Each fault proves that it was real: one that changed nothing is
// reported as void.
package nemesis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/mcpraft/mcpraft/jepsen/cluster"
	"github.com/mcpraft/mcpraft/jepsen/history"
	"github.com/mcpraft/mcpraft/jepsen/network"
	"github.com/mcpraft/mcpraft/jepsen/workload"
)

// WholeLimit is how long a cluster without faults may take to be whole again. A
// node that joins with an empty disk must be stable for 10 s before it votes.
const WholeLimit = 90 * time.Second

// A Fault is one kind of thing that can be done.
type Fault struct {
	Name  string
	About string // for --help and the report
	needs need
	begin func(n *Nemesis) (*active, error)
}

// need is what a fault cannot be done without.
type need uint8

const (
	needPackets need = 1 << iota // a network that works on packets
	needSmall                    // disks that can be filled
	needClock                    // a binary whose clock can be shifted
	needStrace                   // strace, and the right to attach it
)

// An active fault goes on until it is ended.
type active struct {
	detail string
	hold   time.Duration // how long; 0: as the schedule likes
	// proof shows that it was real; it is asked before the end, again after it if
	// the answer was "".
	proof func() string
	end   func() error // nil: it ends by itself
}

// A Nemesis works on one cluster.
type Nemesis struct {
	ctx      context.Context
	cluster  *cluster.Cluster
	upstream *workload.Upstream
	clock    *history.Clock
	log      *history.Writer
	rng      *rand.Rand
	say      func(format string, args ...any)
	problems []string
	broken   map[string]bool // nodes whose disk or membership an active fault has touched
	Hold     time.Duration   // mean length of a fault
	Quiet    time.Duration   // mean length of the quiet after one
}

// New prepares a nemesis. say tells people what happens.
func New(ctx context.Context, l *cluster.Cluster, u *workload.Upstream, clock *history.Clock, log *history.Writer, seed uint64, say func(string, ...any)) *Nemesis {
	return &Nemesis{
		ctx: ctx, cluster: l, upstream: u, clock: clock, log: log, say: say, broken: make(map[string]bool),
		rng: rand.New(rand.NewPCG(seed, 3)), Hold: 5 * time.Second, Quiet: 4 * time.Second,
	}
}

// Means is what a machine allows.
type Means struct {
	Packets, Small, Clock, Strace bool
}

// Possible is the faults of names (all: every one) that can be done with m, and
// what cannot, with the reason. An unknown name is an error.
func Possible(names []string, m Means) (faults []Fault, left []string, err error) {
	for _, name := range names {
		if name != "all" && !slices.ContainsFunc(All(), func(f Fault) bool { return f.Name == name }) {
			return nil, nil, fmt.Errorf("no fault is called %q: see jepsen faults", name)
		}
	}
	for _, f := range All() {
		if !slices.Contains(names, "all") && !slices.Contains(names, f.Name) {
			continue
		}
		if why := m.lack(f.needs); why != "" {
			left = append(left, f.Name+": "+why)
			continue
		}
		faults = append(faults, f)
	}
	return faults, left, nil
}

func (m Means) lack(n need) string {
	var why []string
	for _, one := range []struct {
		need need
		have bool
		why  string
	}{
		{needPackets, m.Packets, "needs the network of packets (root)"},
		{needSmall, m.Small, "needs small disks (root, --disk)"},
		{needClock, m.Clock, "needs a binary with a clock that can be shifted (--shift-clocks)"},
		{needStrace, m.Strace, "needs strace and the right to attach it"},
	} {
		if n&one.need != 0 && !one.have {
			why = append(why, one.why)
		}
	}
	return strings.Join(why, "; ")
}

// Run does faults until ctx ends or stop says so: each once in an order of its own,
// then again; with pairs, every third time two at once.
func (n *Nemesis) Run(ctx context.Context, faults []Fault, pairs bool) {
	if len(faults) == 0 {
		<-ctx.Done()
		return
	}
	var queue []Fault
	next := func() Fault {
		if len(queue) == 0 {
			queue = slices.Clone(faults)
			n.rng.Shuffle(len(queue), func(i, j int) { queue[i], queue[j] = queue[j], queue[i] })
		}
		f := queue[0]
		queue = queue[1:]
		return f
	}
	n.sleep(ctx, n.Quiet)
	for round := 1; ctx.Err() == nil; round++ {
		batch := []Fault{next()}
		if pairs && round%3 == 0 {
			if other := next(); other.Name != batch[0].Name && !alone(other) && !alone(batch[0]) {
				batch = append(batch, other)
			}
		}
		if !n.Do(ctx, batch) {
			return
		}
		n.sleep(ctx, n.between(n.Quiet/2, n.Quiet*3/2))
	}
}

// alone reports whether f cannot be one of two at a time: a rolling restart waits
// until the cluster is whole after each node.
func alone(f Fault) bool { return f.Name == rollingRestart }

// Do does the faults of a batch, one shortly after the other, ends them in any
// order, waits until the cluster is whole, and writes down what happened. It
// reports whether the cluster was whole again.
func (n *Nemesis) Do(ctx context.Context, batch []Fault) bool {
	type done struct {
		active *active
		record history.Fault
	}
	var all []done
	for _, f := range batch {
		r := history.Fault{Name: f.Name, Began: n.clock.Now()}
		a, err := f.begin(n)
		switch {
		case errors.Is(err, errNotNow):
			n.say("fault %s: cannot be done now", f.Name)
			continue
		case err != nil:
			n.problem("fault %s cannot be begun: %v", f.Name, err)
			continue
		}
		r.Detail = a.detail
		n.say("fault %s: %s", f.Name, a.detail)
		all = append(all, done{a, r})
		if len(batch) > 1 {
			n.sleep(ctx, n.between(0, 1500*time.Millisecond))
		}
	}
	hold := n.between(n.Hold/2, n.Hold*3/2)
	for _, d := range all {
		if d.active.hold > 0 {
			hold = d.active.hold
		}
	}
	if len(all) > 0 {
		n.sleep(ctx, hold)
	}
	n.rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for i := range all {
		d := &all[i]
		d.record.Proof = d.active.proof()
		if d.active.end != nil {
			if err := d.active.end(); err != nil {
				n.problem("fault %s cannot be ended: %v", d.record.Name, err)
			}
		}
		if d.record.Proof == "" {
			d.record.Proof = d.active.proof()
		}
		d.record.Ended, d.record.Void = n.clock.Now(), d.record.Proof == ""
	}
	whole := n.Mend()
	for _, d := range all {
		if whole {
			d.record.Whole = n.clock.Now()
		}
		n.say("  over: %s, %s", d.record.Name, orElse(d.record.Proof, "VOID: nothing shows that it was real"))
		n.log.Add(&d.record)
	}
	return whole
}

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

// Mend waits until the cluster is whole; it is a finding if it does not become so.
func (n *Nemesis) Mend() bool {
	ctx, cancel := context.WithTimeout(n.ctx, WholeLimit)
	defer cancel()
	err := n.cluster.Whole(ctx)
	for _, node := range n.cluster.Nodes() {
		node.Excuse(false)
	}
	clear(n.broken)
	if err != nil && n.ctx.Err() == nil {
		n.problem("%v after the last fault: %v", WholeLimit, err)
	}
	return err == nil
}

func (n *Nemesis) problem(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	n.say("PROBLEM %s", text)
	n.problems = append(n.problems, text)
}

// Problems is what went wrong that no history tells: a cluster that did not become
// whole, a fault that could not be begun or ended. It is called when Run is over.
func (n *Nemesis) Problems() []string { return n.problems }

func (n *Nemesis) sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func (n *Nemesis) between(low, high time.Duration) time.Duration {
	return low + time.Duration(n.rng.Int64N(int64(high-low)+1))
}

func pick[T any](n *Nemesis, from ...T) T { return from[n.rng.IntN(len(from))] }

// some is count nodes of all.
func (n *Nemesis) some(count int) []string {
	names := n.cluster.Names()
	n.rng.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	return names[:count]
}

// others are all nodes but those.
func (n *Nemesis) others(names ...string) []string {
	return slices.DeleteFunc(n.cluster.Names(), func(name string) bool { return slices.Contains(names, name) })
}

// errNotNow is a fault that cannot be done in this state of the cluster.
var errNotNow = errors.New("not now")

// leader is who leads now.
func (n *Nemesis) leader() (*cluster.Node, error) {
	if l := n.cluster.Leader(n.ctx); l != nil {
		return l, nil
	}
	return nil, errNotNow
}

// follower is a running node that does not lead.
func (n *Nemesis) follower() (*cluster.Node, error) {
	l, err := n.leader()
	if err != nil {
		return nil, err
	}
	for _, name := range n.some(len(n.cluster.Nodes())) {
		if node := n.cluster.Node(name); name != l.Name && node.Running() {
			return node, nil
		}
	}
	return nil, errNotNow
}

// sole is a node for a fault that takes a disk or a vote away: never two at a time,
// because together they could hold the only copies of an entry, and never while
// others are down.
func (n *Nemesis) sole() (*cluster.Node, error) {
	for _, node := range n.cluster.Nodes() {
		if !node.Running() || n.broken[node.Name] {
			return nil, errNotNow
		}
	}
	node := n.cluster.Node(n.some(1)[0])
	n.broken[node.Name] = true
	return node, nil
}

// impair puts a condition on links.
func (n *Nemesis) impair(detail string, c network.Condition, links []network.Link) *active {
	i := n.cluster.Network().Weather().Impose(c, links)
	return &active{
		detail: detail,
		proof: func() string {
			if i.Hits() == 0 {
				return ""
			}
			return fmt.Sprintf("%d packets or chunks met it", i.Hits())
		},
		end: func() error { i.Lift(); return nil },
	}
}
