// Package solo is a cluster of one without Raft: proposals are applied at once
// to a state machine on an in-memory disk. Packages above raftnode use it in
// their tests in the place of a node.
package solo

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/raftnode"
)

// Node is the name of the one node.
const Node = "solo"

// A Replica proposes and reads like a raftnode.Node.
type Replica struct {
	Machine *fsm.Machine

	mu     sync.Mutex
	broken error
	index  uint64
	log    []fsm.Command
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
	machine, err := fsm.Open("solo", fsm.Options{FS: vfs.NewMem(), Fatal: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := machine.Close(); err != nil {
			t.Error(err)
		}
	})
	r := &Replica{Machine: machine}
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
