package e2e

import (
	"encoding/json"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mcpraft/mcpraft/server/adminapi"
)

// A ready is the ready file of mcpraft dev.
type ready struct {
	Token string `json:"token"`
	Front string `json:"front"`
	Nodes []struct {
		ID    string `json:"id"`
		PID   int    `json:"pid"`
		MCP   string `json:"mcp"`
		Admin string `json:"admin"`
		Peer  string `json:"peer"`
	} `json:"nodes"`
}

func readReady(t *testing.T, path string) (r ready, ok bool) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		return r, false
	}
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatalf("the ready file is not whole: %v\n%s", err, text)
	}
	return r, true
}

func TestDevRunsNodesThatCanBeKilled(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	path := filepath.Join(home, "ready.json")
	dev := start(t, "dev", home, "dev", "--nodes", "3", "--ephemeral", "--ready-file", path)
	var r ready
	eventually(t, "the ready file", func() (ok bool) {
		select {
		case <-dev.ended:
			t.Fatal("dev ended")
		default:
		}
		r, ok = readReady(t, path)
		return ok
	})
	if len(r.Nodes) != 3 || len(r.Token) < 32 {
		t.Fatalf("the ready file says %+v", r)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the ready file has mode %v, %v, want 0600: it holds the token", info.Mode(), err)
	}
	dev.Says("Next:", "status:", "new cluster")
	if strings.Contains(dev.output.String(), r.Token) {
		t.Error("the token was printed to what is no terminal")
	}

	// What the banner suggests works as it stands.
	for _, args := range [][]string{{"registry", "register", "tool", "search", "--location", "http://10.0.0.5/mcp"}, {"status", "--exit-code"}, {"sessions", "ls"}, {"token", "show"}} {
		if out, talk, code := mcpraft(t, home, args...); code != 0 {
			t.Errorf("mcpraft %s = %d\n%s%s", strings.Join(args, " "), code, out, talk)
		}
	}

	var addrs []string
	for _, n := range r.Nodes {
		addrs = append(addrs, n.Admin)
	}
	client, err := adminapi.New(adminapi.Config{Addrs: addrs, Token: r.Token, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	leader, _, err := client.Leader(t.Context(), &adminapi.LeaderRequest{})
	if err != nil {
		t.Fatal(err)
	}
	victim := 0
	for i, n := range r.Nodes {
		if n.ID == leader.Node {
			victim = i
		}
	}
	old := r.Nodes[victim].PID
	if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the others read what was written", func() bool {
		e, _, err := client.WhereIs(t.Context(), &adminapi.WhereIsRequest{Type: "tool", Key: "search"})
		return err == nil && e.Location == "http://10.0.0.5/mcp"
	})
	if resp, err := http.Get(r.Front + "/"); err != nil {
		t.Errorf("the front port does not answer after a kill: %v", err)
	} else {
		resp.Body.Close()
	}
	eventually(t, "a new process in the ready file", func() bool {
		r, _ = readReady(t, path)
		return r.Nodes[victim].PID != old
	})
	eventually(t, "the cluster is healthy again", func() bool {
		_, _, code := mcpraft(t, home, "status", "--exit-code")
		return code == 0
	})

	dev.Stop()
	for _, n := range r.Nodes {
		if syscall.Kill(n.PID, 0) == nil {
			t.Errorf("node %s (pid %d) outlives dev", n.ID, n.PID)
		}
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the ready file is still there: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(home, "mcpraft-dev-*")); len(left) > 0 {
		t.Errorf("--ephemeral kept %v", left)
	}
}

func TestNodesOfDevDieWithIt(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	path := filepath.Join(home, "ready.json")
	dev := start(t, "dev", home, "dev", "--ready-file", path)
	var r ready
	eventually(t, "the ready file", func() (ok bool) {
		r, ok = readReady(t, path)
		return ok
	})
	pid := r.Nodes[0].PID
	dev.Kill()
	eventually(t, "the node is gone", func() bool { return syscall.Kill(pid, 0) != nil })

	// The data is still there, and nothing of it in the working directory.
	again := start(t, "dev", home, "dev", "--ready-file", path)
	again.Says("reopened cluster")
	err := filepath.WalkDir(home, func(path string, _ fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(home, path)
		if top, _, _ := strings.Cut(rel, string(filepath.Separator)); top != "." && top != "mcpraft" && top != "ready.json" {
			t.Errorf("%s is in the working directory", rel)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
