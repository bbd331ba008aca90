package cluster

import (
	"os"
	"path/filepath"
	"testing"
)

// What a node says in the end decides whether an operator would give it an empty
// disk, or only start it again.
func TestOnlyANodeWhoseDataIsDamagedNeedsAnEmptyDisk(t *testing.T) {
	for text, want := range map[string]bool{
		"error: entry 7 of the log is damaged on disk\nhint: empty its data directory and let it join again":                                      true,
		"hint: check the disk; a node whose state is damaged is re-seeded from its peers":                                                         true,
		"error: the state does not open: object size mismatch\nhint: the disk is full or damaged: make room, or re-seed this node from its peers": true,
		"error: raft log: store entries 5 to 6: input/output error\nhint: repair the disk, then start the node again: it re-reads its log":        false,
		"level=INFO msg=stopped": false,
	} {
		dir := t.TempDir()
		n := &Node{Name: "n1", cluster: &Cluster{c: Config{Dir: dir}}}
		if err := os.MkdirAll(filepath.Dir(n.Log()), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(n.Log(), []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := n.needsEmptyDisk() != ""; got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}
