package e2e

import (
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/mcpraft/mcpraft/server/adminapi"
)

// cutAfter is how many entries make it certain that the log was cut behind a
// node: those between two snapshots, and those that are kept behind one.
const cutAfter = 16_384 + 20_480 + 2_000

// A node that was away while the log was cut cannot be caught up entry by entry:
// it is sent the state.
func TestNodeThatWasAwayComesBackBySnapshot(t *testing.T) {
	t.Parallel()
	c := newClusterIn(t, memoryDir(t), "e2e", 3)
	c.StartAll()
	c.Register("before", "x")
	c.Ready(2)
	c.nodes[2].Kill()
	leader := c.Leader()
	fillLog(c, leader)
	c.Start(2)
	c.Ready(2)
	if got := c.Location(2, "before"); got != "x" {
		t.Errorf("the node that came back says %q", got)
	}
	c.SameDigest(0, 1, 2)
	c.nodes[2].Says("snapshot")
}

// fillLog writes until the log has cutAfter more entries. Few callers make small
// envelopes, and so more entries.
func fillLog(c *Cluster, leader int) {
	t := c.t
	t.Helper()
	client, err := adminapi.NewStream(adminapi.Config{Addrs: []string{c.nodes[leader].admin}, Token: c.token, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	_, info, err := client.Leader(t.Context(), &adminapi.LeaderRequest{})
	if err != nil {
		t.Fatal(err)
	}
	until := info.Index + cutAfter
	var wg sync.WaitGroup
	begun := time.Now()
	for w := range 4 {
		wg.Go(func() {
			key, revision := fmt.Sprintf("filler-%d", w), uint64(0)
			for index := uint64(0); index < until; {
				r := &adminapi.RegisterRequest{Type: "tool", Key: key}
				r.IfMatch = revision
				receipt, info, err := client.Register(t.Context(), r)
				if err != nil {
					t.Errorf("filling the log: %v", err)
					return
				}
				index, revision = info.Index, receipt.Revision
			}
		})
	}
	wg.Wait()
	t.Logf("%d entries in %v", cutAfter, time.Since(begun).Round(time.Millisecond))
}

// memoryDir is a directory in memory where there is one, so that tens of
// thousands of entries do not each wait for a disk; else one on the disk.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "mcpraft-e2e-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}
