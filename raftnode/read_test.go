package raftnode

import (
	"context"
	"testing"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
)

func TestIsolatedOldLeaderAnswersNoLinearizableRead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := form(t, nil)
		defer c.closeAll()
		old := c.leader()
		old.put("before")
		old.cut()
		newer := c.leader(old.name)
		newer.put("after")
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		wantKind(t, old.tryRead(ctx, ReadOptions{Mode: Linearizable}), fault.NoLeader)
		old.heal()
		old.mustHave("after", ReadOptions{Mode: Linearizable})
	})
}

// A leader that is cut off believes in itself until its lease ends. A read that
// begins in that time must not be answered from its stale state.
func TestLeaderWithinItsLeaseStillConfirms(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := form(t, nil)
		defer c.closeAll()
		old := c.leader()
		old.cut()
		if old.node.leads() == nil {
			t.Fatal("the leader stepped down before its lease ended")
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := old.tryRead(ctx, ReadOptions{Mode: Linearizable}); err == nil {
			t.Error("a leader without a quorum answered a linearizable read")
		}
	})
}

// One confirmation gives up after confirmTimeout; the caller may have more time.
func TestLinearizableReadIsTriedUntilItsDeadline(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := form(t, nil)
		defer c.closeAll()
		f := c.follower()
		f.put("a")
		f.cut()
		healed := time.AfterFunc(2*confirmTimeout, f.heal)
		defer healed.Stop()
		ctx, cancel := context.WithTimeout(t.Context(), 6*confirmTimeout)
		defer cancel()
		if err := f.tryRead(ctx, ReadOptions{Mode: Linearizable}); err != nil {
			t.Errorf("a read with time left after the partition healed: %v", err)
		}
	})
}

func TestBoundedReadOnIsolatedNodeBecomesStale(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := form(t, nil)
		defer c.closeAll()
		f := c.follower()
		r := f.put("a")
		f.mustHave("a", ReadOptions{Mode: Bounded, MaxStaleness: time.Second, MinIndex: r.Index})
		f.cut()
		time.Sleep(3 * time.Second)
		f.mustHave("a", ReadOptions{Mode: Bounded, MaxStaleness: time.Minute})
		_, err := f.has("a", ReadOptions{Mode: Bounded, MaxStaleness: 2 * time.Second})
		wantKind(t, err, fault.Stale)
		f.mustHave("a", ReadOptions{Mode: Any})
		view, info, err := f.node.Read(t.Context(), ReadOptions{Mode: Any})
		if err != nil {
			t.Fatal(err)
		}
		view.Close()
		if info.Staleness < 2*time.Second || info.Staleness > 10*time.Second {
			t.Errorf("measured staleness = %v, want what has passed since the cut", info.Staleness)
		}
		f.heal()
		c.eventually("fresh again", func() bool {
			_, err := f.has("a", ReadOptions{Mode: Bounded, MaxStaleness: time.Second})
			return err == nil
		})
	})
}

func TestMinIndexWaitsForTheWrite(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := form(t, nil)
		defer c.closeAll()
		leader, f := c.leader(), c.follower()
		f.cut()
		r := leader.put("a")
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		wantKind(t, f.tryRead(ctx, ReadOptions{Mode: Any, MinIndex: r.Index}), fault.Stale)
		f.heal()
		f.mustHave("a", ReadOptions{Mode: Any, MinIndex: r.Index})
	})
}

// Without the peer ports of the voters the quorum is confirmed through the log.
func TestReadFallsBackToTheLog(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, nil)
		defer c.closeAll()
		h := c.host("n1")
		h.start(1)
		c.ready("n1")
		e := h.node.leads()
		before := h.node.raft().LastIndex()
		index, err := h.node.loggedIndex(t.Context(), h.node.raft(), e)
		if err != nil || index <= before {
			t.Errorf("logged read index = %d, %v; want above %d", index, err, before)
		}
	})
}

func TestIdleClusterWritesNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := form(t, func(c *Config) { c.DigestInterval = 5 * time.Second })
		defer c.closeAll()
		leader := c.leader()
		leader.put("a")
		time.Sleep(12 * time.Second) // the digest check that follows the write
		last := leader.node.raft().LastIndex()
		time.Sleep(90 * time.Second)
		if got := c.leader().node.raft().LastIndex(); got != last {
			t.Errorf("the log of an idle cluster grew from %d to %d", last, got)
		}
	})
}
