package e2e

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/server/adminapi"
)

// mark is found again in files: it stands in everything that fill registers.
const mark = "mark-qzxjvkwp"

// fill registers some names whose bytes are easy to find on the disk.
func fill(c *Cluster) {
	c.t.Helper()
	for i := range 50 {
		c.Register(fmt.Sprintf("%s-%02d", mark, i), mark)
	}
}

// flip flips one bit of every copy of mark in the files below dir whose names
// match the pattern, and returns how many it found.
func flip(t *testing.T, dir, pattern string) (n int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if match, _ := filepath.Match(pattern, entry.Name()); err != nil || entry.IsDir() || !match {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for at := 0; ; n++ {
			i := bytes.Index(text[at:], []byte(mark))
			if i < 0 {
				break
			}
			at += i + len(mark)
			text[at-1] ^= 1
		}
		return os.WriteFile(path, text, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A flipped bit in the log stops the node before it takes part, and an empty
// data directory brings it back.
func TestDamagedLogStopsTheNode(t *testing.T) {
	t.Parallel()
	c := StartCluster(t, 3)
	fill(c)
	c.nodes[2].Kill()
	if n := flip(t, c.nodes[2].data(), "raft.db"); n == 0 {
		t.Fatal("nothing in the log to damage")
	}
	c.Start(2)
	if code := c.nodes[2].Wait(); code == 0 {
		t.Error("a node with a damaged log ended with code 0")
	}
	c.nodes[2].Says("is damaged on disk", "empty its data directory and let it join again")
	c.Wipe(2)
	c.Start(2)
	c.Ready(2)
	c.SameDigest(0, 1, 2)
}

// A flipped bit in the state machine's files stops the node when it is read, and
// is never served.
func TestDamagedStateStopsTheNode(t *testing.T) {
	t.Parallel()
	c := StartCluster(t, 3)
	fill(c)
	c.Ready(2)
	c.nodes[2].Stop()
	c.Start(2) // what was in Pebble's log becomes a table
	c.Ready(2)
	c.nodes[2].Stop()
	if n := flip(t, c.nodes[2].data(), "*.sst"); n == 0 {
		t.Fatal("nothing in the tables to damage")
	}
	c.Start(2)
	client := c.Client(2)
	r := &adminapi.EntriesRequest{Type: record.TypeTool.String(), Prefix: "mark", ReadOptions: adminapi.ReadOptions{Consistency: adminapi.Any}}
	eventually(t, "the node ends", func() bool {
		page, _, err := client.Entries(t.Context(), r)
		for _, e := range page.Items {
			if err == nil && e.Location != mark {
				t.Fatalf("the damage was served: %+v", e)
			}
		}
		select {
		case <-c.nodes[2].ended:
			return true
		default:
			return false
		}
	})
	if code := c.nodes[2].Wait(); code == 0 {
		t.Error("a node with a damaged state ended with code 0")
	}
	c.nodes[2].Says("checksum mismatch", "re-seeded from its peers")
	c.Wipe(2)
	c.Start(2)
	c.Ready(2)
	c.SameDigest(0, 1, 2)
}
