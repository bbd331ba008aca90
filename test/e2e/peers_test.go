package e2e

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// peers is where `make peers` puts the programs that mcpraft is tested against.
const peers = "../peers"

// peer is the path of a file of the peers. Without it the test cannot prove what
// it claims, so it fails.
func peerFile(t *testing.T, parts ...string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(append([]string{peers}, parts...)...))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%s is missing: run `make peers`, which needs npm", path)
	}
	return path
}

// node runs a JavaScript program with the Node.js of the peers and returns what
// it wrote and its exit code.
func node(t *testing.T, dir string, env []string, args ...string) (output string, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), nodeBinary(t), args...)
	var out bytes.Buffer
	cmd.Dir = dir
	cmd.Env = append(append(environment(dir), "NO_COLOR=1"), env...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// nodeBinary is the pinned Node.js, or that of the machine where the pinned one
// does not exist.
func nodeBinary(t *testing.T) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(peers, "node_modules", "node-*", "bin", "node"))
	if err == nil && len(found) == 1 {
		path, err := filepath.Abs(found[0])
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	path, err := exec.LookPath("node")
	if err != nil {
		t.Fatal("there is no Node.js: run `make peers`, which needs npm")
	}
	return path
}

// startEverything runs the go-sdk's everything-server and returns its URL.
func startEverything(t *testing.T, stateless bool) string {
	t.Helper()
	name, flag := "stateful", "-stateless=false"
	if stateless {
		name, flag = "stateless", "-stateless=true"
	}
	addr := freePorts(t, 1)[0]
	startProgram(t, "everything-server "+name, t.TempDir(), peerFile(t, "bin", "everything-server"), "-http", addr, flag)
	awaitListener(t, addr)
	return "http://" + addr + "/mcp"
}

// startReference runs the protocol's reference server, as its users do, at that
// port, and returns its URL.
func startReference(t *testing.T, port string) string {
	t.Helper()
	script := peerFile(t, "node_modules", "@modelcontextprotocol", "server-everything", "dist", "index.js")
	startProgram(t, "server-everything", t.TempDir(), "/usr/bin/env", "PORT="+port, nodeBinary(t), script, "streamableHttp")
	awaitListener(t, net.JoinHostPort("127.0.0.1", port))
	return "http://127.0.0.1:" + port + "/mcp"
}

// summary is the part of a suite's output that names scenarios and counts.
func summary(output string) string {
	if _, after, ok := strings.Cut(output, "=== SUMMARY ==="); ok {
		return after
	}
	return lastLines(output, 60)
}
