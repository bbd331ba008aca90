package main

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/mcpraft/mcpraft/cmd/mcpraft/config"
	"github.com/mcpraft/mcpraft/internal/fault"
)

func TestDevUsesThePortsThatPeopleExpect(t *testing.T) {
	one := newDevPlan(1)
	if one.Front != 0 || one.Nodes[0] != (devNodePlan{"dev-1", 7440, 7441, 7442}) {
		t.Errorf("one node: %+v", one)
	}
	three := newDevPlan(3)
	if three.Front != 7440 || three.Nodes[0] != (devNodePlan{"dev-1", 7450, 7451, 7452}) || three.Nodes[2] != (devNodePlan{"dev-3", 7470, 7471, 7472}) {
		t.Errorf("three nodes: %+v", three)
	}
}

// freePlan is a plan of n nodes on ports that nobody else uses.
func freePlan(t *testing.T, n int) devPlan {
	t.Helper()
	p := newDevPlan(n)
	for _, port := range p.ports() {
		l, err := net.Listen("tcp", loopback(0))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		*port = l.Addr().(*net.TCPAddr).Port
	}
	return p
}

func TestTakenPortsAreReplaced(t *testing.T) {
	p := freePlan(t, 3)
	before := slices.Clone(p.Nodes)
	taken, err := net.Listen("tcp", loopback(p.Nodes[1].Admin))
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()

	own, err := p.claim()
	if err != nil {
		t.Fatal(err)
	}
	defer own.close()
	if p.Nodes[1].Admin == before[1].Admin {
		t.Errorf("port %d is taken and was kept", before[1].Admin)
	}
	seen := map[int]bool{}
	for _, port := range p.ports() {
		if seen[*port] || *port == 0 {
			t.Errorf("port %d is used twice or not set: %+v", *port, p)
		}
		seen[*port] = true
	}
	if at := own.front.Addr().(*net.TCPAddr).Port; at != p.Front {
		t.Errorf("the front listener is at %d, the plan says %d", at, p.Front)
	}
	if at := own.demo.Addr().(*net.TCPAddr).Port; at != p.Demo {
		t.Errorf("the demo listener is at %d, the plan says %d", at, p.Demo)
	}
}

func openHome(t *testing.T, dir string, n int) *devHome {
	t.Helper()
	h, err := openDevHome(dir, n, false)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestDevHomeKeepsTheClusterBetweenRuns(t *testing.T) {
	dir := t.TempDir()
	h := openHome(t, dir, 3)
	if h.reopened {
		t.Error("a new directory is called reopened")
	}
	h.plan = freePlan(t, 3)
	own, err := h.prepare()
	if err != nil {
		t.Fatal(err)
	}
	own.close()
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}

	again := openHome(t, dir, 0)
	if !again.reopened || again.token != h.token || again.plan.Front != h.plan.Front || again.plan.Demo != h.plan.Demo || !slices.Equal(again.plan.Nodes, h.plan.Nodes) {
		t.Errorf("reopened %v with\n%+v, %s, want\n%+v, %s", again.reopened, again.plan, again.token, h.plan, h.token)
	}
	ca, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	if own, err = again.prepare(); err != nil {
		t.Fatal(err)
	}
	own.close()
	if now, _ := os.ReadFile(filepath.Join(dir, "ca.crt")); !bytes.Equal(ca, now) {
		t.Error("the certificate authority is another one after reopening")
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}

	if _, err := openDevHome(dir, 1, false); fault.Of(err) != fault.Conflict {
		t.Errorf("a cluster of 3 opened as one of 1: %v", err)
	}
}

func TestDevHomeIsForOneProcess(t *testing.T) {
	dir := t.TempDir()
	h := openHome(t, dir, 1)
	if _, err := openDevHome(dir, 1, false); fault.Of(err) != fault.Conflict {
		t.Errorf("opened twice: %v", err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	h = openHome(t, dir, 1)
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestEphemeralHomeIsRemoved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "gone")
	h, err := openDevHome(dir, 1, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the directory is still there: %v", err)
	}
}

func TestSecretsThatOthersMayReadAreRefused(t *testing.T) {
	dir := t.TempDir()
	h := openHome(t, dir, 1)
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	token := filepath.Join(dir, "token")
	if info, err := os.Stat(token); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("token file: %v, %v", info.Mode(), err)
	}
	if err := os.Chmod(token, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := openDevHome(dir, 1, false); fault.Of(err) != fault.Forbidden {
		t.Errorf("a token that others may read was taken: %v", err)
	}
}

func TestNodeFileIsAValidConfiguration(t *testing.T) {
	h := openHome(t, t.TempDir(), 3)
	defer h.Close()
	h.plan = freePlan(t, 3)
	own, err := h.prepare()
	if err != nil {
		t.Fatal(err)
	}
	own.close()
	for _, n := range h.plan.Nodes {
		loaded, err := config.Load(config.Layers{Files: []string{h.configFile(n.ID)}})
		if err != nil {
			t.Fatal(err)
		}
		c := loaded.Config
		if c.Node.Name != n.ID || c.Listen.MCP.Addr != loopback(n.MCP) || c.Cluster.BootstrapExpect != 3 || len(c.Cluster.Join) != 3 {
			t.Errorf("node %s reads %+v", n.ID, c)
		}
	}
}
