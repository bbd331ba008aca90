package e2e

import (
	"fmt"
	"sync"
	"testing"

	"github.com/mcpraft/mcpraft/server/adminapi"
)

// A node that was away while the log was cut cannot be caught up entry by entry:
// it is sent the state.
func TestNodeThatWasAwayComesBackBySnapshot(t *testing.T) {
	t.Parallel()
	c := NewCluster(t, "e2e", 3)
	c.settings = []string{"storage.snapshot_entries=64", "storage.trailing_logs=64"}
	c.StartAll()
	c.Register("before", "x")
	c.Ready(2)
	c.nodes[2].Kill()
	writeUntilCut(c, 0, 1)
	c.Start(2)
	c.Ready(2)
	if got := c.Location(2, "before"); got != "x" {
		t.Errorf("the node that came back says %q", got)
	}
	c.SameDigest(0, 1, 2)
	c.nodes[2].Says("installed a snapshot")
}

// writeUntilCut writes until the logs of the nodes begin behind what is in them
// now.
func writeUntilCut(c *Cluster, nodes ...int) {
	c.t.Helper()
	var now uint64
	for _, i := range nodes {
		now = max(now, c.Status(i).LastLog)
	}
	round := 0
	eventually(c.t, "the logs are cut", func() bool {
		writeSome(c, fmt.Sprint("filler-", round))
		round++
		for _, i := range nodes {
			if c.Status(i).FirstLog <= now {
				return false
			}
		}
		return true
	})
}

// writeSome registers a hundred names, some at once.
func writeSome(c *Cluster, prefix string) {
	client := c.Client()
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 25 {
				r := &adminapi.RegisterRequest{Type: "tool", Key: fmt.Sprint(prefix, "-", w, "-", i)}
				if _, _, err := client.Register(c.t.Context(), r); err != nil && !unsettled(err) {
					c.t.Errorf("filling the log: %v", err)
				}
			}
		})
	}
	wg.Wait()
}
