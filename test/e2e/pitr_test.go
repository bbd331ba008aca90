package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mcpraft/mcpraft/server/adminapi"
)

// The destination goes away and comes back, the leader is killed, then every data
// directory is lost, after a change that nobody wanted. What was written before it is
// there again on every node; restored once more, to the end, the change is there, too.
func TestALostClusterComesBackAsItWasBeforeAChange(t *testing.T) {
	t.Parallel()
	c := NewCluster(t, "e2e", 3)
	store := filepath.Join(c.dir, "store")
	c.settings = []string{
		"backup.destination.type=local", "backup.destination.path=" + store,
		"backup.encryption.cipher=aes_gcm", "backup.encryption.key_files=" + filepath.Join(c.dir, "keys"),
		"pitr.enabled=true", "pitr.wal_archive.flush=1s",
	}
	c.StartAll()
	c.Register("before", "1")
	eventually(t, "the first backup", func() bool { return c.archive().Backup != "" })

	l := startLoad(c)
	if err := os.Rename(store, store+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(store, nil, 0o600); err != nil { // in its place, so that nobody makes it anew
		t.Fatal(err)
	}
	l.Progress(200)
	killed := c.Leader()
	c.nodes[killed].Kill()
	l.Progress(200)
	if err := os.Remove(store); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(store+".away", store); err != nil {
		t.Fatal(err)
	}
	c.Start(killed)
	l.Progress(200)
	l.Stop()

	session, _, err := c.Client().CreateSession(t.Context(), &adminapi.CreateSessionRequest{})
	if err != nil {
		t.Fatal(err)
	}
	c.RunJSON(new(any), "pitr", "label", "good")
	if out, talk, code := c.Run("registry", "unregister", "tool", "before"); code != 0 {
		t.Fatalf("unregister = %d\n%s%s", code, out, talk)
	}
	c.RunJSON(new(any), "--timeout", "60s", "pitr", "flush")
	if s := c.archive(); len(s.Gaps) != 0 || s.Problem != "" {
		t.Errorf("the archive has gaps: %+v", s)
	}
	var v adminapi.PITRVerification
	c.RunJSON(&v, "pitr", "verify")
	if v.Segments < 3 || len(v.Damage) != 0 {
		t.Errorf("verify = %+v", v)
	}

	c.loseAll()
	restored := c.restore("--to-label", "good")
	if restored.Undone["UnregisterEntry"] != 1 || restored.From == restored.To {
		t.Errorf("restored %+v", restored)
	}
	c.joinFirst()
	if got := c.Location(1, "before"); got != "1" {
		t.Errorf("before is at %q", got)
	}
	for i := range c.nodes {
		l.Check(i)
	}
	if s, info, err := c.Client().Session(t.Context(), &adminapi.SessionRequest{ID: session.ID}); err != nil || s.Ended != 0 || info.Timeline != restored.To {
		t.Errorf("session = %+v at %+v, %v; want it alive on timeline %s", s, info, err, restored.To)
	}
	c.SameDigest(0, 1, 2)

	// Once more, from the same destination, to the end of the first history.
	c.loseAll()
	again := c.restore("--latest", "--timeline", restored.From)
	if again.Index <= restored.Index || again.To == restored.To {
		t.Errorf("restored %+v after %+v", again, restored)
	}
	c.Start(0)
	c.Ready(0)
	if _, _, code := c.Run("registry", "whereis", "tool", "before"); code != 3 {
		t.Errorf("the end of the history has what was unregistered: exit %d", code)
	}
	l.Check(0)
}

func (c *Cluster) archive() (s adminapi.PITR) {
	c.t.Helper()
	c.RunJSON(&s, "pitr", "status")
	return s
}

func (c *Cluster) loseAll() {
	for i, n := range c.nodes {
		n.Kill()
		c.Wipe(i)
	}
}

// A restoration is what pitr restore says of itself.
type restoration struct {
	From   string         `json:"from_timeline"`
	To     string         `json:"to_timeline"`
	Index  uint64         `json:"index"`
	Undone map[string]int `json:"undone"`
}

func (c *Cluster) restore(point ...string) (r restoration) {
	c.t.Helper()
	args := append([]string{"pitr", "restore", "--config", c.nodes[0].config()}, point...)
	for _, s := range c.settings {
		args = append(args, "--set", s)
	}
	if out, _, code := c.Run(append(args, "--dry-run")...); code != 0 || !strings.Contains(out, "undone") {
		c.t.Errorf("dry run = %d\n%s", code, out)
	}
	c.RunJSON(&r, append(args, "--yes", "--timeout", time.Minute.String())...)
	return r
}

// joinFirst starts all nodes, of which only the first has data.
func (c *Cluster) joinFirst() {
	c.t.Helper()
	c.Start(0)
	c.Ready(0)
	c.Start(1)
	c.Start(2)
	for _, id := range []string{"n2", "n3"} {
		c.Member(id, "a voter", func(m adminapi.Member) bool { return m.Voter })
	}
}
