package placement_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode"
	"github.com/mcpraft/mcpraft/raftnode/peer"
	"github.com/mcpraft/mcpraft/server/placement"
)

// A cluster is one without Raft: a log that every node which is not cut off
// applies, a leader that the test chooses, and calls that are functions. It is made
// inside a bubble.
type cluster struct {
	t *testing.T

	mu     sync.Mutex
	log    []fsm.Entry
	truth  *fsm.Machine
	nodes  []*node
	leader *node
	term   uint64
}

// A node is one of its nodes.
type node struct {
	*placement.Placement
	c        *cluster
	name     string
	process  record.ID
	machine  *fsm.Machine
	watchers []func([]fsm.Change)
	handlers map[uint16]peer.Handler
	duty     func(context.Context, raftnode.Term) error
	stepDown context.CancelFunc
	stop     context.CancelFunc

	// cluster.mu guards these.
	cut     bool // from all others
	applied int
}

var actor = record.Principal{Issuer: "node", Subject: "test"}

func newCluster(t *testing.T, names ...string) *cluster {
	c := &cluster{t: t}
	c.truth = c.open("truth", nil)
	c.append(0, &fsm.EpochStart{Node: "truth", Process: record.ID{1}, Supports: fsm.MaxVersion})
	c.append(0, &fsm.InitCluster{ID: record.ID{2}, Name: "test", Timeline: record.Timeline{Number: 1, Salt: 7}})
	for i, name := range names {
		c.start(name, byte(i+1), "files")
	}
	c.lead(c.nodes[0])
	return c
}

func (c *cluster) open(dir string, changed func([]fsm.Change)) *fsm.Machine {
	m, err := fsm.Open(dir, fsm.Options{FS: vfs.NewMem(), Fatal: func(err error) { c.t.Error(err) }, Changed: changed})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = m.Close() })
	return m
}

// start starts a process of a node that offers commands.
func (c *cluster) start(name string, disk byte, commands ...string) *node {
	n := &node{c: c, name: name, process: record.ID{disk, byte(len(c.log))}, handlers: make(map[uint16]peer.Handler)}
	n.machine = c.open(name, func(changes []fsm.Change) {
		for _, watch := range n.watchers {
			watch(changes)
		}
	})
	n.Placement = placement.New(placement.Config{Node: n, Self: name, Process: n.process, Actor: actor})
	c.mu.Lock()
	c.nodes = append(slices.DeleteFunc(c.nodes, func(old *node) bool { return old.name == name }), n)
	c.mu.Unlock()
	c.append(0, &fsm.PutMember{Member: record.Member{
		Node: name, Disk: record.ID{disk}, Process: n.process, PeerAddr: name + ":1", Supports: fsm.MaxVersion, Commands: commands,
	}})
	ctx, stop := context.WithCancel(c.t.Context())
	n.stop = stop
	go n.Run(ctx)
	return n
}

// lead makes n the leader of a new term.
func (c *cluster) lead(n *node) {
	c.mu.Lock()
	old := c.leader
	c.leader = n
	c.term++
	term := c.term
	c.mu.Unlock()
	if old != nil {
		old.stepDown()
	}
	ctx, cancel := context.WithCancel(c.t.Context())
	n.stepDown = cancel
	go n.duty(ctx, raftnode.Term(term))
}

func (c *cluster) append(term uint64, command fsm.Command) fsm.Outcome {
	encoded, err := fsm.EncodeProposal(&fsm.Proposal{Actor: actor, Command: command})
	if err != nil {
		c.t.Fatal(err)
	}
	data, err := fsm.AppendEnvelope(record.LogTimeAt(time.Now()), [][]byte{encoded})
	if err != nil {
		c.t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if term != 0 && term != c.term {
		return fsm.Outcome{Kind: fault.Fenced, Message: "another term"}
	}
	e := fsm.Entry{Index: uint64(len(c.log) + 1), Term: 1, Data: data}
	c.log = append(c.log, e)
	results, err := c.truth.Apply([]fsm.Entry{e})
	if err != nil {
		c.t.Fatal(err)
	}
	for _, n := range c.nodes {
		n.catchUp()
	}
	return results[0][0]
}

// catchUp is called with the cluster's mu held.
func (n *node) catchUp() {
	if n.cut || n.applied == len(n.c.log) {
		return
	}
	if _, err := n.machine.Apply(n.c.log[n.applied:]); err != nil {
		n.c.t.Error(err)
	}
	n.applied = len(n.c.log)
}

// sever cuts n off, or joins it again.
func (n *node) sever(cut bool) {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	n.cut = cut
	n.catchUp()
}

func (n *node) isCut() bool {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	return n.cut
}

func (n *node) Read(_ context.Context, o raftnode.ReadOptions) (*fsm.View, raftnode.ReadInfo, error) {
	n.c.mu.Lock()
	behind := n.applied < int(o.MinIndex)
	lost := o.Mode == raftnode.Linearizable && (n.cut || n.c.leader.cut)
	n.c.mu.Unlock()
	if behind || lost {
		return nil, raftnode.ReadInfo{}, fault.New(fault.Stale, "not there")
	}
	view, err := n.machine.View()
	return view, raftnode.ReadInfo{}, err
}

func (n *node) Propose(_ context.Context, r raftnode.Request) (raftnode.Receipt, error) {
	if n.isCut() {
		return raftnode.Receipt{}, fault.New(fault.NoLeader, "no leader")
	}
	return raftnode.Receipt{Outcome: n.c.append(r.Term, r.Command)}, nil
}

func (n *node) Watch(watch func([]fsm.Change))   { n.watchers = append(n.watchers, watch) }
func (n *node) Handle(op uint16, h peer.Handler) { n.handlers[op] = h }

func (n *node) Duty(_ string, run func(context.Context, raftnode.Term) error) { n.duty = run }

func (n *node) Leader() (string, string, bool) {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	return n.c.leader.name, "", true
}

func (n *node) Call(ctx context.Context, to string, op uint16, body []byte) ([]byte, error) {
	n.c.mu.Lock()
	i := slices.IndexFunc(n.c.nodes, func(other *node) bool { return other.name == to })
	other := n.c.nodes[i]
	cut := n.cut || other.cut
	n.c.mu.Unlock()
	if cut {
		return nil, fault.New(fault.Unreachable, "no connection to %s", to)
	}
	return other.handlers[op](ctx, peer.From{Node: n.name, Process: n.process}, body)
}

// find is Find with a limit of time.
func (n *node) find(name string, limit int) (record.Claim, error) {
	ctx, cancel := context.WithTimeout(n.c.t.Context(), 20*time.Second)
	defer cancel()
	return n.Find(ctx, name, "files", limit)
}

// holders are the nodes that believe to hold a claim at this moment.
func (c *cluster) holders(name string) (holders []string) {
	for _, n := range c.nodes {
		if _, ok := n.Held(name); ok {
			holders = append(holders, n.name)
		}
	}
	return holders
}

func (c *cluster) node(name string) *node {
	return c.nodes[slices.IndexFunc(c.nodes, func(n *node) bool { return n.name == name })]
}

// settle lets the nodes get their leases.
func settle() {
	time.Sleep(2 * time.Second)
	synctest.Wait()
}

const child = "stdio/mem/0"

// newUpstream registers what the claims of the tests belong to.
func (c *cluster) newUpstream() {
	u := record.Upstream{Alias: "mem", Transport: record.TransportStdio, Command: "files"}
	if o := c.append(0, &fsm.PutUpstream{Upstream: u}); o.Kind != 0 {
		c.t.Fatal(o.Err())
	}
}

func TestAllNodesFindTheSameHolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "n1", "n2", "n3")
		c.newUpstream()
		settle()
		first, err := c.nodes[1].find(child, 1)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range c.nodes {
			if claim, err := n.find(child, 1); err != nil || claim.Token != first.Token {
				t.Errorf("%s found %+v, %v", n.name, claim, err)
			}
		}
		if got := c.holders(child); !slices.Equal(got, []string{first.Node}) {
			t.Errorf("held by %v, given to %s", got, first.Node)
		}
	})
}

// However a holder is cut off, leader or not, nobody else holds its claim before
// it has noticed, and somebody does soon after.
func TestClaimOfALostNodeHasNeverTwoHolders(t *testing.T) {
	for _, leads := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(t, "n1", "n2", "n3")
			c.newUpstream()
			settle()
			claim, err := c.nodes[0].find(child, 1)
			if err != nil {
				t.Fatal(err)
			}
			owner := c.node(claim.Node)
			others := slices.DeleteFunc(slices.Clone(c.nodes), func(n *node) bool { return n == owner })
			c.lead(others[0])
			if leads {
				c.lead(owner)
			}
			settle()
			owner.sever(true)
			c.lead(others[1])
			cut := time.Now()
			var ended, begun time.Duration
			for time.Since(cut) < 15*time.Second {
				holders := c.holders(child)
				if len(holders) > 1 {
					t.Fatalf("after %v: held by %v", time.Since(cut), holders)
				}
				if ended == 0 && !slices.Contains(holders, owner.name) {
					ended = time.Since(cut)
				}
				if begun == 0 && len(holders) == 1 && holders[0] != owner.name {
					begun = time.Since(cut)
				}
				time.Sleep(10 * time.Millisecond)
			}
			if ended == 0 || ended > placement.Lease {
				t.Errorf("it held the claim for %v", ended)
			}
			if begun < 2*placement.Lease-time.Second || begun > 3*placement.Lease {
				t.Errorf("somebody else held it after %v", begun)
			}
			owner.sever(false)
			settle()
			if holders := c.holders(child); len(holders) != 1 || holders[0] == owner.name {
				t.Errorf("when it is back: held by %v", holders)
			}
		})
	}
}

func TestHolderThatIsBackInTimeKeepsItsClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "n1", "n2", "n3")
		c.newUpstream()
		settle()
		claim, err := c.nodes[0].find(child, 1)
		if err != nil {
			t.Fatal(err)
		}
		owner := c.node(claim.Node)
		c.lead(c.nodes[(slices.Index(c.nodes, owner)+1)%3])
		settle()
		owner.sever(true)
		time.Sleep(placement.Lease + time.Second)
		if holders := c.holders(child); len(holders) != 0 {
			t.Errorf("without a lease: held by %v", holders)
		}
		owner.sever(false)
		settle()
		if token, ok := owner.Held(child); !ok || token != claim.Token {
			t.Errorf("it holds %d, %v; it had %d", token, ok, claim.Token)
		}
	})
}

func TestNodeThatWasStartedAgainGetsAnotherToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "n1")
		c.newUpstream()
		settle()
		before, err := c.nodes[0].find(child, 1)
		if err != nil {
			t.Fatal(err)
		}
		c.nodes[0].stop()
		c.nodes[0].stepDown()
		n := c.start("n1", 1, "files")
		c.lead(n)
		settle()
		after, err := n.find(child, 1)
		if err != nil || after.Token <= before.Token || after.Process != n.process {
			t.Errorf("got %+v, %v; before it was %+v", after, err, before)
		}
		if token, ok := n.Held(child); !ok || token != after.Token {
			t.Errorf("it holds %d, %v", token, ok)
		}
	})
}

func TestUpstreamHasNoMoreChildrenThanItsLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "n1", "n2", "n3")
		settle()
		load := make(map[string]int)
		for _, slot := range []string{"sa", "sb", "sc"} {
			claim, err := c.nodes[0].find(record.ChildClaim("mem", slot), 3)
			if err != nil {
				t.Fatal(err)
			}
			load[claim.Node]++
		}
		if len(load) != 3 {
			t.Errorf("three children are on %v", load)
		}
		if _, err := c.nodes[0].find(record.ChildClaim("mem", "sd"), 3); fault.Of(err) != fault.Overloaded {
			t.Errorf("a fourth: %v", err)
		}
		if _, err := c.nodes[1].find(record.ChildClaim("other", "sd"), 3); err != nil {
			t.Errorf("of another upstream: %v", err)
		}
	})
}

func TestMovedClaimGoesToAnotherNodeThatHasTheCommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "n1", "n2")
		c.start("n3", 3) // has no command
		settle()
		claim, err := c.nodes[0].find(child, 1)
		if err != nil {
			t.Fatal(err)
		}
		owner := c.node(claim.Node)
		if err := owner.Move(t.Context(), child, claim.Token, "files"); err != nil {
			t.Fatal(err)
		}
		moved, err := owner.find(child, 1)
		if err != nil || moved.Node == claim.Node || moved.Node == "n3" {
			t.Errorf("moved to %+v, %v", moved, err)
		}
		c.node(claim.Node).Leave()
		settle()
		if err := c.node(moved.Node).Move(t.Context(), child, moved.Token, "files"); fault.Of(err) != fault.Unavailable {
			t.Errorf("to a node that is about to stop: %v", err)
		}
	})
}

func TestCommandThatNoNodeHasIsRefusedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "n1")
		settle()
		begun := time.Now()
		_, err := c.nodes[0].Find(t.Context(), child, "elsewhere", 1)
		if fault.Of(err) != fault.Unsupported || time.Since(begun) > time.Second {
			t.Errorf("after %v: %v", time.Since(begun), err)
		}
	})
}
