package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mcpraft/mcpraft/server/adminapi"
)

// RunJSON runs a command that must succeed and reads its result.
func (c *Cluster) RunJSON(into any, args ...string) {
	c.t.Helper()
	out, talk, code := c.Run(append(args, "-o", "json")...)
	if code != 0 {
		c.t.Fatalf("mcpraft %v = %d\n%s%s", args, code, out, talk)
	}
	if err := json.Unmarshal([]byte(out), into); err != nil {
		c.t.Fatalf("mcpraft %v: %v\n%s", args, err, out)
	}
}

// Every data directory is lost. What was acknowledged before the snapshot is there
// again, on a new timeline, on every node.
func TestALostClusterComesBackFromASnapshot(t *testing.T) {
	t.Parallel()
	c := StartCluster(t, 3)
	for i := range 20 {
		c.Register(fmt.Sprint("tool-", i), fmt.Sprint("http://10.0.0.", i, "/mcp"))
	}
	session, _, err := c.Client().CreateSession(t.Context(), &adminapi.CreateSessionRequest{})
	if err != nil {
		t.Fatal(err)
	}
	follower := (c.Leader() + 1) % 3
	path := filepath.Join(c.dir, "state.snapshot")
	var saved struct {
		Timeline, Digest string
		Index            uint64
	}
	c.RunJSON(&saved, "--addr", c.nodes[follower].admin, "snapshot", "save", path)
	c.Register("too-late", "x")

	damaged := path + ".damaged"
	bytes, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	bytes[len(bytes)/2] ^= 0x10
	if err := os.WriteFile(damaged, bytes, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, talk, code := c.Run("snapshot", "verify", damaged); code != 7 || !strings.Contains(talk, damaged) {
		t.Errorf("verify of a flipped bit = %d, %s", code, talk)
	}

	for i, n := range c.nodes {
		n.Kill()
		c.Wipe(i)
	}
	var done struct {
		From string `json:"from_timeline"`
		To   string `json:"to_timeline"`
	}
	c.RunJSON(&done, "snapshot", "restore", path, "--config", c.nodes[0].config(), "--yes")
	if done.From != saved.Timeline || done.To == done.From {
		t.Errorf("restored %+v from timeline %s", done, saved.Timeline)
	}
	c.comesBack(session.ID, done.To)
}

// comesBack starts the nodes, of which only the first has data, and looks whether
// everything is on all of them.
func (c *Cluster) comesBack(session, timeline string) {
	c.t.Helper()
	c.Start(0)
	c.Location(0, "tool-0")
	c.Start(1)
	c.Start(2)
	for _, id := range []string{"n2", "n3"} {
		c.Member(id, "a voter", func(m adminapi.Member) bool { return m.Voter })
	}
	for i := range 20 {
		if got, want := c.Location(i%3, fmt.Sprint("tool-", i)), fmt.Sprint("http://10.0.0.", i, "/mcp"); got != want {
			c.t.Errorf("tool-%d is at %q on node %d, want %q", i, got, i%3, want)
		}
	}
	if _, _, code := c.Run("registry", "whereis", "tool", "too-late"); code != 3 {
		c.t.Errorf("what came after the snapshot is found: exit %d", code)
	}
	s, info, err := c.Client().Session(c.t.Context(), &adminapi.SessionRequest{ID: session})
	if err != nil || s.Ended != 0 || info.Timeline != timeline {
		c.t.Errorf("session = %+v at %+v, %v; want it alive on timeline %s", s, info, err, timeline)
	}
	c.Register("after", "y")
	c.SameDigest(0, 1, 2)
}

// A backup is taken by any node, found and checked by any other, and damage in the
// destination is named.
func TestBackupsAreSharedByTheNodes(t *testing.T) {
	t.Parallel()
	c := NewCluster(t, "e2e", 3)
	store := filepath.Join(c.dir, "backups")
	c.settings = []string{"backup.destination.type=local", "backup.destination.path=" + store, "backup.encryption.cipher=aes_gcm", "backup.encryption.key_files=" + filepath.Join(c.dir, "keys")}
	c.StartAll()
	c.Register("search", "http://10.0.0.5/mcp")
	at := func(i int, args ...string) []string { return append([]string{"--addr", c.nodes[i].admin}, args...) }
	var probe adminapi.BackupProbe
	c.RunJSON(&probe, at(0, "backup", "test-destination")...)
	if len(probe.Steps) < 7 || probe.Problem != "" {
		t.Errorf("probe = %+v", probe)
	}
	var b adminapi.Backup
	c.RunJSON(&b, at(0, "backup", "run", "--reason", "test")...)
	var list adminapi.Page[adminapi.Backup]
	c.RunJSON(&list, at(1, "backup", "ls")...)
	if len(list.Items) != 1 || list.Items[0].ID != b.ID || b.Cipher != "aes_gcm" || b.Reason != "test" {
		t.Errorf("ran %+v, listed %+v", b, list.Items)
	}
	var check adminapi.BackupCheck
	c.RunJSON(&check, at(2, "backup", "verify", b.ID, "--level", "drill")...)
	if check.Level != "drill" || check.Bytes != b.Size {
		t.Errorf("check = %+v of %+v", check, b)
	}
	c.RunJSON(&b, at(1, "backup", "hold", b.ID)...)
	var pruning adminapi.BackupPruning
	c.RunJSON(&pruning, at(0, "backup", "prune")...)
	if b.Hold == nil || len(pruning.Deleted) != 0 {
		t.Errorf("held %+v, pruned %+v", b, pruning)
	}
	files, err := filepath.Glob(filepath.Join(store, "v1", "*", "state", b.ID, "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("files of the backup: %v, %v", files, err)
	}
	data, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(files[0], data, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, talk, code := c.Run(at(1, "backup", "verify", b.ID)...); code != 7 || !strings.Contains(talk, filepath.Base(files[0])) {
		t.Errorf("verify of a flipped bit = %d, %s", code, talk)
	}
}
