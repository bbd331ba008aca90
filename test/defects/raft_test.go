package defects

import (
	"errors"
	"fmt"
	"reflect"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/mcpraft/mcpraft/raftnode/logstore"
)

// A leader whose disk hangs keeps its leadership: heartbeats do not touch the
// disk (hashicorp/raft #503, #666).
func TestLeaderWithHungDiskLeadsForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hung := make(chan struct{})
		members := threeWithDisks()
		leader, others := boot(t, members...)
		leader.logs.(*disk).hang = func() error { <-hung; return nil }
		future := leader.raft.Apply([]byte("write"), 0)
		time.Sleep(10 * time.Minute)
		if leader.raft.State() != raft.Leader {
			t.Error("the leader stepped down: the library notices a hung disk now")
		}
		for _, m := range others {
			if _, id := m.raft.LeaderWithID(); id != leader.id {
				t.Errorf("%s follows %q, want %s", m.id, id, leader.id)
			}
		}
		close(hung)
		if err := future.Error(); err != nil {
			t.Errorf("the write waited ten minutes and then: %v", err)
		}
		for _, m := range members {
			m.stop(t)
		}
	})
}

func threeWithDisks() []*member {
	var members []*member
	for i := range 3 {
		m := newMember(raft.ServerID(fmt.Sprintf("n%d", i+1)))
		m.logs = &disk{InmemStore: m.stable.(*raft.InmemStore)}
		members = append(members, m)
	}
	return members
}

// With our log store the process of that leader ends after the deadline, and
// another node leads.
func TestHungDiskCostsLeadership(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hung := make(chan struct{})
		members := threeWithDisks()
		ended := make(chan *member, len(members))
		disks := make(map[*member]*disk)
		for _, m := range members {
			disks[m] = m.logs.(*disk)
			store := logstore.Chain(disks[m], logstore.Options{Fatal: func(error) { ended <- m }})
			m.logs, m.stable = store, store
			defer store.Close()
		}
		leader, others := boot(t, members...)
		disks[leader].hang = func() error { <-hung; return nil }
		future := leader.raft.Apply([]byte("write"), 0)
		start := time.Now()
		if m := <-ended; m != leader {
			t.Errorf("%s ended, want the leader %s", m.id, leader.id)
		}
		if took := time.Since(start); took != logstore.DefaultDeadline {
			t.Errorf("the leader ended after %v, want %v", took, logstore.DefaultDeadline)
		}
		cut(leader, others...)
		next, _ := elected(t, others...)
		if err := next.raft.Apply([]byte("write"), 0).Error(); err != nil {
			t.Errorf("write on the new leader: %v", err)
		}
		if future.Error() == nil {
			t.Error("a write that is not on disk was acknowledged")
		}
		close(hung)
		for _, m := range members {
			m.stop(t)
		}
	})
}

// With BatchApplyCh, what waits in the channel when raft shuts down is never
// answered (hashicorp/raft future.go: a logFuture has no ShutdownCh).
func TestBatchApplyChLosesFutures(t *testing.T) {
	const calls = 5
	synctest.Test(t, func(t *testing.T) {
		m := newMember("n1")
		m.config.BatchApplyCh = true
		store := &disk{InmemStore: m.stable.(*raft.InmemStore)}
		m.logs = store
		boot(t, m)
		hung := make(chan struct{})
		store.hang = func() error { <-hung; return errors.New("input/output error") }
		var futures []raft.ApplyFuture
		for range calls {
			futures = append(futures, m.raft.Apply([]byte("write"), 0))
			synctest.Wait()
		}
		down := m.raft.Shutdown()
		synctest.Wait()
		close(hung)
		if err := down.Error(); err != nil { // all of raft's goroutines have ended
			t.Fatal(err)
		}
		answered := 0
		for _, f := range futures {
			// A future that is not answered blocks its caller for ever; look inside.
			answered += reflect.ValueOf(f).Elem().FieldByName("errCh").Len()
		}
		if answered != 1 {
			t.Errorf("%d of %d futures were answered, want 1: the library drains its channel now", answered, calls)
		}
	})
}

// Without BatchApplyCh, as in our settings, every call is answered.
func TestUnbufferedApplyIsAlwaysAnswered(t *testing.T) {
	const calls = 5
	synctest.Test(t, func(t *testing.T) {
		m := newMember("n1")
		store := &disk{InmemStore: m.stable.(*raft.InmemStore)}
		m.logs = store
		boot(t, m)
		hung := make(chan struct{})
		store.hang = func() error { <-hung; return errors.New("input/output error") }
		answers := make(chan error, calls)
		for range calls {
			go func() { answers <- m.raft.Apply([]byte("write"), 0).Error() }()
		}
		synctest.Wait()
		down := m.raft.Shutdown()
		close(hung)
		for range calls {
			if err := <-answers; err == nil {
				t.Error("a write that is not on disk was acknowledged")
			}
		}
		if err := down.Error(); err != nil {
			t.Fatal(err)
		}
	})
}

// AppliedIndex is what was handed to the state machine, not what it applied.
func TestAppliedIndexRunsAheadOfTheStateMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMember("n1")
		boot(t, m)
		goOn := make(chan struct{})
		var applied atomic.Int32
		m.fsm.applying = func() { <-goOn; applied.Add(1) }
		before := m.raft.AppliedIndex()
		future := m.raft.Apply([]byte("write"), 0)
		synctest.Wait()
		if got := m.raft.AppliedIndex(); got != before+1 || applied.Load() != 0 {
			t.Errorf("applied index went from %d to %d with %d entries applied; want it one ahead of the state machine",
				before, got, applied.Load())
		}
		close(goOn)
		if err := future.Error(); err != nil {
			t.Error(err)
		}
		m.stop(t)
	})
}

// gate is a transport that can hold back appends before they are sent, and
// their answers after they came.
type gate struct {
	withoutPipeline
	send, answer atomic.Pointer[chan struct{}] // nil: open
	sent         atomic.Int32
}

func (g *gate) AppendEntries(id raft.ServerID, to raft.ServerAddress, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	pass(&g.send)
	g.sent.Add(1)
	err := g.withoutPipeline.AppendEntries(id, to, req, resp)
	pass(&g.answer)
	return err
}

func pass(p *atomic.Pointer[chan struct{}]) {
	if c := p.Load(); c != nil {
		<-*c
	}
}

// VerifyLeader counts answers to appends that were sent before it was called
// (replication.go, notifyAll): it is no read index. Reads use a check of the
// term instead.
func TestVerifyLeaderCountsOldAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var members []*member
		gates := make(map[*member]*gate)
		for i := range 3 {
			m := newMember(raft.ServerID(fmt.Sprintf("n%d", i+1)))
			gates[m] = &gate{withoutPipeline: withoutPipeline{m.wire}}
			m.transport = gates[m]
			members = append(members, m)
		}
		leader, _ := boot(t, members...)
		g := gates[leader]

		// Appends reach the followers, their answers are on the way for a while.
		g.answer.Store(new(make(chan struct{})))
		time.Sleep(leader.config.HeartbeatTimeout / 4)
		g.send.Store(new(make(chan struct{}))) // from here on nothing is sent
		synctest.Wait()
		sent := g.sent.Load()
		verified := leader.raft.VerifyLeader()
		synctest.Wait()
		close(*g.answer.Load())
		synctest.Wait()
		if err := verified.Error(); err != nil {
			t.Errorf("VerifyLeader = %v: the library no longer counts old answers", err)
		}
		if now := g.sent.Load(); now != sent {
			t.Errorf("%d appends were sent after the call, the test wants none", now-sent)
		}
		close(*g.send.Load())
		for _, m := range members {
			m.stop(t)
		}
	})
}
