package raftnode

import (
	"testing"
	"time"
)

func TestSingleNodeCommitsAndReads(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, nil)
		defer c.closeAll()
		h := c.host("n1")
		h.start(1)
		c.ready("n1")
		r := h.put("a")
		if r.Index == 0 || r.Outcome.Revision == 0 || r.Timeline.IsZero() {
			t.Errorf("receipt = %+v", r)
		}
		h.mustHave("a", ReadOptions{Mode: Linearizable})
		h.mustHave("a", ReadOptions{Mode: Bounded})
		h.mustHave("a", ReadOptions{Mode: Any, MinIndex: r.Index})
	})
}

func TestThreeNodesCommitAndReadAnywhere(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := form(t, nil)
		defer c.closeAll()
		for _, writer := range three {
			c.host(writer).put("by-" + writer)
			for _, reader := range three {
				c.host(reader).mustHave("by-"+writer, ReadOptions{Mode: Linearizable})
			}
		}
		c.sameState(three...)
	})
}

func TestRestartedNodeKeepsItsState(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, nil)
		defer c.closeAll()
		h := c.host("n1")
		h.start(1)
		c.ready("n1")
		h.put("a")
		id := h.node.Status().ClusterID
		h.crash()
		h.start(1)
		c.ready("n1")
		h.mustHave("a", ReadOptions{Mode: Linearizable})
		if got := h.node.Status().ClusterID; got != id {
			t.Errorf("cluster id %v became %v", id, got)
		}
	})
}

func TestLeaderKilledUnderLoadLosesNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := form(t, nil)
		defer c.closeAll()
		f := c.follower()
		var acked []string
		leader := c.leader()
		for i := range 50 {
			if i == 20 {
				leader.crash()
			}
			key := "k" + itoa(int64(i))
			r := f.put(key)
			if r.Outcome.Replayed {
				t.Logf("%s was answered from the window", key)
			}
			acked = append(acked, key)
		}
		leader.start(3, three...)
		c.ready(three...)
		for _, key := range acked {
			leader.mustHave(key, ReadOptions{Mode: Linearizable})
		}
		c.sameState(three...)
		time.Sleep(time.Second)
	})
}
