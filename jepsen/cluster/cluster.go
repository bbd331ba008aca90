// Package cluster lays out the nodes under test: real processes of the real
// binary, each with a configuration, a certificate and a disk of its own, on a
// network that can be broken. It knows how to start, kill, pause, wipe and damage
// them, and how to tell when all is well again; when to do so is the nemesis's
// affair.
package cluster

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mcpraft/mcpraft/internal/seal"
	"github.com/mcpraft/mcpraft/jepsen/network"
	"github.com/mcpraft/mcpraft/raftnode/peer"
	"github.com/mcpraft/mcpraft/server/adminapi"
)

// name of every cluster under test.
const name = "jepsen"

// Config says what to lay out.
type Config struct {
	Nodes    int
	Dir      string // everything is below it; logs/ is worth keeping
	Binary   string
	Network  network.Network
	DiskSize int64             // of each node, in bytes, on a tmpfs; 0: a folder
	Settings map[string]string // KEY=VALUE over the configuration of every node
}

// A Cluster is some nodes.
type Cluster struct {
	c     Config
	token string
	ca    *peer.CA
	nodes []*Node
}

// New prepares the nodes and starts none.
func New(c Config) (*Cluster, error) {
	ca, err := peer.MakeCA(name)
	if err != nil {
		return nil, err
	}
	key, err := seal.NewKey()
	if err != nil {
		return nil, err
	}
	l := &Cluster{c: c, token: "jepsen_" + rand.Text() + rand.Text(), ca: ca}
	for file, text := range map[string]string{"token": l.token, "keys": string(seal.FormatKeys(key)), "ca.crt": string(ca.Pair().Cert)} {
		if err := l.write(text, file); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(filepath.Join(c.Dir, "logs"), 0o755); err != nil {
		return nil, err
	}
	for i := range c.Nodes {
		n, err := l.prepare(fmt.Sprintf("n%d", i+1))
		if err != nil {
			return nil, err
		}
		l.nodes = append(l.nodes, n)
	}
	for _, n := range l.nodes {
		if err := l.configure(n); err != nil {
			return nil, err
		}
	}
	return l, nil
}

func (l *Cluster) write(text string, path ...string) error {
	full := filepath.Join(append([]string{l.c.Dir}, path...)...)
	if err := os.MkdirAll(filepath.Dir(full), 0o700); err != nil {
		return err
	}
	return os.WriteFile(full, []byte(text), 0o600)
}

func (l *Cluster) prepare(id string) (*Node, error) {
	n := &Node{cluster: l, Name: id, dir: filepath.Join(l.c.Dir, id)}
	var err error
	if n.Address, err = l.c.Network.Join(id); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(n.Disk(), 0o700); err != nil {
		return nil, err
	}
	if l.c.DiskSize > 0 {
		if err := mountSmall(n.Disk(), l.c.DiskSize); err != nil {
			return nil, fmt.Errorf("a disk of %d bytes for %s: %w", l.c.DiskSize, id, err)
		}
	}
	if err := n.makeClock(); err != nil {
		return nil, err
	}
	n.client, err = adminapi.New(adminapi.Config{Addrs: []string{n.Admin}, Token: l.token, Timeout: 10 * time.Second})
	return n, err
}

// configure writes the files of a node.
func (l *Cluster) configure(n *Node) error {
	host, _, _ := strings.Cut(n.Peer, ":")
	pair, err := l.ca.Issue(n.Name, []string{host}, 0)
	if err != nil {
		return err
	}
	var join strings.Builder
	for _, other := range l.nodes {
		fmt.Fprintf(&join, "\n    - %s", other.Advertise)
	}
	at := func(name string) string { return filepath.Join(l.c.Dir, name) }
	config := fmt.Sprintf(`version: 1
node: {name: %s, data_dir: %s}
listen:
  mcp: {addr: "%s", tls: off}
  admin: {addr: "%s", tls: off}
  peer: {addr: "%s", advertise: "%s", tls: peer}
tls:
  profiles:
    peer: {cert_file: %s, key_file: %s, ca_file: %s}
cluster:
  name: %s
  bootstrap_expect: %d
  join:%s
auth: {bootstrap_token_file: %s, key_file: %s}
upstreams: {allow_private: true}
sessions: {max_per_principal: 100000}
storage: {cache: 16MiB, memtable: 4MiB, ballast: 16MiB}
log: {level: info, format: text}
shutdown: {drain: 2s}
`, n.Name, n.Data(), n.MCP, n.Admin, n.Peer, n.Advertise,
		filepath.Join(n.dir, "node.crt"), filepath.Join(n.dir, "node.key"), at("ca.crt"),
		name, l.c.Nodes, join.String(), at("token"), at("keys"))
	for file, text := range map[string]string{"node.crt": string(pair.Cert), "node.key": string(pair.Key), "node.yaml": config} {
		if err := l.write(text, n.Name, file); err != nil {
			return err
		}
	}
	return nil
}

// Nodes are all of them.
func (l *Cluster) Nodes() []*Node { return l.nodes }

// Names are those of all nodes.
func (l *Cluster) Names() []string {
	var names []string
	for _, n := range l.nodes {
		names = append(names, n.Name)
	}
	return names
}

// Node is the one of a name.
func (l *Cluster) Node(name string) *Node {
	return l.nodes[slices.IndexFunc(l.nodes, func(n *Node) bool { return n.Name == name })]
}

// Token is the administrator's.
func (l *Cluster) Token() string { return l.token }

// Network is what joins the nodes.
func (l *Cluster) Network() network.Network { return l.c.Network }

// Start starts every node and waits until the cluster is whole.
func (l *Cluster) Start(ctx context.Context) error {
	for _, n := range l.nodes {
		if err := n.Start(); err != nil {
			return err
		}
	}
	return l.Whole(ctx)
}

// Leader is the node that leads, as a majority sees it; nil if none does.
func (l *Cluster) Leader(ctx context.Context) *Node {
	votes := make(map[string]int)
	for _, n := range l.nodes {
		if !n.Running() {
			continue
		}
		limited, cancel := context.WithTimeout(ctx, time.Second)
		s, _, err := n.client.Status(limited, &adminapi.StatusRequest{})
		cancel()
		if err == nil && s.Leader != "" {
			votes[s.Leader]++
		}
	}
	for name, count := range votes {
		if count > len(l.nodes)/2 {
			return l.Node(name)
		}
	}
	return nil
}

// Whole waits until every node runs, is ready and has a vote, and does what an
// operator would do on the way: a node that says its data is damaged or that it was
// removed gets an empty disk, one without a vote is given it. The error says what
// is still missing when ctx ends.
func (l *Cluster) Whole(ctx context.Context) error {
	for {
		missing := l.missing(ctx)
		if missing == "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the cluster is not whole: %s", missing)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// missing is what is wrong now, and mends what an operator would; "" when all is
// well.
func (l *Cluster) missing(ctx context.Context) string {
	var first string
	for _, n := range l.nodes { // all of them: one may need another to be started
		if why := l.lacks(ctx, n); why != "" && first == "" {
			first = n.Name + " " + why
		}
	}
	return first
}

func (l *Cluster) lacks(ctx context.Context, n *Node) string {
	if !n.Running() {
		if why := n.needsEmptyDisk(); why != "" {
			if err := n.Wipe(); err != nil {
				return err.Error()
			}
		}
		if err := n.Start(); err != nil {
			return err.Error()
		}
		return "was started again"
	}
	limited, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	s, _, err := n.client.Status(limited, &adminapi.StatusRequest{})
	if err != nil {
		return "does not answer: " + err.Error()
	}
	for _, alarm := range s.Alarms {
		if strings.Contains(alarm, "removed from the cluster") {
			n.Kill()
			if err := n.Wipe(); err != nil {
				return err.Error()
			}
			return "was removed, and gets an empty disk"
		}
	}
	if !s.Ready {
		return fmt.Sprintf("is not ready: %+v", failing(s.Checks))
	}
	return l.vote(limited, n, &s)
}

// vote is what keeps a node that is ready from having a vote, "" if it has one. A
// node that came back with an empty disk is there twice until its old self is gone.
func (l *Cluster) vote(ctx context.Context, n *Node, s *adminapi.Status) string {
	voter := false
	for _, m := range s.Members {
		switch {
		case m.Node != n.Name:
		case m.Disk != s.Disk:
			return "is still a member with another disk"
		case !m.Voter && m.Replica:
			_, _, _ = n.client.PromoteMember(ctx, &adminapi.PromoteMemberRequest{Node: n.Name}) // asked again until it has it
		case m.Voter:
			voter = true
		}
	}
	if !voter {
		return "has no vote"
	}
	return ""
}

func failing(checks []adminapi.Check) []adminapi.Check {
	return slices.DeleteFunc(slices.Clone(checks), func(c adminapi.Check) bool { return c.OK })
}

// Close ends every node.
func (l *Cluster) Close() error {
	var first error
	for _, n := range l.nodes {
		n.Kill()
		n.client.Close()
		if l.c.DiskSize > 0 {
			if err := unmount(n.Disk()); err != nil && first == nil {
				first = err
			}
		}
	}
	return first
}
