package raftnode

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// Two nodes may do a duty for a moment, because the former leader has not heard
// yet that it is one. What they propose in that moment is told apart by the term.
func TestDutyMovesWithTheLeaderAndItsCommandsAreFenced(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := form(t, nil)
		defer c.closeAll()
		var running atomic.Int32
		terms := make(chan Term, 16)
		for _, name := range three {
			c.host(name).node.Duty("test", func(ctx context.Context, term Term) error {
				running.Add(1)
				defer running.Add(-1)
				terms <- term
				<-ctx.Done()
				return ctx.Err()
			})
		}
		first := <-terms
		old := c.leader()
		if err := old.node.TransferLeadership(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		if second := <-terms; second <= first {
			t.Errorf("the duty's terms were %d and %d", first, second)
		}
		time.Sleep(time.Second)
		if got := running.Load(); got != 1 {
			t.Errorf("%d nodes do the duty, want 1", got)
		}
		r, err := old.node.Propose(t.Context(), Request{Actor: alice, Term: uint64(first), Command: register("late")})
		if err != nil || r.Outcome.Kind != fault.Fenced {
			t.Errorf("a command of the former term = %+v, %v; want fenced", r.Outcome, err)
		}
	})
}

func TestFailedDutyIsTriedAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, nil)
		defer c.closeAll()
		h := c.host("n1")
		h.start(1)
		var runs atomic.Int32
		h.node.Duty("fails twice", func(context.Context, Term) error {
			if runs.Add(1) < 3 {
				return errTest
			}
			return nil
		})
		c.ready("n1")
		time.Sleep(time.Minute)
		if got := runs.Load(); got != 3 {
			t.Errorf("the duty ran %d times, want 3", got)
		}
	})
}

func TestNodeWithAFastClockDoesNotLead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, nil)
		defer c.closeAll()
		for _, name := range three {
			c.host(name)
		}
		fast := c.host("n1")
		fast.ahead = time.Hour
		for _, name := range three {
			c.host(name).start(3, three...)
		}
		c.ready("n2", "n3")
		time.Sleep(10 * time.Second)
		leader := c.leader()
		if leader == fast {
			t.Fatal("the node whose clock is an hour ahead leads")
		}
		r := leader.put("a")
		if drift := time.Until(r.Outcome.Time.Time()); drift > time.Minute {
			t.Errorf("log time is %v ahead", drift)
		}
		// Even when it is asked to.
		_ = leader.node.TransferLeadership(t.Context(), "n1")
		time.Sleep(5 * time.Second)
		if c.leader() == fast {
			t.Error("it leads after a transfer")
		}
	})
}

func TestLogTimeFollowsTheMonotonicClock(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, nil)
		defer c.closeAll()
		h := c.host("n1")
		h.start(1)
		c.ready("n1")
		before := h.put("a").Outcome.Time
		h.mu.Lock()
		h.ahead = 24 * time.Hour // the wall clock jumps
		h.mu.Unlock()
		time.Sleep(time.Minute)
		after := h.put("b").Outcome.Time
		if passed := after.Sub(before); passed < 59*time.Second || passed > 61*time.Second {
			t.Errorf("log time moved by %v in a minute", passed)
		}
	})
}
