package raftnode

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// cutEarly makes every node cut its log soon and keep almost nothing of it.
func cutEarly(c *Config) { c.SnapshotEntries, c.TrailingLogs = 20, 2 }

func TestNodeThatWasAwayComesBackBySnapshot(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := form(t, cutEarly)
		defer c.closeAll()
		f := c.follower()
		f.crash()
		leader := c.leader(f.name)
		for i := range 60 {
			leader.put(fmt.Sprint("k", i))
		}
		c.eventually("the leader has cut its log", func() bool { return leader.node.Status().FirstIndex > 40 })
		f.start(3, three...)
		c.ready(f.name)
		f.mustHave("k0", ReadOptions{Mode: Linearizable})
		f.mustHave("k59", ReadOptions{Mode: Linearizable})
		c.sameState(three...)
		f.put("after")
		// What was installed survives a crash, and explains the log to the next start.
		f.crash()
		f.start(3, three...)
		c.ready(f.name)
		f.mustHave("after", ReadOptions{Mode: Linearizable})
		c.sameState(three...)
	})
}

// A follower whose log goes on past a snapshot with entries of an old term gets
// that snapshot for ever from the raft library alone (its issue 697).
func TestDivergentTailIsHealedAtInstall(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := form(t, cutEarly)
		defer c.closeAll()
		old := c.leader()
		old.put("before")
		old.cut()
		// The old leader appends entries that no majority has.
		for i := range 80 {
			go func() { _, _ = old.tryPut(fmt.Sprint("lost", i), 100*time.Millisecond) }()
			time.Sleep(time.Millisecond)
		}
		tail := old.node.raft().LastIndex()
		newer := c.leader(old.name)
		for i := newer.node.raft().LastIndex(); i < tail-5; i = newer.node.raft().LastIndex() {
			newer.put(fmt.Sprint("kept", i))
		}
		if err := newer.node.snapshot(t.Context()); err != nil {
			t.Fatal(err)
		}
		if first := newer.node.Status().FirstIndex; first < 10 || newer.node.raft().LastIndex() > tail {
			t.Fatalf("the log of the new leader is %d to %d, the tail of the old one ends at %d", first, newer.node.raft().LastIndex(), tail)
		}
		old.heal()
		c.eventually("the old leader follows", func() bool {
			return old.node.Meta().Index >= newer.node.Meta().Index
		})
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if err := old.node.Ready(ctx); err != nil {
			t.Fatal(err)
		}
		old.put("after")
		c.sameState(three...)
		if ok, err := old.has("lost79", ReadOptions{Mode: Linearizable}); ok || err != nil {
			t.Errorf("an entry that never committed is there: %v, %v", ok, err)
		}
	})
}

func TestStateAheadOfItsLogIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, nil)
		defer c.closeAll()
		h := c.host("n1")
		h.start(1)
		c.ready("n1")
		h.put("a")
		h.close()
		if err := h.fs.RemoveAll("data/log"); err != nil {
			t.Fatal(err)
		}
		err := h.tryStart(1)
		wantKind(t, err, fault.Integrity)
		t.Log(err)
	})
}

func TestLogWithoutItsStateIsRefusedWhenItWasCut(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, cutEarly)
		defer c.closeAll()
		h := c.host("n1")
		h.start(1)
		c.ready("n1")
		for i := range 60 {
			h.put(fmt.Sprint(i))
		}
		c.eventually("the log is cut", func() bool { return h.node.Status().FirstIndex > 1 })
		h.close()
		if err := h.fs.RemoveAll("data/fsm"); err != nil {
			t.Fatal(err)
		}
		wantKind(t, h.tryStart(1), fault.Integrity)
	})
}

func TestLostStateIsRebuiltFromAWholeLog(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, nil)
		defer c.closeAll()
		h := c.host("n1")
		h.start(1)
		c.ready("n1")
		h.put("a")
		h.close()
		if err := h.fs.RemoveAll("data/fsm"); err != nil {
			t.Fatal(err)
		}
		h.start(1)
		c.ready("n1")
		h.mustHave("a", ReadOptions{Mode: Linearizable})
	})
}

func TestDataOfAnotherNodeOrClusterIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, nil)
		defer c.closeAll()
		h := c.host("n1")
		h.start(1)
		c.ready("n1")
		h.close()
		other := c.host("n2")
		other.fs = h.fs
		wantKind(t, other.tryStart(1), fault.Conflict)
		cfg := h.config(1)
		cfg.Cluster = "elsewhere"
		_, err := Start(t.Context(), cfg)
		wantKind(t, err, fault.Conflict)
		_ = cfg.Listener.Close()
	})
}

func TestDirectoryInUseIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, nil)
		defer c.closeAll()
		h := c.host("n1")
		h.start(1)
		cfg := c.host("elsewhere").config(1)
		cfg.Node, cfg.FS = "n1", h.fs
		_, err := Start(t.Context(), cfg)
		wantKind(t, err, fault.Conflict)
		_ = cfg.Listener.Close()
	})
}
