package raftnode

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/mcpraft/mcpraft/fsm"
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

// proposal is an encoded command without a producer.
func proposal(t *testing.T, key string) []byte {
	t.Helper()
	data, err := fsm.EncodeProposal(&fsm.Proposal{Actor: alice, Command: register(key)})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// A follower whose log goes on past a snapshot with entries of an old term gets
// that snapshot for ever from the raft library alone (its issue 697).
func TestDivergentTailIsHealedAtInstall(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := form(t, cutEarly)
		defer c.closeAll()
		old := c.leader()
		old.put("before")
		old.sever()
		// The old leader appends entries that no majority has: more of them than
		// its batcher would, so that there is room for a snapshot among them.
		common := old.node.raft().LastIndex()
		for i := range 30 {
			data, err := fsm.AppendEnvelope(old.node.leads().stamp(), [][]byte{proposal(t, fmt.Sprint("lost", i))})
			if err != nil {
				t.Fatal(err)
			}
			old.node.raft().Apply(data, time.Second)
		}
		tail := common + 30
		c.eventually("the tail is stored", func() bool { return old.node.raft().LastIndex() == tail })
		newer := c.leader(old.name)
		for i := 0; newer.node.raft().LastIndex() < tail-10; i++ {
			newer.put(fmt.Sprint("kept", i))
		}
		if err := newer.node.snapshot(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s := newer.node.Status(); s.FirstIndex <= common+1 || s.LastIndex >= tail {
			t.Fatalf("the log of the new leader is %d to %d, that of the old one differs from %d to %d", s.FirstIndex, s.LastIndex, common+1, tail)
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
		if got := testutil.ToFloat64(old.node.metrics.heals); got != 1 {
			t.Errorf("raft was restarted %v times, want once", got)
		}
		if ok, err := old.has("lost29", ReadOptions{Mode: Linearizable}); ok || err != nil {
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
