package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"text/template"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/goccy/go-yaml"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/seal"
	"github.com/mcpraft/mcpraft/raftnode/peer"
)

// devCluster is the name of the cluster that dev makes.
const devCluster = "dev"

// A devPlan is what a dev cluster looks like: how many nodes, and the ports of
// each. It is kept in the data directory, so that a cluster that is opened again
// is found where it was.
type devPlan struct {
	Front int           `yaml:"front,omitempty"` // port that stays when nodes die; 0: one node, which has it itself
	Demo  int           `yaml:"demo,omitempty"`  // port of the demo upstream
	Nodes []devNodePlan `yaml:"nodes"`
}

// A devNodePlan is one node and its ports on loopback.
type devNodePlan struct {
	ID    string `yaml:"id"`
	MCP   int    `yaml:"mcp"`
	Admin int    `yaml:"admin"`
	Peer  int    `yaml:"peer"`
}

// demoPort is where the demo upstream is, unless the port is taken.
const demoPort = 7449

// newDevPlan is a cluster of n nodes on the ports that people expect: 7440, 7441
// and 7442 for one node; else 7440 in front and 7450, 7460, … for the nodes.
func newDevPlan(n int) devPlan {
	if n == 1 {
		return devPlan{Demo: demoPort, Nodes: []devNodePlan{{ID: "dev-1", MCP: 7440, Admin: 7441, Peer: 7442}}}
	}
	p := devPlan{Front: 7440, Demo: demoPort}
	for i := range n {
		first := 7450 + 10*i
		p.Nodes = append(p.Nodes, devNodePlan{ID: "dev-" + strconv.Itoa(i+1), MCP: first, Admin: first + 1, Peer: first + 2})
	}
	return p
}

// ports points at every port of p.
func (p *devPlan) ports() []*int {
	list := []*int{&p.Demo}
	if p.Front != 0 {
		list = append(list, &p.Front)
	}
	for i := range p.Nodes {
		n := &p.Nodes[i]
		list = append(list, &n.MCP, &n.Admin, &n.Peer)
	}
	return list
}

// devPorts are the ports that dev itself listens at.
type devPorts struct {
	demo  net.Listener
	front net.Listener // nil for one node
}

func (p devPorts) close() {
	for _, l := range []net.Listener{p.demo, p.front} {
		if l != nil {
			l.Close()
		}
	}
}

// claim replaces every port that is taken by one that is free. It holds all of
// them until it has the last, so that no two are the same, and then lets go of
// all but its own.
func (p *devPlan) claim() (own devPorts, err error) {
	var held []net.Listener
	defer func() {
		for _, l := range held {
			if l != own.demo && l != own.front {
				l.Close()
			}
		}
	}()
	for _, port := range p.ports() {
		l, err := net.Listen("tcp", loopback(*port))
		if err != nil {
			l, err = net.Listen("tcp", loopback(0))
		}
		if err != nil {
			return devPorts{}, fault.New(fault.Unavailable, "there is no free port on loopback: %w", err)
		}
		held = append(held, l)
		*port = l.Addr().(*net.TCPAddr).Port
	}
	own.demo = held[0]
	if p.Front != 0 {
		own.front = held[1]
	}
	return own, nil
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// A devHome is the data directory of a dev cluster, locked for this process:
//
//	dev.yaml         the devPlan
//	token            the administrator's token
//	keys             the key file of all nodes
//	commands.yaml    what all nodes may run as stdio upstreams, if anything
//	ca.crt, ca.key   the certificate authority of the cluster
//	dev-1/           a folder for each node: node.yaml, node.crt, node.key,
//	                 node.log, and its data
type devHome struct {
	dir       string
	ephemeral bool // removed by Close
	reopened  bool // held a cluster before
	plan      devPlan
	token     string
	lock      io.Closer
}

// openDevHome opens dir, or makes it with a cluster of n nodes. With n = 0 it
// takes what is there, or makes one node.
func openDevHome(dir string, n int, ephemeral bool) (*devHome, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := vfs.Default.Lock(filepath.Join(dir, "LOCK"))
	if err != nil {
		return nil, fault.New(fault.Conflict, "another mcpraft dev uses %s", dir).
			WithHint("stop it, or use another directory: --data DIR, or --ephemeral")
	}
	h := &devHome{dir: dir, ephemeral: ephemeral, lock: lock}
	if err := errors.Join(h.loadPlan(n), h.loadToken(), h.makeKeys()); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

func (h *devHome) path(elem ...string) string {
	return filepath.Join(append([]string{h.dir}, elem...)...)
}

// maxPlanBytes bounds dev.yaml.
const maxPlanBytes = 64 << 10

func (h *devHome) loadPlan(n int) error {
	text, err := readPrivate(h.path("dev.yaml"), maxPlanBytes)
	if errors.Is(err, fs.ErrNotExist) {
		h.plan = newDevPlan(max(n, 1))
		return nil
	}
	if err != nil {
		return err
	}
	if err := yaml.UnmarshalWithOptions(text, &h.plan, yaml.Strict()); err != nil || len(h.plan.Nodes) == 0 {
		return fault.New(fault.Integrity, "%s does not describe a dev cluster", h.path("dev.yaml")).
			WithHint("use another directory, or remove this one if its data is not needed")
	}
	if have := len(h.plan.Nodes); n != 0 && n != have {
		return fault.New(fault.Conflict, "%s holds a dev cluster of %d nodes, not %d", h.dir, have, n).
			WithHint("use --nodes %d, or another directory: --data DIR, or --ephemeral", have)
	}
	if h.plan.Demo == 0 { // made by a version without one
		h.plan.Demo = demoPort
	}
	h.reopened = true
	return nil
}

func (h *devHome) loadToken() error {
	text, err := readPrivate(h.path("token"), maxTokenBytes)
	if errors.Is(err, fs.ErrNotExist) {
		text = []byte(devTokenPrefix + rand.Text())
		err = writePrivate(h.path("token"), text)
	}
	h.token = string(bytes.TrimSpace(text))
	return err
}

// makeKeys makes the key file that all nodes share, if there is none.
func (h *devHome) makeKeys() error {
	_, err := os.Stat(h.path("keys"))
	if errors.Is(err, fs.ErrNotExist) {
		_, err = newKey(h.path("keys"), seal.AESGCM.String(), false)
	}
	return err
}

// prepare chooses the ports and writes what the nodes read: their certificates
// and configuration files. What it writes is the same at each start, but for
// ports that were taken and certificates, which are issued anew.
func (h *devHome) prepare() (own devPorts, err error) {
	if own, err = h.plan.claim(); err != nil {
		return devPorts{}, err
	}
	defer func() {
		if err != nil {
			own.close()
		}
	}()
	ca, err := h.authority()
	if err != nil {
		return devPorts{}, err
	}
	for _, n := range h.plan.Nodes {
		if err := h.prepareNode(ca, n); err != nil {
			return devPorts{}, fmt.Errorf("preparing node %s: %w", n.ID, err)
		}
	}
	text, err := yaml.Marshal(h.plan)
	if err != nil {
		return devPorts{}, err
	}
	return own, writePrivate(h.path("dev.yaml"), text)
}

// authority is the CA of the cluster, made at the first start.
func (h *devHome) authority() (*peer.CA, error) {
	cert, key := h.path("ca.crt"), h.path("ca.key")
	ca, err := peer.LoadCA(cert, key)
	if !errors.Is(err, fs.ErrNotExist) {
		return ca, err
	}
	if ca, err = peer.MakeCA(devCluster); err != nil {
		return nil, err
	}
	return ca, ca.Pair().Write(cert, key, true)
}

func (h *devHome) prepareNode(ca *peer.CA, n devNodePlan) error {
	if err := os.MkdirAll(h.path(n.ID), 0o700); err != nil {
		return err
	}
	pair, err := ca.Issue(n.ID, []string{"127.0.0.1"}, 0)
	if err != nil {
		return err
	}
	if err := pair.Write(h.path(n.ID, "node.crt"), h.path(n.ID, "node.key"), true); err != nil {
		return err
	}
	var text bytes.Buffer
	if err := devNodeFile.Execute(&text, map[string]any{"Home": h, "Node": n, "Plan": h.plan, "Cluster": devCluster}); err != nil {
		return err
	}
	return writePrivate(h.configFile(n.ID), text.Bytes())
}

func (h *devHome) configFile(id string) string { return h.path(id, "node.yaml") }

// Path names a file of h to the template.
func (h *devHome) Path(elem ...string) string { return h.path(elem...) }

// CommandFile is where the nodes read from what they may run as stdio upstreams.
func (h *devHome) CommandFile() string { return h.path("commands.yaml") }

// devNodeFile is the configuration of one node. Its caches are small: several
// nodes share a laptop.
var devNodeFile = template.Must(template.New("node.yaml").Funcs(template.FuncMap{
	"addr":  loopback,
	"quote": strconv.Quote,
}).Parse(`# Written by mcpraft dev at each start; changes are lost.
version: 1
node:
  name: {{.Node.ID}}
  data_dir: {{quote (.Home.Path .Node.ID "data")}}
listen:
  mcp: {addr: "{{addr .Node.MCP}}"}
  admin: {addr: "{{addr .Node.Admin}}"}
  peer: {addr: "{{addr .Node.Peer}}", tls: peer}
tls:
  profiles:
    peer:
      cert_file: {{quote (.Home.Path .Node.ID "node.crt")}}
      key_file: {{quote (.Home.Path .Node.ID "node.key")}}
      ca_file: {{quote (.Home.Path "ca.crt")}}
cluster:
  name: {{.Cluster}}
  bootstrap_expect: {{len .Plan.Nodes}}
  join:{{range .Plan.Nodes}}
    - "{{addr .Peer}}"{{end}}
auth:
  bootstrap_token_file: {{quote (.Home.Path "token")}}
  key_file: {{quote (.Home.Path "keys")}}
upstreams:
  allow_private: true
  command_file: {{quote .Home.CommandFile}}
storage: {cache: 64MiB, memtable: 16MiB}
log: {level: info, format: text}
shutdown: {drain: 5s}
`))

// Close unlocks the directory, and removes it if it is ephemeral.
func (h *devHome) Close() error {
	err := h.lock.Close()
	if h.ephemeral {
		err = errors.Join(err, os.RemoveAll(h.dir))
	}
	return err
}
