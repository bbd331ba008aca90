package raftnode

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/mcpraft/mcpraft/internal/fault"
)

func (c *cluster) voters() int { return len(votersOf(c.leader().node.raft())) }

func TestNodeJoinsThroughAnyMemberAndIsPromoted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := form(t, nil)
		defer c.closeAll()
		c.leader().put("a")
		member := c.follower()
		h := c.host("n4")
		h.start(0, member.name)
		c.ready("n4")
		h.mustHave("a", ReadOptions{Mode: Linearizable})
		if role := h.node.Status().Role; role != "replica" {
			t.Errorf("role after joining = %s, want replica", role)
		}
		since := time.Now()
		c.eventually("promotion", func() bool { return h.node.Status().Role == "follower" })
		if waited := time.Since(since); waited < stableFor-2*time.Second {
			t.Errorf("promoted after %v, want about %v", waited, stableFor)
		}
		h.put("b")
	})
}

func TestInvitedNodeJoins(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := form(t, nil)
		defer c.closeAll()
		h := c.host("n4")
		h.start(0)
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if node, err := c.follower().node.Invite(ctx, addr("n4")); err != nil || node != "n4" {
			t.Fatalf("invite: %s, %v", node, err)
		}
		c.ready("n4")
	})
}

func TestReplicaIsNeverPromoted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := form(t, func(c *Config) {
			if c.Node == "n4" {
				c.Replica = true
			}
		})
		defer c.closeAll()
		h := c.host("n4")
		h.start(0, "n1")
		c.ready("n4")
		time.Sleep(2 * stableFor)
		if role := h.node.Status().Role; role != "replica" {
			t.Errorf("role = %s, want replica", role)
		}
	})
}

func TestDemotedNodeStaysWithoutVoteUntilPromoted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := form(t, nil)
		defer c.closeAll()
		f := c.follower()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		if err := f.node.Demote(ctx, f.name); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * stableFor)
		if role := f.node.Status().Role; role != "replica" {
			t.Errorf("role long after demotion = %s", role)
		}
		if err := f.node.Promote(ctx, f.name); err != nil {
			t.Fatal(err)
		}
		c.eventually("the vote is back", func() bool { return f.node.Status().Role == "follower" })
	})
}

func TestRemovedNodeIsForgotten(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := form(t, nil)
		defer c.closeAll()
		f := c.follower()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := c.leader().node.Remove(ctx, f.name); err != nil {
			t.Fatal(err)
		}
		members, err := c.leader().node.Members(ctx)
		if err != nil || len(members) != 2 {
			t.Errorf("members after removal: %+v, %v", members, err)
		}
		if _, ok := c.leader().node.member(f.name); ok {
			t.Error("the record of the removed node is still there")
		}
		c.eventually("the removed node says so", func() bool {
			return f.node.ready() != nil && len(f.node.Status().Alarms) > 0 && f.node.Status().Alarms[0].Name == AlarmRemoved
		})
		wantKind(t, c.leader().node.Remove(ctx, f.name), fault.NotFound)
	})
}

func TestRemovingTheLeaderMovesLeadershipFirst(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := form(t, nil)
		defer c.closeAll()
		old := c.leader()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := old.node.Remove(ctx, old.name); err != nil {
			t.Fatal(err)
		}
		c.leader(old.name).put("a")
		if n := len(votersOf(c.leader(old.name).node.raft())); n != 2 {
			t.Errorf("%d voters are left, want 2", n)
		}
	})
}

func TestRemovalThatWouldLoseTheQuorumIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := form(t, nil)
		defer c.closeAll()
		leader, dead := c.leader(), c.follower()
		dead.crash()
		var other *host
		for _, name := range three {
			if h := c.host(name); h != leader && h != dead {
				other = h
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		// Without other, the leader and the dead node would be the voters.
		wantKind(t, leader.node.Remove(ctx, other.name), fault.Conflict)
		if err := leader.node.Remove(ctx, dead.name); err != nil {
			t.Errorf("removing the dead node: %v", err)
		}
	})
}

func TestWipedNodeComesBackUnderANewDiskAndReplacesItself(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := form(t, nil)
		defer c.closeAll()
		leader := c.leader()
		leader.put("a")
		f := c.follower()
		former := raft.ServerID(f.node.ident.serverID())
		f.crash()
		f.wipe()
		time.Sleep(5 * time.Second)
		f.start(3, three...)
		c.ready(f.name)
		f.mustHave("a", ReadOptions{Mode: Linearizable})
		if n := c.voters(); n != 3 {
			t.Errorf("%d voters while the new disk catches up, want 3", n)
		}
		c.eventually("the new disk votes", func() bool { return f.node.Status().Role == "follower" })
		for _, id := range votersOf(c.leader().node.raft()) {
			if id == former {
				t.Errorf("the former disk %s still votes", former)
			}
		}
		if n := c.voters(); n != 3 {
			t.Errorf("%d voters afterwards, want 3", n)
		}
	})
}

func TestSecondProcessWithTheNameOfALiveNodeIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := form(t, nil)
		defer c.closeAll()
		f := c.follower()
		// The same name and certificate, another disk and place.
		twin := c.host("twin")
		cfg := twin.config(0, three...)
		own := f.config2()
		cfg.Node, cfg.Credentials, cfg.PeerAddr = own.Node, own.Credentials, addr("twin")
		n, err := Start(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		twin.node, twin.up = n, true
		time.Sleep(30 * time.Second)
		if id := n.Status().ClusterID; !id.IsZero() {
			t.Errorf("a second %s was taken in", f.name)
		}
		if n := c.voters(); n != 3 {
			t.Errorf("%d voters, want 3", n)
		}
	})
}

func TestNodeOfAnotherClusterIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := form(t, nil)
		defer c.closeAll()
		// n4 forms a cluster of the same name by itself, then is pointed at ours.
		h := c.host("n4")
		h.start(1)
		c.ready("n4")
		h.put("theirs")
		h.close()
		h.start(0, three...)
		time.Sleep(20 * time.Second)
		if h.node.ready() != nil {
			t.Errorf("n4 does not serve its own cluster: %v", h.node.ready())
		}
		h.mustHave("theirs", ReadOptions{Mode: Linearizable})
		if ok, err := c.leader("n4").has("theirs", ReadOptions{Mode: Linearizable}); ok || err != nil {
			t.Errorf("two clusters merged: %v, %v", ok, err)
		}
		_, err := c.leader("n4").node.Invite(t.Context(), addr("n4"))
		if err == nil {
			t.Error("a node of another cluster accepted an invitation")
		}
	})
}

func TestClusterFormsOnlyFromAsManyNodesAsExpected(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, nil)
		defer c.closeAll()
		for _, name := range three[:2] {
			c.host(name).start(3, three...)
		}
		time.Sleep(15 * time.Second)
		for _, name := range three[:2] {
			if id := c.host(name).node.Status().ClusterID; !id.IsZero() {
				t.Errorf("%s formed a cluster of two", name)
			}
		}
		c.host("n3").start(3, three...)
		c.ready(three...)
	})
}

func TestFourEmptyNodesOfThreeFormNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, nil)
		defer c.closeAll()
		names := []string{"n1", "n2", "n3", "n4"}
		for _, name := range names {
			c.host(name)
		}
		for _, name := range names {
			c.host(name).start(3, names...)
		}
		time.Sleep(15 * time.Second)
		formed := make(map[string]bool)
		for _, name := range names {
			if id := c.host(name).node.Status().ClusterID; !id.IsZero() {
				formed[id.String()] = true
			}
		}
		if len(formed) > 1 {
			t.Errorf("%d clusters were formed", len(formed))
		}
	})
}

func TestNodesThatExpectDifferentNumbersFormNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, nil)
		defer c.closeAll()
		c.host("n1").start(3, three...)
		c.host("n2").start(5, three...)
		c.host("n3").start(3, three...)
		time.Sleep(15 * time.Second)
		for _, name := range three {
			if id := c.host(name).node.Status().ClusterID; !id.IsZero() {
				t.Errorf("%s belongs to a cluster", name)
			}
		}
	})
}

func TestBootstrapperThatCrashesAtOnceStillFormsOneCluster(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, nil)
		defer c.closeAll()
		for _, name := range three {
			c.host(name)
		}
		for _, name := range three {
			c.host(name).start(3, three...)
		}
		n1 := c.host("n1")
		for n1.node.raft().LastIndex() == 0 {
			time.Sleep(time.Millisecond)
		}
		n1.crash()
		n1.start(3, three...)
		c.ready(three...)
		ids := make(map[string]bool)
		for _, name := range three {
			ids[c.host(name).node.Status().ClusterID.String()] = true
		}
		if len(ids) != 1 {
			t.Errorf("clusters: %v", ids)
		}
	})
}

func TestLeadershipTransferIsQuickAndLosesNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := form(t, nil)
		defer c.closeAll()
		old, to := c.leader(), c.follower()
		old.put("a")
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := to.node.TransferLeadership(ctx, to.name); err != nil {
			t.Fatal(err)
		}
		if got := c.leader(); got != to {
			t.Errorf("%s leads, want %s", got.name, to.name)
		}
		old.put("b")
		for i := range 10 {
			old.put(fmt.Sprint("c", i))
		}
		c.sameState(three...)
	})
}

func TestClosingLeaderHandsOver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := form(t, nil)
		defer c.closeAll()
		old := c.leader()
		old.close()
		start := time.Now()
		c.leader(old.name).put("a")
		if waited := time.Since(start); waited > 250*time.Millisecond {
			t.Errorf("the first write after a clean stop took %v, want at most 250ms", waited)
		}
	})
}
