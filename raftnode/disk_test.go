package raftnode

import (
	"context"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

func TestLowDiskTakesOnlyDeletesAndAdministration(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, nil)
		defer c.closeAll()
		h := c.host("n1")
		h.start(1)
		c.ready("n1")
		h.put("a")
		h.setFree(4)
		time.Sleep(2 * diskInterval)
		_, err := h.tryPut("b", time.Second)
		wantKind(t, err, fault.Overloaded)
		r, err := h.node.Propose(t.Context(), Request{Actor: alice, Command: &fsm.UnregisterEntry{Type: record.TypeTool, Key: "a"}})
		if err != nil || r.Outcome.Err() != nil {
			t.Errorf("a delete on a low disk: %+v, %v", r.Outcome, err)
		}
		h.setFree(50)
		time.Sleep(2 * diskInterval)
		h.put("b")
		if list := h.node.Status().Alarms; len(list) != 0 {
			t.Errorf("alarms with room again: %+v", list)
		}
	})
}

func TestFullDiskGivesLeadershipAwayAndTheBallastUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := form(t, func(c *Config) { c.BallastBytes = 1 << 20 })
		defer c.closeAll()
		old := c.leader()
		path := old.fs.PathJoin("data", ballastFile)
		c.eventually("a ballast", func() bool { _, err := old.fs.Stat(path); return err == nil })
		old.setFree(1)
		newer := c.leader(old.name)
		newer.put("a")
		c.eventually("the ballast is given up", func() bool { _, err := old.fs.Stat(path); return err != nil })
		old.setFree(50)
		c.eventually("the ballast is back", func() bool { _, err := old.fs.Stat(path); return err == nil })
	})
}

func TestFatalLogErrorStopsTheNode(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := form(t, nil)
		defer c.closeAll()
		old := c.leader()
		old.node.fatal(errTest)
		if got := old.failures(); len(got) != 1 {
			t.Fatalf("fatal was told %v", got)
		}
		_, err := old.tryPut("a", time.Second)
		wantKind(t, err, fault.Unavailable)
		if old.node.Health().Live == nil {
			t.Error("the node says it is alive")
		}
		c.leader(old.name).put("b")
	})
}

func TestMinorityOfTheDigestStopsServing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := form(t, func(c *Config) { c.DigestInterval = time.Hour })
		defer c.closeAll()
		wrong := c.leader()
		wrong.put("a")
		index := wrong.node.Meta().Index
		// The two others agree on a digest that the leader does not have.
		servers := wrong.node.servers()
		checks := make([]map[uint64]record.Digest, len(servers))
		for i, s := range servers {
			checks[i] = map[uint64]record.Digest{index: {1}}
			if string(s.ID) == wrong.node.ident.serverID() {
				checks[i][index] = record.Digest{2}
			}
		}
		v, ok := judge(servers, checks, []fsm.Check{{Index: index, Digest: record.Digest{2}}})
		if !ok || v.readOnly || len(v.minority) != 1 {
			t.Fatalf("verdict %+v, %v", v, ok)
		}
		for _, s := range servers {
			wrong.node.tellVerdict(t.Context(), s.ID, v)
		}
		newer := c.leader(wrong.name)
		newer.put("b")
		_, err := wrong.has("a", ReadOptions{Mode: Any})
		wantKind(t, err, fault.Integrity)
		// A restart does not make it right.
		wrong.close()
		wrong.start(3, three...)
		time.Sleep(5 * time.Second)
		_, err = wrong.has("a", ReadOptions{Mode: Any})
		wantKind(t, err, fault.Integrity)
		if wrong.node.leads() != nil {
			t.Error("the node whose state is wrong leads")
		}
		// With an empty directory it is right again.
		wrong.close()
		wrong.wipe()
		wrong.start(3, three...)
		c.ready(wrong.name)
		wrong.mustHave("b", ReadOptions{Mode: Linearizable})
	})
}

func TestDigestsOfEqualNodesAgree(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := form(t, func(c *Config) { c.DigestInterval = 5 * time.Second })
		defer c.closeAll()
		for range 5 {
			c.follower().put("k" + time.Now().String()[17:26])
			time.Sleep(5 * time.Second)
		}
		for _, name := range three {
			n := c.host(name).node
			if len(n.fsm.Checks()) < 3 || len(n.alarms.list()) > 0 || n.health.readOnly.Load() {
				t.Errorf("%s: %d checks, alarms %v", name, len(n.fsm.Checks()), n.alarms.list())
			}
		}
	})
}

func TestReadOnlyWithoutAMajorityOfDigests(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, nil)
		defer c.closeAll()
		h := c.host("n1")
		h.start(1)
		c.ready("n1")
		h.put("a")
		h.node.takeVerdict(verdictRequest{ReadOnly: true})
		_, err := h.tryPut("b", time.Second)
		wantKind(t, err, fault.Unavailable)
		h.mustHave("a", ReadOptions{Mode: Linearizable})
		h.node.takeVerdict(verdictRequest{})
		h.put("b")
	})
}

func TestDamagedStateTakesTheNodeOutOfService(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, nil)
		defer c.closeAll()
		h := c.host("n1")
		h.start(1)
		c.ready("n1")
		h.node.damaged(errTest)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		wantKind(t, h.tryRead(ctx, ReadOptions{Mode: Any}), fault.Integrity)
	})
}

func TestCommandsAreRefusedWhileTheStateDoesNotFollowTheLog(t *testing.T) {
	for _, k := range []struct {
		what            string
		commit, applied uint64
		stalled         bool
		refused         bool
	}{
		{"equal", 1000, 1000, false, false},
		{"ahead: raft's commit index is told later", 1000, 1001, false, false},
		{"at the limit", 1000 + maxApplyLag, 1000, false, false},
		{"above the limit", 1001 + maxApplyLag, 1000, false, true},
		{"a stall", 1000, 1000, true, true},
	} {
		err := behind(k.commit, k.applied, k.stalled)
		if refused := fault.Of(err) == fault.Overloaded; refused != k.refused || refused && fault.As(err).RetryAfter == 0 {
			t.Errorf("%s: %v", k.what, err)
		}
	}
}

func TestStallOfTheStateIsRefusedBeforeAnythingIsAppended(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, nil)
		defer c.closeAll()
		h := c.host("n1")
		h.start(1)
		c.ready("n1")
		h.put("a")
		before := h.node.raft().LastIndex()
		h.node.stalled.Store(true) // as the stalls of Pebble are seen, every freshInterval
		_, err := h.tryPut("b", time.Millisecond)
		wantKind(t, err, fault.Overloaded)
		if after := h.node.raft().LastIndex(); after != before {
			t.Errorf("the log went from %d to %d", before, after)
		}
		c.eventually("the end of the stall is seen", func() bool { return !h.node.stalled.Load() })
		h.put("b")
	})
}

func TestStateIsScrubbedAgainAndAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, func(c *Config) { c.ScrubInterval = 10 * time.Second })
		defer c.closeAll()
		h := c.host("n1")
		h.start(1)
		c.ready("n1")
		h.put("a")
		c.eventually("two scrubs", func() bool { return testutil.ToFloat64(h.node.metrics.scrubs) >= 2 })
		if list := h.node.Status().Alarms; len(list) != 0 {
			t.Errorf("alarms of a sound state: %+v", list)
		}
	})
}
