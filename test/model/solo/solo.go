// Package solo is a cluster of one without Raft: proposals are applied at once
// to a state machine on an in-memory disk. Packages above raftnode use it in
// their tests in the place of a node.
package solo

import (
	"context"
	"iter"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode"
	"github.com/mcpraft/mcpraft/wal"
)

// Node is the name of the one node.
const Node = "solo"

// A Replica proposes and reads like a raftnode.Node.
type Replica struct {
	Machine *fsm.Machine

	mu      sync.Mutex
	broken  error
	index   uint64
	log     []fsm.Command
	kept    []wal.Entry // as LogRange and Entries show it
	watches []func([]fsm.Change)
}

// Watch has watch told of every change, as raftnode.Node.Watch does.
func (r *Replica) Watch(watch func(changes []fsm.Change)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watches = append(r.watches, watch)
}

// changed is called while a command is applied.
func (r *Replica) changed(changes []fsm.Change) {
	for _, watch := range r.watches {
		watch(changes)
	}
}

// Break makes proposals and reads fail with err from now on; nil mends it.
func (r *Replica) Break(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.broken = err
}

// Log is every command that was proposed and appended, whatever became of it.
func (r *Replica) Log() []fsm.Command {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.log)
}

// New opens a Replica that the test closes.
func New(t testing.TB) *Replica {
	r := new(Replica)
	machine, err := fsm.Open("solo", fsm.Options{FS: vfs.NewMem(), Fatal: func(err error) { t.Error(err) }, Changed: r.changed})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := machine.Close(); err != nil {
			t.Error(err)
		}
	})
	r.Machine = machine
	actor := record.Principal{Issuer: "node", Subject: Node}
	r.Must(t, actor, &fsm.EpochStart{Node: Node, Process: record.ID{1}, Supports: fsm.MaxVersion})
	r.Must(t, actor, &fsm.InitCluster{ID: record.ID{2}, Name: "test", Timeline: record.Timeline{Number: 1, Salt: 0xabcd}})
	return r
}

// Must applies command and fails the test if it is rejected.
func (r *Replica) Must(t testing.TB, actor record.Principal, command fsm.Command) fsm.Outcome {
	t.Helper()
	receipt, err := r.Propose(t.Context(), raftnode.Request{Actor: actor, Command: command})
	if err == nil {
		err = receipt.Outcome.Err()
	}
	if err != nil {
		t.Fatalf("%T: %v", command, err)
	}
	return receipt.Outcome
}

// Propose applies one command as one entry, stamped with the time of this process.
func (r *Replica) Propose(_ context.Context, q raftnode.Request) (raftnode.Receipt, error) {
	proposal := fsm.Proposal{
		Scope: q.Scope, Actor: q.Actor, RequestID: q.RequestID,
		Term: q.Term, Idempotency: q.Idempotency, Command: q.Command,
	}
	encoded, err := fsm.EncodeProposal(&proposal)
	if err != nil {
		return raftnode.Receipt{}, err
	}
	data, err := fsm.AppendEnvelope(record.LogTimeAt(time.Now()), [][]byte{encoded})
	if err != nil {
		return raftnode.Receipt{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.broken != nil {
		return raftnode.Receipt{}, r.broken
	}
	r.index++
	r.log = append(r.log, q.Command)
	results, err := r.Machine.Apply([]fsm.Entry{{Index: r.index, Term: 1, Data: data}})
	if err != nil {
		return raftnode.Receipt{}, err
	}
	stamp, err := fsm.EnvelopeTime(data)
	if err != nil {
		return raftnode.Receipt{}, err
	}
	r.kept = append(r.kept, wal.Entry{Index: r.index, Term: 1, Kind: wal.Commands, LogTime: stamp, Data: data})
	return raftnode.Receipt{Outcome: results[0][0], Index: r.index, Timeline: r.Machine.Meta().Timeline}, nil
}

// Read is a view of the newest state.
func (r *Replica) Read(_ context.Context, o raftnode.ReadOptions) (*fsm.View, raftnode.ReadInfo, error) {
	r.mu.Lock()
	broken := r.broken
	r.mu.Unlock()
	if broken != nil {
		return nil, raftnode.ReadInfo{}, broken
	}
	view, err := r.Machine.View()
	if err != nil {
		return nil, raftnode.ReadInfo{}, err
	}
	return view, raftnode.ReadInfo{Mode: o.Mode, Index: view.Meta().Index, Timeline: view.Meta().Timeline}, nil
}

// LogRange is that of all entries, but for those that Cut took away.
func (r *Replica) LogRange() (raftnode.LogRange, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return raftnode.LogRange{First: r.index - uint64(len(r.kept)) + 1, Applied: r.index}, nil
}

// Entries are those entries.
func (r *Replica) Entries(from, to uint64) iter.Seq2[wal.Entry, error] {
	r.mu.Lock()
	kept, first := r.kept, r.index-uint64(len(r.kept))+1
	r.mu.Unlock()
	return func(yield func(wal.Entry, error) bool) {
		if from < first || to >= first+uint64(len(kept)) {
			yield(wal.Entry{}, fault.New(fault.NotFound, "the log has no entries %d to %d", from, to))
			return
		}
		for _, e := range kept[from-first : to+1-first] {
			if !yield(e, nil) {
				return
			}
		}
	}
}

// LogBytes is the size of their data.
func (r *Replica) LogBytes() (n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.kept {
		n += int64(len(e.Data))
	}
	return n
}

// Cut takes the entries up to index off the log.
func (r *Replica) Cut(index uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kept = slices.DeleteFunc(slices.Clone(r.kept), func(e wal.Entry) bool { return e.Index <= index })
}
