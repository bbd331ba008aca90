package raftnode

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/test/model/memnet"
)

// Creating an entry twice is a conflict, so an accepted creation that was applied
// a second time would show as a rejection, and a lost one as a missing entry.
func TestCommandsApplyExactlyOnceWhileLeadersFail(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := form(t, nil)
		defer c.closeAll()
		f := c.follower()
		for i, a := range three {
			for _, b := range three[i+1:] {
				c.net.SetLatency(a, b, 3*time.Millisecond)
			}
		}
		var mu sync.Mutex
		var acked, unknown []string
		replayed := 0
		var wg sync.WaitGroup
		stop := make(chan struct{})
		for w := range 8 {
			wg.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					key := fmt.Sprintf("w%d-%d", w, i)
					r, err := f.tryPut(key, 20*time.Second)
					mu.Lock()
					switch {
					case err == nil && r.Outcome.Kind == 0:
						acked = append(acked, key)
						if r.Outcome.Replayed {
							replayed++
						}
					case err == nil:
						t.Errorf("%s: %v", key, r.Outcome.Err())
					case fault.Of(err) == fault.OutcomeUnknown:
						unknown = append(unknown, key)
					}
					mu.Unlock()
					time.Sleep(10 * time.Millisecond)
				}
			})
		}
		// Answers are lost: the leader has appended what it was sent.
		for range 30 {
			time.Sleep(37 * time.Millisecond)
			if leader := c.leader(); leader != f {
				c.net.Cut(f.name, leader.name, memnet.Reset)
				time.Sleep(20 * time.Millisecond)
				c.net.Heal(f.name, leader.name)
			}
		}
		// Leaders are lost, with what they had not replicated.
		for range 4 {
			time.Sleep(700 * time.Millisecond)
			leader := c.leader()
			if leader == f {
				_ = f.node.TransferLeadership(t.Context(), "")
				continue
			}
			leader.cut()
			time.Sleep(1500 * time.Millisecond)
			leader.heal()
		}
		close(stop)
		wg.Wait()
		if len(acked) < 100 {
			t.Errorf("only %d commands were acknowledged", len(acked))
		}
		if replayed == 0 {
			t.Error("no answer was lost: the test shows nothing")
		}
		t.Logf("%d acknowledged, %d of them answered from the window, %d unknown", len(acked), replayed, len(unknown))
		c.ready(three...)
		c.sameState(three...)
		view, _, err := f.node.Read(t.Context(), ReadOptions{Mode: Linearizable})
		if err != nil {
			t.Fatal(err)
		}
		defer view.Close()
		for _, key := range acked {
			if _, err := view.WhereIs(0, record.TypeTool, key); err != nil {
				t.Errorf("acknowledged and lost: %v", err)
			}
		}
	})
}

func TestProposalWithoutAQuorumIsNeverASuccess(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := form(t, nil)
		defer c.closeAll()
		f := c.follower()
		f.cut()
		time.Sleep(2 * time.Second) // the leader is forgotten
		_, err := f.tryPut("a", time.Second)
		wantKind(t, err, fault.NoLeader)
		f.heal()
		c.ready(f.name)
		if ok, err := f.has("a", ReadOptions{Mode: Linearizable}); ok || err != nil {
			t.Errorf("a command that nothing became of is there: %v, %v", ok, err)
		}
	})
}

func TestInvalidCommandIsRefusedBeforeItIsAppended(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := form(t, nil)
		defer c.closeAll()
		f := c.follower()
		last := c.leader().node.raft().LastIndex()
		_, err := f.node.Propose(t.Context(), Request{Actor: alice, Command: &fsm.RegisterEntry{Entry: record.Entry{Type: 99}}})
		wantKind(t, err, fault.Invalid)
		// Nor when another node forwards it.
		_, err = c.leader().node.Call(t.Context(), f.name, opForward, []byte{0xff})
		wantKind(t, err, fault.Invalid)
		a, err := call[forwardAnswer](t.Context(), f.node, c.leader().name, opForward, forwardRequest{Proposals: [][]byte{{0xff}}})
		if err != nil || len(a.Answers) != 1 || a.Answers[0].Kind != fault.Invalid {
			t.Errorf("a forwarded command that does not decode: %+v, %v", a, err)
		}
		if got := c.leader().node.raft().LastIndex(); got != last {
			t.Errorf("the log grew from %d to %d", last, got)
		}
	})
}

func TestFollowerDoesNotForwardForAnother(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := form(t, nil)
		defer c.closeAll()
		leader, f := c.leader(), c.follower()
		_, err := call[forwardAnswer](t.Context(), leader.node, f.name, opForward, forwardRequest{Proposals: [][]byte{proposal(t, "a")}})
		wantKind(t, err, fault.NoLeader)
	})
}

func TestRejectionIsAnOutcome(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := form(t, nil)
		defer c.closeAll()
		f := c.follower()
		f.put("a")
		r, err := f.tryPut("a", time.Second)
		if err != nil || r.Outcome.Kind != fault.Conflict {
			t.Errorf("a second registration = %+v, %v", r.Outcome, err)
		}
	})
}

func TestProducerWaitsWhenItsWindowIsFull(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newProducer()
		id, _ := p.current()
		p.opened(id)
		first, err := p.begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for range fsm.MaxUnacknowledged - 1 {
			k, err := p.begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			p.end(k)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if k, err := p.begin(ctx); err == nil {
			t.Fatalf("sequence %d was given out %d above the floor %d", k.sequence, k.sequence-k.acked, k.acked)
		}
		p.end(first)
		k, err := p.begin(t.Context())
		if err != nil || k.acked != fsm.MaxUnacknowledged {
			t.Errorf("after the oldest was answered: %+v, %v; want everything acknowledged", k, err)
		}
	})
}

func TestWaitsWakeInOrderOfIndex(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var w waits
		done := make(chan uint64, 10)
		for i := uint64(1); i <= 5; i++ {
			go func() {
				if w.wait(t.Context(), i) == nil {
					done <- i
				}
			}()
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := w.wait(ctx, 3); !isContext(err) {
			t.Errorf("a wait for what is not applied ended with %v", err)
		}
		w.advance(3)
		time.Sleep(time.Second)
		if len(done) != 3 {
			t.Errorf("%d waits ended at index 3, want 3", len(done))
		}
		w.close(errTest)
		if err := w.wait(t.Context(), 3); err != nil {
			t.Errorf("what is applied stays applied: %v", err)
		}
		if err := w.wait(t.Context(), 9); err != errTest {
			t.Errorf("a wait after the end: %v", err)
		}
	})
}
