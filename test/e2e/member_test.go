package e2e

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mcpraft/mcpraft/server/adminapi"
)

func TestWipedNodeComesBackAsANewOne(t *testing.T) {
	t.Parallel()
	c := StartCluster(t, 3)
	c.Register("search", "http://10.0.0.5/mcp")
	before := c.Member("n3", "a voter", func(m adminapi.Member) bool { return m.Voter })
	c.nodes[2].Kill()
	c.Wipe(2)
	c.Register("while-away", "x")
	c.Start(2)
	c.Member("n3", "a voter on another disk", func(m adminapi.Member) bool { return m.Voter && m.Disk != before.Disk })
	if got := c.Location(2, "search"); got != "http://10.0.0.5/mcp" {
		t.Errorf("the node that came back says %q", got)
	}
	if got := c.Location(2, "while-away"); got != "x" {
		t.Errorf("the node that came back says %q of what was written while it was away", got)
	}
	c.SameDigest(0, 1, 2)
	client := c.Client()
	list, _, err := client.Members(t.Context(), &adminapi.MembersRequest{})
	if err != nil || len(list.Items) != 3 {
		t.Errorf("members are %+v, %v, want n1, n2 and n3 once each", list.Items, err)
	}
}

func TestTwoNodesOfOneNameAreToldApart(t *testing.T) {
	t.Parallel()
	c := StartCluster(t, 3)
	ports := freePorts(t, 3)
	twin := c.prepare("n2", ports)
	twin.dir = filepath.Join(c.dir, "twin")
	c.configure(twin, 3, 0)
	c.launch(twin)
	twin.Says("node n2 runs already")
	c.Register("search", "x")
	c.SameDigest(0, 1, 2)
	list, _, err := c.Client().Members(t.Context(), &adminapi.MembersRequest{})
	if err != nil || len(list.Items) != 3 {
		t.Errorf("members are %+v, %v, want three", list.Items, err)
	}
	for _, m := range list.Items {
		if m.PeerAddr == twin.peer {
			t.Errorf("the twin became a member: %+v", m)
		}
	}
}

func TestDataOfAnotherClusterIsRefused(t *testing.T) {
	t.Parallel()
	red := NewCluster(t, "red", 1)
	red.Start(0)
	red.Leader()
	red.nodes[0].Stop()

	blue := NewCluster(t, "blue", 1)
	move(t, red.nodes[0].data(), blue.nodes[0].data())
	blue.Start(0)
	if code := blue.nodes[0].Wait(); code == 0 {
		t.Error("a node started on the data of another cluster")
	}
	blue.nodes[0].Says(`belongs to cluster "red"`, `"blue"`)
}

func TestAnotherClusterOfTheSameNameIsRefused(t *testing.T) {
	t.Parallel()
	c := StartCluster(t, 1)
	other := NewCluster(t, c.name, 3)
	other.ca = c.ca // the same certificates too: only the id tells the two apart
	other.write("ca.crt", string(c.ca.Pair().Cert))
	for i, n := range other.nodes {
		other.configure(n, 3, 0)
		other.Start(i)
	}
	other.Register("search", "other")
	other.Ready(2)
	for _, n := range other.nodes {
		n.Stop()
	}

	// A node of the other cluster now looks for ours.
	lost := other.nodes[2]
	other.nodes = c.nodes
	other.configure(lost, 0, 0)
	other.launch(lost)
	c.nodes[0].Says("reason=cluster_id", "two clusters have one name")
	c.Register("search", "ours")
	if got := c.Location(0, "search"); got != "ours" {
		t.Errorf("our cluster says %q", got)
	}
	list, _, err := c.Client().Members(t.Context(), &adminapi.MembersRequest{})
	if err != nil || len(list.Items) != 1 {
		t.Errorf("members are %+v, %v, want n1 alone", list.Items, err)
	}
}

func TestExpiredCertificateIsRefusedByName(t *testing.T) {
	t.Parallel()
	c := StartCluster(t, 3)
	c.nodes[2].Stop()
	c.configure(c.nodes[2], 3, time.Nanosecond)
	c.Start(2)
	if code := c.nodes[2].Wait(); code == 0 {
		t.Error("a node started with an expired certificate")
	}
	c.nodes[2].Says("node.crt is valid from", "mcpraft cluster cert issue")

	// A new one is all that it takes.
	c.configure(c.nodes[2], 3, 0)
	c.Restart(2)
	c.Ready(2)
	c.SameDigest(0, 1, 2)
}

func move(t *testing.T, from, to string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}
