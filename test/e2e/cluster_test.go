package e2e

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/seal"
	"github.com/mcpraft/mcpraft/raftnode/peer"
	"github.com/mcpraft/mcpraft/server/adminapi"
)

// A Cluster is some nodes of one name, each a process.
type Cluster struct {
	t     *testing.T
	name  string
	dir   string
	token string
	ca    *peer.CA
	nodes []*Node

	settings []string // KEY=VALUE, over the configuration of every node
}

// A Node is a place for one process: configuration, addresses, data.
type Node struct {
	*Process // nil before the first start
	id       string
	dir      string // configuration, certificate, and data below data/
	mcp      string // host:port, as the others
	admin    string
	peer     string
}

// NewCluster prepares n nodes and starts none.
func NewCluster(t *testing.T, name string, n int) *Cluster {
	t.Helper()
	ca, err := peer.MakeCA(name)
	if err != nil {
		t.Fatal(err)
	}
	c := &Cluster{t: t, name: name, dir: t.TempDir(), token: "e2e_" + rand.Text() + rand.Text(), ca: ca}
	key, err := seal.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	c.write("token", c.token)
	c.write("keys", string(seal.FormatKeys(key)))
	c.write("ca.crt", string(ca.Pair().Cert))
	ports := freePorts(t, 3*n)
	for i := range n {
		c.nodes = append(c.nodes, c.prepare(fmt.Sprintf("n%d", i+1), ports[3*i:]))
	}
	for _, node := range c.nodes {
		c.configure(node, n, 0)
	}
	return c
}

// StartCluster starts n nodes and waits for a leader.
func StartCluster(t *testing.T, n int) *Cluster {
	t.Helper()
	c := NewCluster(t, "e2e", n)
	c.StartAll()
	return c
}

// StartAll starts every node and waits for a leader.
func (c *Cluster) StartAll() {
	c.t.Helper()
	for i := range c.nodes {
		c.Start(i)
	}
	c.Leader()
}

// nextPort is where the search for a free port goes on. It begins below the range
// from which the kernel takes ports for outgoing connections: one of those would
// be free now and taken when its node starts.
var nextPort atomic.Int32

const firstPort, lastPort = 20_000, 32_000

// freePorts are addresses on loopback whose ports are free, each another one in
// the whole run.
func freePorts(t *testing.T, n int) []string {
	t.Helper()
	var addrs []string
	for len(addrs) < n {
		port := firstPort + int(nextPort.Add(1))
		if port > lastPort {
			t.Fatal("no free ports are left")
		}
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		addrs = append(addrs, l.Addr().String())
		l.Close()
	}
	return addrs
}

func (c *Cluster) write(name, text string) {
	c.t.Helper()
	path := filepath.Join(c.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
}

func (c *Cluster) prepare(id string, ports []string) *Node {
	return &Node{id: id, dir: filepath.Join(c.dir, id), mcp: ports[0], admin: ports[1], peer: ports[2]}
}

// configure writes the files of a node. expect is bootstrap_expect; validity is
// that of its certificate, 0 for a long time.
func (c *Cluster) configure(n *Node, expect int, validity time.Duration) {
	c.t.Helper()
	pair, err := c.ca.Issue(n.id, []string{"127.0.0.1"}, validity)
	if err != nil {
		c.t.Fatal(err)
	}
	rel, err := filepath.Rel(c.dir, n.dir)
	if err != nil {
		c.t.Fatal(err)
	}
	c.write(filepath.Join(rel, "node.crt"), string(pair.Cert))
	c.write(filepath.Join(rel, "node.key"), string(pair.Key))
	var join strings.Builder
	for _, other := range c.nodes {
		fmt.Fprintf(&join, "\n    - %s", other.peer)
	}
	c.write(filepath.Join(rel, "node.yaml"), fmt.Sprintf(`version: 1
node: {name: %s, data_dir: %s}
listen:
  mcp: {addr: "%s"}
  admin: {addr: "%s"}
  peer: {addr: "%s", tls: peer}
tls:
  profiles:
    peer: {cert_file: %s, key_file: %s, ca_file: %s}
cluster:
  name: %s
  bootstrap_expect: %d
  join:%s
auth: {bootstrap_token_file: %s, key_file: %s}
upstreams: {allow_private: true}
storage: {cache: 16MiB, memtable: 4MiB}
log: {level: info, format: text}
shutdown: {drain: 2s}
`, n.id, n.data(), n.mcp, n.admin, n.peer,
		filepath.Join(n.dir, "node.crt"), filepath.Join(n.dir, "node.key"), filepath.Join(c.dir, "ca.crt"),
		c.name, expect, join.String(), filepath.Join(c.dir, "token"), filepath.Join(c.dir, "keys")))
}

// mcp are the addresses at which MCP clients reach the nodes.
func (c *Cluster) mcp() []string {
	var addrs []string
	for _, n := range c.nodes {
		addrs = append(addrs, n.mcp)
	}
	return addrs
}

func (n *Node) data() string { return filepath.Join(n.dir, "data") }

func (n *Node) config() string { return filepath.Join(n.dir, "node.yaml") }

// Start starts node i, which does not run.
func (c *Cluster) Start(i int) {
	c.t.Helper()
	c.launch(c.nodes[i])
}

func (c *Cluster) launch(n *Node) {
	c.t.Helper()
	args := []string{"server", "--config", n.config()}
	for _, setting := range c.settings {
		args = append(args, "--set", setting)
	}
	n.Process = start(c.t, n.id, c.dir, args...)
}

// Restart kills node i, if it runs, and starts it.
func (c *Cluster) Restart(i int) {
	c.t.Helper()
	c.nodes[i].Kill()
	c.Start(i)
}

// Wipe takes the data of node i, which does not run.
func (c *Cluster) Wipe(i int) {
	c.t.Helper()
	if err := os.RemoveAll(c.nodes[i].data()); err != nil {
		c.t.Fatal(err)
	}
}

// index is the place of a node in the list.
func (c *Cluster) index(id string) int {
	for i, n := range c.nodes {
		if n.id == id {
			return i
		}
	}
	c.t.Fatalf("there is no node %q", id)
	return -1
}

// Status is what node i says of itself.
func (c *Cluster) Status(i int) adminapi.Status {
	c.t.Helper()
	s, _, err := c.Client(i).Status(c.t.Context(), &adminapi.StatusRequest{})
	if err != nil {
		c.t.Fatal(err)
	}
	return s
}

// Leader waits until a linearizable read says who leads, and returns its place.
func (c *Cluster) Leader() int {
	c.t.Helper()
	client := c.Client()
	leader := ""
	eventually(c.t, "a leader", func() bool {
		ctx, cancel := context.WithTimeout(c.t.Context(), 2*time.Second)
		defer cancel()
		l, _, err := client.Leader(ctx, &adminapi.LeaderRequest{ReadOptions: adminapi.ReadOptions{Consistency: adminapi.Linearizable}})
		leader = l.Node
		return err == nil && leader != ""
	})
	return c.index(leader)
}

// Ready waits until node i says that it should be given traffic.
func (c *Cluster) Ready(i int) {
	c.t.Helper()
	client := c.Client(i)
	eventually(c.t, c.nodes[i].id+" is ready", func() bool {
		health, err := client.Health(c.t.Context(), adminapi.Readyz)
		return err == nil && health.Status == "ok"
	})
}

// Client is a client of the nodes at these places, or of all.
func (c *Cluster) Client(of ...int) *adminapi.Client {
	c.t.Helper()
	var addrs []string
	for i, n := range c.nodes {
		if len(of) == 0 {
			addrs = append(addrs, n.admin)
			continue
		}
		for _, wanted := range of {
			if wanted == i {
				addrs = append(addrs, n.admin)
			}
		}
	}
	client, err := adminapi.New(adminapi.Config{Addrs: addrs, Token: c.token, Timeout: 5 * time.Second})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(client.Close)
	return client
}

// Run runs a command against the nodes of the cluster.
func (c *Cluster) Run(args ...string) (stdout, stderr string, code int) {
	c.t.Helper()
	var addrs []string
	for _, n := range c.nodes {
		addrs = append(addrs, n.admin)
	}
	return mcpraft(c.t, c.dir, append([]string{"--addr", strings.Join(addrs, ","), "--token", c.token}, args...)...)
}

// Register registers a tool, and tries again until there is an answer.
func (c *Cluster) Register(key, location string) {
	c.t.Helper()
	client := c.Client()
	once := adminapi.WriteOptions{IdempotencyKey: rand.Text()}
	eventually(c.t, "registering "+key, func() bool {
		_, _, err := client.Register(c.t.Context(), &adminapi.RegisterRequest{
			WriteOptions: once, Type: "tool", Key: key, EntrySpec: adminapi.EntrySpec{Location: location},
		})
		if err != nil && !unsettled(err) {
			c.t.Fatalf("registering %s: %v", key, err)
		}
		return err == nil
	})
}

// Location reads where a tool is, at one node, as all acknowledged writes left it.
func (c *Cluster) Location(i int, key string) string {
	c.t.Helper()
	client := c.Client(i)
	var e adminapi.Entry
	eventually(c.t, "reading "+key+" at "+c.nodes[i].id, func() bool {
		var err error
		e, _, err = client.WhereIs(c.t.Context(), &adminapi.WhereIsRequest{Type: "tool", Key: key})
		if err != nil && !unsettled(err) {
			c.t.Fatalf("reading %s: %v", key, err)
		}
		return err == nil
	})
	return e.Location
}

// unsettled reports whether err leaves open what became of a request that may be
// sent again: because it is a read, or carries an Idempotency-Key.
func unsettled(err error) bool {
	switch fault.Of(err) {
	case fault.Unreachable, fault.NoLeader, fault.Unavailable, fault.Timeout, fault.OutcomeUnknown, fault.Overloaded, fault.Stale:
		return true
	}
	return false
}

// Member waits until the member of that name is as wanted.
func (c *Cluster) Member(id, what string, want func(adminapi.Member) bool) adminapi.Member {
	c.t.Helper()
	client := c.Client()
	var found adminapi.Member
	eventually(c.t, id+" is "+what, func() bool {
		list, _, err := client.Members(c.t.Context(), &adminapi.MembersRequest{})
		for _, m := range list.Items {
			if m.Node == id && err == nil && want(m) {
				found = m
				return true
			}
		}
		return false
	})
	return found
}

// SameDigest waits until the nodes have applied the same index, and fails the
// test unless their states have one hash there.
func (c *Cluster) SameDigest(nodes ...int) {
	c.t.Helper()
	var clients []*adminapi.Client
	for _, i := range nodes {
		clients = append(clients, c.Client(i))
	}
	var digests []adminapi.Digest
	eventually(c.t, "one index on all nodes", func() bool {
		digests = digests[:0]
		for _, client := range clients {
			d, _, err := client.Digest(c.t.Context(), &adminapi.DigestRequest{})
			if err != nil {
				return false
			}
			digests = append(digests, d)
		}
		for _, d := range digests {
			if d.Index != digests[0].Index {
				return false
			}
		}
		return true
	})
	for _, d := range digests {
		if d.Digest != digests[0].Digest {
			c.t.Errorf("at index %d %s has digest %s, %s has %s", d.Index, d.Node, d.Digest, digests[0].Node, digests[0].Digest)
		}
	}
}
