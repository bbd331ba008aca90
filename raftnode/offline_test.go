package raftnode

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode/logstore"
	"github.com/mcpraft/mcpraft/snapshot/recovery"
	"github.com/mcpraft/mcpraft/test/sim/simstore"
)

// offline opens the data of a stopped host.
func (h *host) offline() (*Offline, error) {
	fs := h.fs
	return OpenOffline(OfflineConfig{
		Dir: "data", FS: fs,
		OpenLog: func(dir string) (logstore.Base, error) { return simstore.Open(fs, dir) },
		ReadLog: func(dir string) (LogReader, error) {
			base, err := simstore.Open(fs, dir)
			if err != nil {
				return nil, err
			}
			return logstore.Chain(base, logstore.Options{}), nil
		},
	})
}

func (h *host) lastPosition(t *testing.T) recovery.Position {
	t.Helper()
	o, err := h.offline()
	if err != nil {
		t.Fatal(err)
	}
	tail, err := o.Tail()
	if err = errors.Join(err, o.Close()); err != nil {
		t.Fatal(err)
	}
	return recovery.Position{Term: tail.LastTerm, Index: tail.LastIndex}
}

func (h *host) forceNewCluster(t *testing.T) (*recovery.Plan, Adopted) {
	t.Helper()
	o, err := h.offline()
	if err != nil {
		t.Fatal(err)
	}
	tail, err := o.Tail()
	if err != nil {
		t.Fatal(err)
	}
	plan, err := recovery.NewPlan(t.Context(), recovery.Survivor{
		State: o.StateDir(), FS: h.fs, Log: recovery.Position{Term: tail.LastTerm, Index: tail.LastIndex}, Entries: o.Entries,
	})
	if err != nil {
		t.Fatal(err)
	}
	disk := NewDisk()
	done, err := plan.Run(t.Context(), recovery.Target{Dir: "recovered", Configuration: SoleVoter(h.name, disk)})
	if err != nil {
		t.Fatal(err)
	}
	adopted, err := o.Adopt(Adoption{State: done.Dir, Disk: disk})
	if err != nil {
		t.Fatal(err)
	}
	return plan, adopted
}

func TestForceNewClusterKeepsEveryAcknowledgedWrite(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := form(t, nil)
		defer c.closeAll()
		leader := c.leader()
		for i := range 30 {
			leader.put(fmt.Sprint("k", i))
		}
		for _, name := range three {
			c.host(name).crash()
		}
		// The leader is lost. Of the others, one may lack the newest entries.
		var survivor *host
		var last recovery.Position
		for _, name := range three {
			if h := c.host(name); h != leader {
				if p := h.lastPosition(t); survivor == nil || p.Compare(last) > 0 {
					survivor, last = h, p
				}
			}
		}
		plan, adopted := survivor.forceNewCluster(t)
		if adopted.Timeline.Number != plan.From.Number+1 {
			t.Errorf("timeline %v follows %v", adopted.Timeline, plan.From)
		}
		survivor.start(3, three...)
		c.ready(survivor.name)
		for i := range 30 {
			survivor.mustHave(fmt.Sprint("k", i), ReadOptions{Mode: Linearizable})
		}
		r := survivor.put("after")
		if r.Timeline != adopted.Timeline {
			t.Errorf("a write is on timeline %v, want %v", r.Timeline, adopted.Timeline)
		}
		if s := survivor.node.Status(); len(s.Voters) != 1 || s.Timeline != adopted.Timeline {
			t.Errorf("status %+v", s)
		}

		// A node of the old timeline is refused; with an empty disk it joins.
		var old *host
		for _, name := range three {
			if h := c.host(name); h != survivor {
				old = h
			}
		}
		old.start(3, three...)
		time.Sleep(20 * time.Second)
		if _, err := old.has("after", ReadOptions{Mode: Linearizable}); err == nil {
			t.Error("a node of the old timeline serves linearizable reads")
		}
		if n := len(survivor.node.servers()); n != 1 {
			t.Errorf("%d servers, want 1", n)
		}
		old.close()
		old.wipe()
		old.start(3, three...)
		c.ready(old.name)
		old.mustHave("after", ReadOptions{Mode: Linearizable})
		c.eventually("the new node votes", func() bool { return len(survivor.node.Status().Voters) == 2 })
	})
}

func TestOfflineRefusesARunningNode(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, nil)
		defer c.closeAll()
		h := c.host("n1")
		h.start(1)
		_, err := h.offline()
		wantKind(t, err, fault.Conflict)
		h.close()
		c.host("n2").fs = h.fs
		o, err := h.offline()
		if err != nil {
			t.Fatal(err)
		}
		wantKind(t, h.tryStart(1), fault.Conflict)
		if err := o.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestStartAfterAnUnfinishedAdoptionIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, nil)
		defer c.closeAll()
		h := c.host("n1")
		if err := h.fs.MkdirAll("data.new", 0o700); err != nil {
			t.Fatal(err)
		}
		wantKind(t, h.tryStart(1), fault.Conflict)
	})
}
