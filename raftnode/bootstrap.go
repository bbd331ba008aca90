package raftnode

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode/peer"
)

const (
	formInterval  = 500 * time.Millisecond // between rounds of hellos while there is no cluster
	meetInterval  = 2 * time.Second        // between looks for members that cannot be reached
	helloTimeout  = 2 * time.Second
	waitingNotice = 10 * time.Second // between log lines that say what is waited for
	joinTimeout   = 15 * time.Second
)

// forming is what a node without a cluster has heard.
type forming struct {
	turn chan struct{} // one token: a round of form, or InitCluster

	mu   sync.Mutex
	join []string             // addresses to ask, Config.Join and those of inviters
	sees map[string]hello     // empty nodes of the newest round, by server id, this one included
	told map[string]time.Time // by address: when complain last said yes
}

func newForming(join []string) *forming {
	return &forming{turn: make(chan struct{}, 1), join: join, told: make(map[string]time.Time)}
}

// begin waits for the turn; end passes it on.
func (f *forming) begin(ctx context.Context) error {
	select {
	case f.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *forming) end() { <-f.turn }

func (f *forming) addresses() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.join)
}

func (f *forming) invited(addr string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !slices.Contains(f.join, addr) && len(f.join) < 2*MaxJoin {
		f.join = append(f.join, addr)
	}
}

// complain reports whether the operator should be told, again, about addr.
// Addresses are those of join and of members, so there are not many.
func (f *forming) complain(addr string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if last, told := f.told[addr]; told && now.Sub(last) < waitingNotice {
		return false
	}
	f.told[addr] = now
	return true
}

func (f *forming) ids() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	ids := make([]string, 0, len(f.sees))
	for id := range f.sees {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// findCluster brings this node into a cluster, new or old, and then keeps in
// touch with members whose addresses have changed, until ctx ends.
//
// A new cluster forms when exactly BootstrapExpect empty nodes of one cluster
// name see each other. The one with the lowest name writes the membership of all
// of them into its log; it alone does, because the raft library lets a node that
// was never bootstrapped vote and receive entries. It then tells the others
// which cluster they belong to. A node that sees an existing cluster joins that
// one, whatever it expected.
func (n *Node) findCluster(ctx context.Context) {
	n.form(ctx)
	for sleep(ctx, meetInterval) == nil {
		n.meetMembers(ctx)
	}
}

// form returns when the node belongs to a cluster.
func (n *Node) form(ctx context.Context) {
	noticed := time.Now().Add(-waitingNotice)
	for n.ident.get().ClusterID.IsZero() && ctx.Err() == nil {
		waiting := n.formOnce(ctx)
		if waiting != "" && time.Since(noticed) >= waitingNotice {
			noticed = time.Now()
			n.log.Info("waiting for a cluster", "reason", waiting)
		}
		if waiting != "" && sleep(ctx, formInterval) != nil {
			return
		}
	}
}

// formOnce does one round and says what is still waited for.
func (n *Node) formOnce(ctx context.Context) (waiting string) {
	if n.forming.begin(ctx) != nil {
		return "this node is stopping"
	}
	defer n.forming.end()
	if !n.ident.get().ClusterID.IsZero() {
		return "" // InitCluster had the turn before
	}
	heard := n.hellos(ctx, n.forming.addresses())
	for _, h := range heard {
		if h.ClusterID.IsZero() {
			continue
		}
		if err := n.join(ctx, h); err != nil {
			return fmt.Sprintf("node %s at %s belongs to the cluster and did not take this node in: %v", h.Node, h.PeerAddr, fault.As(err).Message)
		}
		return ""
	}
	return n.bootstrapOnce(ctx, heard)
}

// bootstrapOnce bootstraps when it is this node's turn.
func (n *Node) bootstrapOnce(ctx context.Context, heard []hello) (waiting string) {
	if n.cfg.BootstrapExpect == 0 {
		return "no member of a cluster was reached and bootstrap_expect is not set: add this node from a member with `mcpraft cluster add`, or begin a cluster here with `mcpraft cluster init`"
	}
	self := n.hello()
	sees := map[string]hello{n.ident.serverID(): self}
	for _, h := range heard {
		if h.Expect != self.Expect {
			return fmt.Sprintf("node %s expects %d nodes, this one %d: make them agree", h.Node, h.Expect, self.Expect)
		}
		if h.Empty {
			sees[serverID(h.Node, h.Disk)] = h
		}
	}
	n.forming.mu.Lock()
	n.forming.sees = sees
	n.forming.mu.Unlock()
	ids := n.forming.ids()
	if len(ids) < self.Expect {
		return fmt.Sprintf("%d of %d empty nodes are here: %s", len(ids), self.Expect, nodeNames(ids))
	}
	if len(ids) > self.Expect {
		return fmt.Sprintf("%d empty nodes see each other, %d are expected: %s", len(ids), self.Expect, nodeNames(ids))
	}
	for id, h := range sees {
		if id != n.ident.serverID() && !slices.Equal(h.Sees, ids) {
			return fmt.Sprintf("node %s does not see all of %s yet", h.Node, nodeNames(ids))
		}
	}
	if first, _, _ := splitServerID(ids[0]); first != self.Node {
		return fmt.Sprintf("node %s forms the cluster of %s", first, nodeNames(ids))
	}
	if err := n.bootstrap(ctx, ids); err != nil {
		return fmt.Sprintf("the cluster was not formed: %v", err)
	}
	return ""
}

func nodeNames(ids []string) string {
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i], _, _ = splitServerID(id)
	}
	return strings.Join(names, ", ")
}

// bootstrap makes ids, server ids in the order of node names, the voters of a
// new cluster. The membership is written first: should this process end before
// the cluster has a name, the next start gives it one.
func (n *Node) bootstrap(ctx context.Context, ids []string) error {
	var c raft.Configuration
	for _, id := range ids {
		c.Servers = append(c.Servers, raft.Server{Suffrage: raft.Voter, ID: raft.ServerID(id), Address: raft.ServerAddress(id)})
	}
	if err := n.await1(ctx, n.raft().BootstrapCluster(c)); err != nil {
		return err
	}
	if err := n.nameCluster(); err != nil {
		return err
	}
	if err := settle(n.raft(), n.cfg.Timing); err != nil { // nobody leads whom it could disturb
		return err
	}
	n.log.Info("formed a new cluster", "cluster_id", n.ident.get().ClusterID, "nodes", nodeNames(ids))
	n.meetMembers(ctx)
	return nil
}

// nameCluster gives the cluster that this node has bootstrapped its id.
func (n *Node) nameCluster() error {
	return n.ident.adopt(newID(), record.Timeline{Number: 1, Salt: newSalt()})
}

func newSalt() uint32 {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.BigEndian.Uint32(b[:])
}

// hello is what this node says of itself.
func (n *Node) hello() hello {
	id := n.ident.get()
	h := hello{
		Node: id.Node, Disk: id.Disk, Cluster: id.Cluster, ClusterID: id.ClusterID, Timeline: id.Timeline,
		PeerAddr: n.cfg.PeerAddr, Expect: n.cfg.BootstrapExpect,
		Empty: n.empty(), Sees: n.forming.ids(),
	}
	for _, s := range n.servers() {
		node, _, _ := splitServerID(string(s.ID))
		h.Servers = append(h.Servers, string(s.ID))
		if node != id.Node {
			h.Known = append(h.Known, n.directory.known([]string{node})...)
		}
	}
	return h
}

// empty reports whether this node holds neither log nor state.
func (n *Node) empty() bool {
	return n.ident.get().ClusterID.IsZero() && n.raft().LastIndex() == 0 && n.fsm.Meta().Index == 0
}

func (n *Node) serveHello(context.Context, peer.From, empty) (hello, error) { return n.hello(), nil }

// hellos asks everyone at addrs, this node itself left out, in the order of
// node names.
func (n *Node) hellos(ctx context.Context, addrs []string) []hello {
	ctx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	var mu sync.Mutex
	var heard []hello
	var wg sync.WaitGroup
	for _, addr := range addrs {
		if addr == n.cfg.PeerAddr {
			continue
		}
		wg.Go(func() {
			h, err := callAddr[hello](ctx, n, addr, opHello, empty{})
			if err != nil {
				n.noHello(addr, err)
				return
			}
			if h.Disk == n.ident.get().Disk {
				return
			}
			h.PeerAddr = addr // where it does answer
			mu.Lock()
			defer mu.Unlock()
			heard = append(heard, h)
		})
	}
	wg.Wait()
	slices.SortFunc(heard, func(a, b hello) int {
		return cmp.Or(strings.Compare(a.Node, b.Node), slices.Compare(a.Disk[:], b.Disk[:]))
	})
	heard = slices.CompactFunc(heard, func(a, b hello) bool { return a.Disk == b.Disk })
	for _, h := range heard {
		n.directory.learn(knownNode{Node: h.Node, Disk: h.Disk, Addr: h.PeerAddr})
	}
	return heard
}

// noHello tells the operator when the node at addr is there and either of the two
// does not want the other: that does not pass by itself.
func (n *Node) noHello(addr string, err error) {
	switch peer.ReasonOf(err) {
	case "", peer.ReasonNetwork, peer.ReasonStopped, peer.ReasonLimit:
		n.log.Debug("no hello", "addr", addr, "error", err)
		return
	}
	if e := fault.As(err); n.forming.complain(addr) {
		n.log.Warn("a node that was reached is not one to talk to", "addr", addr, "reason", e.Message, "hint", e.Hint)
	}
}

// join asks the member that said h to take this node in.
func (n *Node) join(ctx context.Context, h hello) error {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	a, err := callAddr[joinAnswer](ctx, n, h.PeerAddr, opJoin, joinRequest{
		Member: n.memberRecord(), Cluster: n.cfg.Cluster, Replica: n.cfg.Replica,
	})
	if err != nil {
		return err
	}
	for _, k := range a.Known {
		n.directory.learn(k)
	}
	if err := n.ident.adopt(a.ClusterID, a.Timeline); err != nil {
		return err
	}
	n.log.Info("joined the cluster", "cluster_id", a.ClusterID, "by", h.Node)
	return nil
}

// serveJoin takes a node in as a replica; it is promoted later. A node that does
// not lead passes the request on, once.
func (n *Node) serveJoin(ctx context.Context, from peer.From, q joinRequest) (joinAnswer, error) {
	id := n.ident.get()
	switch {
	case id.ClusterID.IsZero():
		return joinAnswer{}, fault.New(fault.Unavailable, "node %s belongs to no cluster itself", id.Node)
	case q.Cluster != id.Cluster:
		return joinAnswer{}, fault.New(fault.Conflict, "this is cluster %s, not %s", id.Cluster, q.Cluster)
	case !q.Forwarded && (q.Member.Node != from.Node || q.Member.Disk != from.Disk):
		return joinAnswer{}, fault.New(fault.Forbidden, "node %s asks for %s: a node joins for itself only", from.Node, q.Member.Node)
	case q.Forwarded && from.ClusterID != id.ClusterID:
		return joinAnswer{}, fault.New(fault.Forbidden, "node %s is no member", from.Node)
	}
	if err := q.Member.Validate(); err != nil {
		return joinAnswer{}, err
	}
	if n.leads() != nil {
		return n.takeIn(ctx, q.Member)
	}
	leader, ok := n.remoteLeader()
	if !ok || q.Forwarded {
		return joinAnswer{}, n.notLeading()
	}
	q.Forwarded = true
	return call[joinAnswer](ctx, n, leader, opJoin, q)
}

// takeIn adds a member without a vote, on the leader.
func (n *Node) takeIn(ctx context.Context, m record.Member) (joinAnswer, error) {
	select {
	case n.changing <- struct{}{}:
		defer func() { <-n.changing }()
	case <-ctx.Done():
		return joinAnswer{}, ctx.Err()
	}
	servers := n.servers()
	id := raft.ServerID(serverID(m.Node, m.Disk))
	if !slices.ContainsFunc(servers, func(s raft.Server) bool { return s.ID == id }) {
		if err := n.addMember(ctx, servers, id, m); err != nil {
			return joinAnswer{}, err
		}
	}
	own := n.ident.get()
	a := joinAnswer{ClusterID: own.ClusterID, Timeline: own.Timeline}
	for _, s := range servers {
		node, _, _ := splitServerID(string(s.ID))
		if node == own.Node {
			a.Known = append(a.Known, knownNode{Node: own.Node, Disk: own.Disk, Addr: n.cfg.PeerAddr})
		} else if node != m.Node {
			a.Known = append(a.Known, n.directory.known([]string{node})...)
		}
	}
	return a, nil
}

func (n *Node) addMember(ctx context.Context, servers []raft.Server, id raft.ServerID, m record.Member) error {
	if len(servers) >= maxMembers {
		return fault.New(fault.Conflict, "the cluster has %d members, the limit is %d", len(servers), maxMembers)
	}
	for _, s := range servers {
		if node, _, _ := splitServerID(string(s.ID)); node != m.Node {
			continue
		}
		if err := n.replaceDisk(ctx, s, m); err != nil {
			return err
		}
	}
	if old, ok := n.member(m.Node); ok && old.Disk != m.Disk {
		if err := n.forget(ctx, old.Node, old.Disk); err != nil {
			return err
		}
	}
	n.directory.learn(knownNode{Node: m.Node, Disk: m.Disk, Addr: m.PeerAddr})
	o, err := n.proposeOwn(ctx, 0, &fsm.PutMember{Member: m})
	if err == nil {
		err = o.Err()
	}
	if err != nil {
		return err
	}
	if err := n.configure(ctx, func(r *raft.Raft, prev uint64) raft.IndexFuture {
		return r.AddNonvoter(id, raft.ServerAddress(id), prev, changeTimeout)
	}); err != nil {
		return err
	}
	n.log.Info("took a node in", "server", id, "addr", m.PeerAddr)
	return nil
}

// replaceDisk makes way for a node that comes back with another disk. Its former
// self must be gone: two live processes never share a name. A former voter stays
// in the configuration until its successor is promoted, so that the number of
// voters does not shrink on the way; a former replica is removed at once.
func (n *Node) replaceDisk(ctx context.Context, former raft.Server, m record.Member) error {
	_, disk, _ := splitServerID(string(former.ID))
	if string(former.ID) == n.ident.serverID() {
		return fault.New(fault.Conflict, "node %s is the name of the leader itself", m.Node).WithHint("give each node a name of its own")
	}
	try, cancel := context.WithTimeout(ctx, reportTimeout)
	_, err := n.reportOf(try, string(former.ID))
	cancel()
	if err == nil {
		return fault.New(fault.Conflict, "node %s runs already, on disk %s", m.Node, disk.Short()).
			WithHint("give each node a name of its own, or stop the other process")
	}
	if former.Suffrage != raft.Voter {
		if err := n.removeServer(ctx, former); err != nil {
			return err
		}
	}
	return nil
}

// meetMembers looks for members that cannot be reached where they are thought to
// be, tells members that have not heard it which cluster they belong to, and
// notices when this node is a member no more.
func (n *Node) meetMembers(ctx context.Context) {
	if len(n.servers()) > 0 && !n.isMember() {
		n.alarms.raise(AlarmRemoved, "this node was removed from the cluster; to bring it back, move its data directory away and start it again")
	} else {
		n.alarms.clear(AlarmRemoved)
	}
	addrs := n.unmet()
	if len(addrs) == 0 {
		return
	}
	id := n.ident.get()
	self := n.ident.serverID()
	for _, h := range n.hellos(ctx, addrs) {
		switch {
		case h.ClusterID.IsZero() && n.hasServer(serverID(h.Node, h.Disk)):
			n.tellCluster(ctx, h)
		case h.ClusterID == id.ClusterID && len(h.Servers) > 0 && !slices.Contains(h.Servers, self):
			n.log.Debug("a member does not count this node in", "member", h.Node)
		}
		for _, k := range h.Known {
			if _, _, ok := n.directory.resolve(k.Node); !ok {
				n.directory.learn(k)
			}
		}
	}
}

// tellCluster makes the node that said h, a server of our configuration, one of
// the cluster.
func (n *Node) tellCluster(ctx context.Context, h hello) {
	ctx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	own := n.hello()
	q := adoptRequest{ClusterID: own.ClusterID, Timeline: own.Timeline, Known: own.Known}
	q.Known = append(q.Known, knownNode{Node: own.Node, Disk: own.Disk, Addr: own.PeerAddr})
	if _, err := callAddr[empty](ctx, n, h.PeerAddr, opAdopt, q); err != nil {
		n.log.Warn("a node was not told of its cluster", "node", h.Node, "error", err)
	}
}

func (n *Node) serveAdopt(_ context.Context, from peer.From, q adoptRequest) (empty, error) {
	if from.ClusterID.IsZero() || from.ClusterID != q.ClusterID || q.Timeline.IsZero() {
		return empty{}, fault.New(fault.Forbidden, "node %s does not belong to cluster %s itself", from.Node, q.ClusterID.Short())
	}
	if n.ident.get().ClusterID.IsZero() && !n.empty() {
		return empty{}, fault.New(fault.Conflict, "node %s has formed a cluster of its own", n.cfg.Node)
	}
	for _, k := range q.Known {
		n.directory.learn(k)
	}
	if err := n.ident.adopt(q.ClusterID, q.Timeline); err != nil {
		return empty{}, err
	}
	n.log.Info("belongs to a cluster now", "cluster_id", q.ClusterID, "by", from.Node)
	return empty{}, nil
}

// Invite asks the node at addr, which must belong to no cluster, to join this
// one, and returns its name. It joins by itself, without a vote, and is promoted
// when it has been caught up for a while.
func (n *Node) Invite(ctx context.Context, addr string) (node string, err error) {
	ctx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	h, err := callAddr[hello](ctx, n, addr, opInvite, inviteRequest{Addr: n.cfg.PeerAddr})
	return h.Node, err
}

func (n *Node) serveInvite(_ context.Context, from peer.From, q inviteRequest) (hello, error) {
	own := n.ident.get()
	switch {
	case from.ClusterID.IsZero():
		return hello{}, fault.New(fault.Forbidden, "node %s belongs to no cluster itself", from.Node)
	case own.ClusterID == from.ClusterID:
		return n.hello(), nil
	case !n.empty():
		return hello{}, foreignCluster(own, from.ClusterID, record.Timeline{})
	}
	n.forming.invited(q.Addr)
	return n.hello(), nil
}

func (n *Node) hasServer(id string) bool {
	return slices.ContainsFunc(n.servers(), func(s raft.Server) bool { return string(s.ID) == id })
}

// isMember reports whether this node's disk is in the latest configuration.
func (n *Node) isMember() bool { return n.hasServer(n.ident.serverID()) }

// unmet is where members may be that this node needs and is not connected to: a
// leader needs all of them, others need the leader.
func (n *Node) unmet() []string {
	up := make(map[string]string) // addresses of connected nodes
	for _, s := range n.port.Peers() {
		if s.Connected {
			up[s.Node] = s.Addr
		}
	}
	var addrs []string
	missing := false
	leader, _, known := n.Leader()
	for _, s := range n.servers() {
		node, _, _ := splitServerID(string(s.ID))
		if node == n.cfg.Node || up[node] != "" || known && leader != n.cfg.Node && leader != node {
			continue
		}
		missing = true
		if addr, _, ok := n.directory.resolve(node); ok {
			addrs = append(addrs, addr)
		}
	}
	if !missing && n.isMember() {
		return nil
	}
	for _, addr := range n.forming.addresses() {
		if !slices.Contains(addrs, addr) && !slices.Contains(slices.Collect(maps.Values(up)), addr) {
			addrs = append(addrs, addr)
		}
	}
	return addrs
}
