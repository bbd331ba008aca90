package main

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mcpraft/mcpraft/cmd/mcpraft/config"
	"github.com/mcpraft/mcpraft/server/adminapi"
)

// findings is e as text: one "level text" per line.
func findings(e *examination) string {
	var b strings.Builder
	for _, f := range e.Findings {
		b.WriteString(string(f.Level) + " " + f.Text + "\n")
	}
	return b.String()
}

func TestDoctorStopsAtABrokenConfiguration(t *testing.T) {
	a, stdout, _ := testApp()
	code := a.run(t.Context(), []string{"doctor", "--set", "log.level=loud", "--set", "node.name=node-1"})
	want := "configuration\n  fail --set log.level: log.level: \"loud\" is not one of debug, info, warn, error\n"
	if code != int(exitDegraded) || stdout.String() != want {
		t.Errorf("exit %d, got\n%s\nwant\n%s", code, stdout, want)
	}
}

func TestDoctorSeesTheStateOfTheDataDirectory(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	open := filepath.Join(dir, "open")
	if err := os.Mkdir(open, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o755); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "new", "data"): "ok " + filepath.Join(dir, "new", "data") + " does not exist yet",
		file:                              "fail " + file + " is not a directory",
		open:                              "warn " + open + " is open to every user",
		dir:                               "ok " + dir + " is writable and not in use",
	} {
		e, running := examineData(path)
		if got := findings(e); running || !strings.Contains(got, want) {
			t.Errorf("%s: running %t, got\n%s\nwant %s", path, running, got, want)
		}
	}
}

func TestDoctorFindsATakenPort(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	c := config.Default()
	c.Listen.MCP.Addr = listener.Addr().String()
	e := examinePorts(&c)
	if got := findings(e); !strings.HasPrefix(got, "fail listen.mcp: ") || !strings.Contains(got, "in use") {
		t.Errorf("got\n%s", got)
	}
}

func TestDoctorAsksEveryOtherNode(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	c := config.Default()
	c.Cluster.Join = []string{listener.Addr().String(), gone.Addr().String(), c.PeerAddr()}
	a, _, _ := testApp()
	got := findings(a.examinePeers(t.Context(), &c))
	if !strings.Contains(got, "ok "+listener.Addr().String()+" answers\n") || !strings.Contains(got, "warn "+gone.Addr().String()) || strings.Count(got, "\n") != 2 {
		t.Errorf("got\n%s", got)
	}
}

// The node's health comes from its admin API, found by its configuration.
func TestDoctorAsksTheRunningNode(t *testing.T) {
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != adminapi.Readyz {
			http.NotFound(w, r)
			return
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, `{"status":"failing","checks":[{"name":"disk","ok":true},{"name":"leader","ok":false,"detail":"none is known"}]}`)
	}))
	defer node.Close()
	c := config.Default()
	c.Listen.Admin.Addr = node.Listener.Addr().String()
	a, _, _ := testApp()
	if got, want := findings(a.examineNode(t.Context(), &c, true)), "ok disk\nfail leader: none is known\n"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := findings(a.examineNode(t.Context(), &c, false)); !strings.Contains(got, "warn the admin API answers, and nobody uses the data directory") {
		t.Errorf("another process on the port:\n%s", got)
	}
	c.Listen.Admin.Addr = "127.0.0.1:1"
	if got := findings(a.examineNode(t.Context(), &c, true)); !strings.Contains(got, "fail a process uses the data directory") {
		t.Errorf("a node that does not answer:\n%s", got)
	}
	if got := findings(a.examineNode(t.Context(), &c, false)); got != "ok not running\n" {
		t.Errorf("a node that is stopped:\n%s", got)
	}
}
