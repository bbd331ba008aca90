package e2e

import (
	"encoding/json"
	"testing"

	"github.com/mcpraft/mcpraft/server/adminapi"
)

func TestLostQuorumIsRecoveredFromASurvivor(t *testing.T) {
	t.Parallel()
	c := StartCluster(t, 3)
	c.Register("search", "http://10.0.0.5/mcp")
	c.Location(0, "search")
	before, _, err := c.Client(0).Status(t.Context(), &adminapi.StatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range c.nodes {
		n.Kill()
	}
	c.Wipe(1)
	c.Wipe(2)
	config := []string{"--config", c.nodes[0].config()}

	// A plan first, which changes nothing.
	run := func(into any, args ...string) {
		t.Helper()
		out, talk, code := mcpraft(t, c.dir, append(append(args, config...), "-o", "json")...)
		if code != 0 {
			t.Fatalf("mcpraft %v = %d\n%s%s", args, code, out, talk)
		}
		if err := json.Unmarshal([]byte(out), into); err != nil {
			t.Fatalf("mcpraft %v: %v\n%s", args, err, out)
		}
	}
	type position struct{ Term, Index uint64 }
	var status struct {
		ClusterID string `json:"cluster_id"`
		Timeline  string
		Last      position
	}
	run(&status, "offline", "status")
	if status.ClusterID != before.ClusterID || status.Last.Index < before.Applied {
		t.Fatalf("offline status says %+v of a node that had applied %d of cluster %s", status, before.Applied, before.ClusterID)
	}
	var plan, done struct {
		DryRun bool   `json:"dry_run"`
		From   string `json:"from_timeline"`
		To     string `json:"to_timeline"`
		Last   position
		Digest string
	}
	run(&plan, "offline", "force-new-cluster", "--dry-run")
	if !plan.DryRun || plan.Last != status.Last {
		t.Errorf("the plan is %+v, the node's last entry is %+v", plan, status.Last)
	}
	if _, _, code := mcpraft(t, c.dir, append([]string{"offline", "force-new-cluster"}, config...)...); code != 2 {
		t.Errorf("without --yes and without a terminal the exit code is %d, want 2", code)
	}
	run(&done, "offline", "force-new-cluster", "--yes")
	if done.From != status.Timeline || done.To == done.From || done.Digest == "" {
		t.Errorf("recovered: %+v", done)
	}

	// The survivor serves alone, with everything; the lost nodes join it, empty.
	c.Start(0)
	if got := c.Location(0, "search"); got != "http://10.0.0.5/mcp" {
		t.Errorf("after the recovery search is at %q", got)
	}
	c.Register("after", "x")
	for _, i := range []int{1, 2} {
		c.Start(i)
	}
	for _, id := range []string{"n2", "n3"} {
		c.Member(id, "a voter", func(m adminapi.Member) bool { return m.Voter })
	}
	if got := c.Location(2, "after"); got != "x" {
		t.Errorf("a node that joined says after is at %q", got)
	}
	c.SameDigest(0, 1, 2)
}
