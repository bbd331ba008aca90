package defects

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/mcpraft/mcpraft/raftnode/logstore"
)

// snapshotIndex is where the leader's snapshot is. The leader has no entries
// before it.
const snapshotIndex = 5

// diverged makes a leader with nothing but a snapshot at snapshotIndex of term 3
// and a follower whose log ends at index tail with entries of term 2.
func diverged(t *testing.T, tail uint64, logs raft.LogStore, stable raft.StableStore) (leader, follower *member) {
	t.Helper()
	leader, follower = newMember("leader"), newMember("follower")
	follower.logs, follower.stable = logs, stable
	connect(leader, follower)
	both := voters(leader, follower)

	sink, err := leader.snapshots.Create(1, snapshotIndex, 3, both, 1, leader.transport)
	must(t, err)
	_, err = sink.Write([]byte("state"))
	must(t, err)
	must(t, sink.Close())
	must(t, leader.stable.SetUint64([]byte("CurrentTerm"), 3))

	must(t, logs.StoreLog(&raft.Log{Index: 1, Term: 1, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(both)}))
	for i := uint64(2); i <= tail; i++ {
		must(t, logs.StoreLog(&raft.Log{Index: i, Term: 2, Data: []byte("never committed")}))
	}
	must(t, stable.SetUint64([]byte("CurrentTerm"), 2))
	return leader, follower
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// monotonic is a log store that says it has no gaps.
type monotonic struct{ *raft.InmemStore }

func (monotonic) IsMonotonic() bool { return true }

// A follower whose divergent log reaches the index of a snapshot installs that
// snapshot again and again (hashicorp/raft #697).
func TestDivergentTailInstallsSnapshotsForEver(t *testing.T) {
	const many = 200
	for _, tail := range []uint64{snapshotIndex, snapshotIndex + 7} {
		for _, kind := range []string{"monotonic", "with gaps"} {
			t.Run(fmt.Sprintf("tail %d, %s", tail, kind), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					store := raft.NewInmemStore()
					var logs raft.LogStore = store
					if kind == "monotonic" {
						logs = monotonic{store}
					}
					leader, follower := diverged(t, tail, logs, store)
					var installs atomic.Int32
					enough := make(chan struct{})
					follower.fsm.restoring = func() {
						if installs.Add(1) == many {
							close(enough)
						}
					}
					leader.start(t)
					follower.start(t)
					select {
					case <-enough:
					case <-time.After(10 * time.Minute):
						t.Errorf("%d installs in ten minutes: the library recovers now", installs.Load())
					}
					cut(leader, follower)
					leader.stop(t)
					follower.stop(t)
				})
			})
		}
	}
}

// A shorter tail is no trouble.
func TestShortDivergentTailInstallsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := raft.NewInmemStore()
		leader, follower := diverged(t, snapshotIndex-1, monotonic{store}, store)
		var installs atomic.Int32
		follower.fsm.restoring = func() { installs.Add(1) }
		leader.start(t)
		follower.start(t)
		elected(t, leader)
		must(t, leader.raft.Apply([]byte("write"), 0).Error())
		if n := installs.Load(); n != 1 {
			t.Errorf("%d installs, want 1", n)
		}
		leader.stop(t)
		follower.stop(t)
	})
}

// What the product builds on: our log store is wiped by the first install, so a
// new start of raft on it ends the loop.
func TestRestartOnOurLogEndsTheLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := logstore.Chain(&disk{InmemStore: raft.NewInmemStore()}, logstore.Options{
			Fatal: func(err error) { t.Errorf("fatal: %v", err) },
		})
		defer store.Close()
		leader, follower := diverged(t, snapshotIndex+7, store, store)
		var installs atomic.Int32
		again := make(chan struct{})
		follower.fsm.restoring = func() {
			if installs.Add(1) == 2 {
				close(again)
			}
		}
		leader.start(t)
		follower.start(t)
		<-again
		cut(follower, leader)
		follower.stop(t)

		follower.fsm = new(machine)
		follower.start(t)
		connect(leader, follower)
		elected(t, leader)
		must(t, leader.raft.Apply([]byte("write"), 0).Error())
		time.Sleep(time.Second)
		if got, want := follower.raft.AppliedIndex(), leader.raft.AppliedIndex(); got != want || got <= snapshotIndex {
			t.Errorf("follower is at index %d, leader at %d", got, want)
		}
		leader.stop(t)
		follower.stop(t)
	})
}
