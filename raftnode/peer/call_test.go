package peer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/test/model/memnet"
)

// twoNodes are n1 and n2, which can call each other.
func twoNodes(t *testing.T, f func(w *world, n1, n2 *testNode)) {
	t.Helper()
	bubble(t, func(w *world) {
		n1, n2 := w.start("n1", setup{}).echo(), w.start("n2", setup{}).echo()
		f(w, n1, n2)
		n1.stop()
		n2.stop()
	})
}

func TestAnswersComeInAnyOrder(t *testing.T) {
	twoNodes(t, func(w *world, n1, n2 *testNode) {
		const calls = 100
		release := make([]chan struct{}, calls)
		n2.Handle(50, func(_ context.Context, _ From, body []byte) ([]byte, error) {
			answer := []byte{body[0]}
			<-release[body[0]]
			return answer, nil
		})
		var wg sync.WaitGroup
		var mu sync.Mutex
		var order []int
		for i := range calls {
			release[i] = make(chan struct{})
			wg.Go(func() {
				answer, err := n1.Call(w.t.Context(), "n2", 50, []byte{byte(i)})
				if err != nil || int(answer[0]) != i {
					w.t.Errorf("call %d: %v, %v", i, answer, err)
				}
				mu.Lock()
				defer mu.Unlock()
				order = append(order, i)
			})
		}
		synctest.Wait()
		for i := calls - 1; i >= 0; i-- {
			close(release[i])
			synctest.Wait()
		}
		wg.Wait()
		for i, got := range order {
			if got != calls-1-i {
				w.t.Fatalf("answers came in order %v", order)
			}
		}
		if got := testutil.ToFloat64(n1.o.Metrics.dials.WithLabelValues(protocolCalls, "ok")); got != 1 {
			w.t.Errorf("%v connections for %d calls, want 1", got, calls)
		}
	})
}

func TestFaultCrossesTheWire(t *testing.T) {
	twoNodes(t, func(w *world, n1, n2 *testNode) {
		n2.Handle(opFail, func(_ context.Context, _ From, body []byte) ([]byte, error) {
			if len(body) > 0 {
				return nil, errors.New("secret path /etc/shadow")
			}
			return nil, fmt.Errorf("wrapped: %w", fault.New(fault.NoLeader, "n2 does not lead: %w", errors.New("secret")).
				WithHint("ask n3").WithDetail("leader", "n3").After(70*time.Millisecond))
		})
		_, err := n1.Call(w.t.Context(), "n2", opFail, nil)
		e := fault.As(err)
		if e.Kind != fault.NoLeader || e.Message != "n2 does not lead" || e.Hint != "ask n3" || e.Details["leader"] != "n3" || e.RetryAfter != 70*time.Millisecond {
			w.t.Errorf("fault arrived as %+v", e)
		}
		_, err = n1.Call(w.t.Context(), "n2", opFail, []byte{1})
		wantKind(w.t, err, fault.Internal, "internal error")
	})
}

func TestUnknownOperationIsUnsupported(t *testing.T) {
	twoNodes(t, func(w *world, n1, n2 *testNode) {
		_, err := n1.Call(w.t.Context(), "n2", 999, nil)
		wantKind(w.t, err, fault.Unsupported, "node n2 has no operation 999")
	})
}

func TestPanickingHandlerCostsOneCall(t *testing.T) {
	twoNodes(t, func(w *world, n1, n2 *testNode) {
		_, err := n1.Call(w.t.Context(), "n2", opPanic, nil)
		wantKind(w.t, err, fault.Internal, "operation 5 on node n2 (n2:7442)")
		answer, err := n1.Call(w.t.Context(), "n2", opEcho, nil)
		wantAnswer(w.t, answer, err, "n1: ")
	})
}

func TestCallAboveTheLimitIsNotSent(t *testing.T) {
	twoNodes(t, func(w *world, n1, n2 *testNode) {
		n2.Handle(50, func(_ context.Context, _ From, body []byte) ([]byte, error) { return make([]byte, len(body)+1), nil })
		limit := n1.o.Limits.MaxBody
		_, err := n1.Call(w.t.Context(), "n2", 50, make([]byte, limit+1))
		wantKind(w.t, err, fault.TooLarge, "operation 50")
		_, err = n1.Call(w.t.Context(), "n2", 50, make([]byte, limit))
		wantKind(w.t, err, fault.Internal, "above the limit")
		answer, err := n1.Call(w.t.Context(), "n2", 50, make([]byte, limit-1))
		if len(answer) != limit || err != nil {
			w.t.Errorf("answer of %d bytes, %v; want %d", len(answer), err, limit)
		}
	})
}

func TestCancelledCallEndsItsHandler(t *testing.T) {
	twoNodes(t, func(w *world, n1, n2 *testNode) {
		ended := make(chan error, 1)
		n2.Handle(50, func(ctx context.Context, _ From, _ []byte) ([]byte, error) {
			<-ctx.Done()
			ended <- ctx.Err()
			return nil, ctx.Err()
		})
		ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		_, err := n1.Call(ctx, "n2", 50, nil)
		wantKind(w.t, err, fault.Timeout, "node n2 (n2:7442) has not answered operation 50")
		if !errors.Is(err, context.DeadlineExceeded) {
			w.t.Errorf("%v does not wrap the end of its context", err)
		}
		if err := <-ended; !errors.Is(err, context.Canceled) {
			w.t.Errorf("handler ended by %v", err)
		}
		if took := time.Since(start); took != time.Second {
			w.t.Errorf("took %v, want 1s", took)
		}
	})
}

func TestCutInMidCallLeavesTheOutcomeUnknown(t *testing.T) {
	twoNodes(t, func(w *world, n1, n2 *testNode) {
		done := make(chan error)
		go func() {
			_, err := n1.Call(w.t.Context(), "n2", opWait, nil)
			done <- err
		}()
		synctest.Wait()
		w.mem.Cut("n1", "n2", memnet.Reset)
		wantKind(w.t, <-done, fault.OutcomeUnknown, "the connection to node n2 (n2:7442) ended before operation 3 was answered")
		w.mem.HealAll()
	})
}

func TestSilentNodeIsGivenUp(t *testing.T) {
	twoNodes(t, func(w *world, n1, n2 *testNode) {
		if _, err := n1.Call(w.t.Context(), "n2", opEcho, nil); err != nil {
			w.t.Fatal(err)
		}
		w.mem.Cut("n1", "n2", memnet.Drop)
		start := time.Now()
		_, err := n1.Call(w.t.Context(), "n2", opEcho, nil)
		wantKind(w.t, err, fault.OutcomeUnknown, "n2")
		if took := time.Since(start); took > n1.o.Limits.SilentAfter*5/4 {
			w.t.Errorf("given up after %v, want about %v", took, n1.o.Limits.SilentAfter)
		}
		w.mem.HealAll()
	})
}

func TestCallsFailAtOnceWhileANodeIsDownAndReconnectWhenItIsBack(t *testing.T) {
	twoNodes(t, func(w *world, n1, n2 *testNode) {
		ctx := w.t.Context()
		if _, err := n1.Call(ctx, "n2", opEcho, nil); err != nil {
			w.t.Fatal(err)
		}
		time.Sleep(time.Minute)
		w.mem.Cut("n1", "n2", memnet.Reset)
		synctest.Wait()
		w.mem.Cut("n1", "n2", memnet.Drop) // a dial would hang now
		_, err := n1.Call(ctx, "n2", opEcho, nil)
		wantRefusal(w.t, err, ReasonNetwork, "no answer in time") // the first one found it out
		dials := n1.o.Metrics.dials.WithLabelValues(protocolCalls, string(ReasonNetwork))
		before := testutil.ToFloat64(dials)
		start := time.Now()
		for range 1000 {
			_, err = n1.Call(ctx, "n2", opEcho, nil)
			wantRefusal(w.t, err, ReasonNetwork, "node n2 (n2:7442) cannot be reached")
			time.Sleep(10 * time.Millisecond)
		}
		if took := time.Since(start); took != 10*time.Second {
			w.t.Errorf("calls to a node that is down waited %v", took-10*time.Second)
		}
		// Each dial takes 5 s, then there is a pause of at most 1 s.
		if n := testutil.ToFloat64(dials) - before; n < 1 || n > 3 {
			w.t.Errorf("%v dials in 10s", n)
		}
		w.mem.HealAll()
		time.Sleep(n1.o.Limits.RedialMax)
		eventually(w.t, 10*time.Second, func() bool {
			answer, err := n1.Call(ctx, "n2", opEcho, []byte("back"))
			return err == nil && string(answer) == "n1: back"
		})
	})
}

// eventually is for a condition that the clock of the bubble brings about.
func eventually(t testing.TB, within time.Duration, ok func() bool) {
	t.Helper()
	for start := time.Now(); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Since(start) > within {
			t.Fatalf("not within %v", within)
		}
	}
}

func TestNodeThatConnectsIsCalledAgainAtOnce(t *testing.T) {
	bubble(t, func(w *world) {
		n1 := w.start("n1", setup{limits: Limits{RedialMin: time.Hour, RedialMax: time.Hour}}).echo()
		w.place("n2", "n2:7442", id(0xd2))
		_, err := n1.Call(w.t.Context(), "n2", opEcho, nil)
		wantRefusal(w.t, err, ReasonNetwork, "refused")
		n2 := w.start("n2", setup{}).echo()
		_, err = n1.Call(w.t.Context(), "n2", opEcho, nil)
		wantRefusal(w.t, err, ReasonNetwork, "refused") // known to be down
		if _, err := n2.Call(w.t.Context(), "n1", opEcho, nil); err != nil {
			w.t.Fatal(err)
		}
		start := time.Now()
		answer, err := n1.Call(w.t.Context(), "n2", opEcho, nil)
		wantAnswer(w.t, answer, err, "n1: ")
		if took := time.Since(start); took != 0 {
			w.t.Errorf("called again after %v", took)
		}
		n1.stop()
		n2.stop()
	})
}

func TestNodeThatHangsUpAtOnceIsNotDialledInATightLoop(t *testing.T) {
	bubble(t, func(w *world) {
		n1 := w.start("n1", setup{})
		n2 := w.start("n2", setup{})
		n2.o.Limits.MaxBody = 1 // it hangs up when a larger one comes
		for range 1000 {
			if _, err := n1.Call(w.t.Context(), "n2", opWait, []byte("larger")); err == nil {
				w.t.Fatal("answered")
			}
			time.Sleep(time.Millisecond)
		}
		if n := testutil.ToFloat64(n1.o.Metrics.dials.WithLabelValues(protocolCalls, "ok")); n > 10 {
			w.t.Errorf("%v dials within a second", n)
		}
		n1.stop()
		n2.stop()
	})
}

func TestNodeOutsideTheClusterMayOnlyBeCalledToAdoptIt(t *testing.T) {
	bubble(t, func(w *world) {
		n1 := w.start("n1", setup{}).echo()
		n2 := w.start("n2", setup{identity: outside}).echo()
		n2.Handle(50, func(_ context.Context, from From, _ []byte) ([]byte, error) {
			n2.become(func(i *Identity) { i.ClusterID, i.Timeline = from.ClusterID, testTimeline })
			return nil, nil
		}, BeforeMembership())
		ctx := w.t.Context()
		n2.RaftLayer()

		for _, ends := range [][2]*testNode{{n1, n2}, {n2, n1}} {
			from, to := ends[0], ends[1]
			_, err := from.Call(ctx, to.host, opEcho, nil)
			wantKind(w.t, err, fault.Unavailable, "operation 1 needs both nodes in the cluster; node n2 does not belong to it yet")
			if !fault.Of(err).Retryable() || fault.As(err).RetryAfter == 0 {
				w.t.Errorf("%v is not worth a retry", err)
			}
			answer, err := from.Call(ctx, to.host, opFirst, nil)
			wantAnswer(w.t, answer, err, from.id.Load().ClusterID.String())
		}
		wantRefusal(w.t, n1.raftDial("n2"), ReasonNoClusterID, "node n2 does not yet")

		if _, err := n1.Call(ctx, "n2", 50, nil); err != nil {
			w.t.Fatal(err)
		}
		for _, ends := range [][2]*testNode{{n1, n2}, {n2, n1}} {
			answer, err := ends[0].Call(ctx, ends[1].host, opEcho, nil)
			wantAnswer(w.t, answer, err, ends[0].host+": ")
			answer, err = ends[0].Call(ctx, ends[1].host, opFirst, nil)
			wantAnswer(w.t, answer, err, testCluster.String())
		}
		if err := n1.raftDial("n2"); err != nil {
			w.t.Error(err)
		}

		// It is the other cluster's from then on.
		n2.become(func(i *Identity) { i.ClusterID = id(0xee) })
		_, err := n1.Call(ctx, "n2", opFirst, nil)
		wantKind(w.t, err, fault.Conflict, "two clusters have one name")
		n1.stop()
		n2.stop()
	})
}

func TestPeersTellsOfConnections(t *testing.T) {
	twoNodes(t, func(w *world, n1, n2 *testNode) {
		if got := n1.Peers(); len(got) != 0 {
			w.t.Errorf("peers before any call: %+v", got)
		}
		w.mem.SetLatency("n1", "n2", 15*time.Millisecond)
		if _, err := n1.Call(w.t.Context(), "n2", opEcho, nil); err != nil {
			w.t.Fatal(err)
		}
		began := time.Now()
		time.Sleep(time.Minute)
		got := n1.Peers()[0]
		if got.Node != "n2" || got.Addr != "n2:7442" || !got.Connected || got.RTT != 30*time.Millisecond || got.Err != nil || began.Sub(got.Since) > time.Second {
			w.t.Errorf("connected peer: %+v", got)
		}
		n2.stop()
		synctest.Wait()
		time.Sleep(time.Second)
		got = n1.Peers()[0]
		if got.Connected || time.Since(got.Since) > 2*time.Second || ReasonOf(got.Err) != ReasonNetwork {
			w.t.Errorf("lost peer: %+v", got)
		}
	})
}

func TestNodeThatMovedIsFoundAgain(t *testing.T) {
	bubble(t, func(w *world) {
		n1 := w.start("n1", setup{})
		old := w.start("n2", setup{host: "old"}).echo()
		if _, err := n1.Call(w.t.Context(), "n2", opFirst, nil); err != nil {
			w.t.Fatal(err)
		}
		moved := w.start("n2", setup{host: "moved", identity: func(i *Identity) { i.Disk, i.Process = id(0xdf), id(0xaf) }})
		moved.Handle(60, func(context.Context, From, []byte) ([]byte, error) { return []byte("moved"), nil })
		time.Sleep(n1.o.Limits.PingInterval + time.Second)
		answer, err := n1.Call(w.t.Context(), "n2", 60, nil)
		wantAnswer(w.t, answer, err, "moved")
		for _, n := range []*testNode{n1, old, moved} {
			n.stop()
		}
	})
}

func TestStopLetsHandlersFinish(t *testing.T) {
	twoNodes(t, func(w *world, n1, n2 *testNode) {
		n2.Handle(50, func(ctx context.Context, _ From, _ []byte) ([]byte, error) {
			time.Sleep(500 * time.Millisecond)
			return []byte("finished"), ctx.Err()
		})
		done := make(chan struct{})
		go func() {
			defer close(done)
			answer, err := n1.Call(w.t.Context(), "n2", 50, nil)
			wantAnswer(w.t, answer, err, "finished")
		}()
		synctest.Wait()
		n2.stop()
		<-done
	})
}

func TestStopEndsHandlersThatDoNotFinish(t *testing.T) {
	twoNodes(t, func(w *world, n1, n2 *testNode) {
		done := make(chan error)
		go func() {
			_, err := n1.Call(w.t.Context(), "n2", opWait, nil)
			done <- err
		}()
		synctest.Wait()
		start := time.Now()
		n2.stop()
		if took := time.Since(start); took != n2.o.Limits.DrainTimeout {
			w.t.Errorf("stop took %v, want %v", took, n2.o.Limits.DrainTimeout)
		}
		wantKind(w.t, <-done, fault.OutcomeUnknown, "n2")
	})
}
