package raftnode

import (
	"fmt"
	"io"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/internal/failpoint"
	"github.com/mcpraft/mcpraft/internal/fault"
)

// machine is the state machine as raft sees it. Raft calls ApplyBatch, Snapshot
// and Restore from one goroutine; everything else may run concurrently.
//
// A fault of the state machine (disk, bytes that do not decode) is told to
// onFault once, and from then on nothing is applied: what raft hands over is
// answered with the fault.
type machine struct {
	fsm       *fsm.Machine
	snaps     *snapshots
	waits     waits
	onFault   func(error)
	onInstall func(divergent bool) // on raft's goroutine; must not block
	metrics   *Metrics

	fault   atomic.Pointer[error]
	entries atomic.Uint64 // applied since the last driven snapshot
	bytes   atomic.Uint64 // of their data
}

var _ raft.BatchingFSM = (*machine)(nil)

// applied is what a future of raft answers for one entry. It is the one place
// where raft's any becomes a type.
type applied struct {
	index  uint64
	result fsm.Result
	err    error
}

// Apply is never called by raft, which prefers ApplyBatch; it is the same.
func (m *machine) Apply(l *raft.Log) any { return m.ApplyBatch([]*raft.Log{l})[0] }

// ApplyBatch applies committed entries. Only commands and configurations arrive.
func (m *machine) ApplyBatch(logs []*raft.Log) []any {
	entries := make([]fsm.Entry, len(logs))
	size := 0
	for i, l := range logs {
		entries[i] = fsm.Entry{Index: l.Index, Term: l.Term, Data: l.Data}
		if l.Type == raft.LogConfiguration {
			entries[i].Kind = fsm.EntryConfiguration
		}
		size += len(l.Data)
	}
	answers := make([]any, len(logs))
	results, err := m.apply(entries)
	for i := range logs {
		if err != nil {
			answers[i] = applied{err: err}
			continue
		}
		answers[i] = applied{index: logs[i].Index, result: results[i]}
	}
	if err == nil {
		m.entries.Add(uint64(len(logs)))
		m.bytes.Add(uint64(size))
	}
	return answers
}

func (m *machine) apply(entries []fsm.Entry) ([]fsm.Result, error) {
	if err := m.failed(); err != nil {
		return nil, err
	}
	results, err := m.applyAll(entries)
	if err != nil {
		return nil, m.fail(fault.New(fault.Internal, "applying entries %d to %d: %w", entries[0].Index, entries[len(entries)-1].Index, err).
			WithHint("the node stops before its state can differ from the others'; see the cause in its log"))
	}
	meta := m.fsm.Meta()
	m.waits.advance(meta.Index)
	m.metrics.applied.Add(float64(len(entries)))
	return results, nil
}

// applyAll hands the entries over and takes care that each has its result.
func (m *machine) applyAll(entries []fsm.Entry) ([]fsm.Result, error) {
	if err := failpoint.Eval("raftnode/apply"); err != nil {
		return nil, err
	}
	results, err := m.fsm.Apply(entries)
	if err == nil && len(results) != len(entries) {
		err = fmt.Errorf("state machine answered %d of %d entries", len(results), len(entries))
	}
	if err != nil {
		return nil, err
	}
	return results, failpoint.Eval("raftnode/applied")
}

// fail records the first fault and says so.
func (m *machine) fail(err error) error {
	if m.fault.CompareAndSwap(nil, &err) {
		m.waits.close(err)
		m.onFault(err)
	}
	return m.failed()
}

func (m *machine) failed() error {
	if p := m.fault.Load(); p != nil {
		return *p
	}
	return nil
}

// Snapshot starts a driven snapshot. There is nothing to copy: the durable state
// is the snapshot.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	if err := m.failed(); err != nil {
		return nil, err
	}
	return witness{m}, nil
}

// witness is a snapshot of the state machine by itself: persisting it makes the
// state durable, so that raft may cut the log behind it.
type witness struct{ m *machine }

func (w witness) Persist(raft.SnapshotSink) error {
	if err := w.m.fsm.Sync(); err != nil {
		return w.m.fail(err)
	}
	return nil
}

func (witness) Release() {}

// Restore replaces the state by the snapshot that was received last. Views that
// are open keep the old state; waits for an index that it holds end.
func (m *machine) Restore(rc io.ReadCloser) error {
	if err := m.failed(); err != nil {
		return err
	}
	spool := m.snaps.opened
	if spool == nil {
		return fault.New(fault.Internal, "restore without a received snapshot")
	}
	if have := m.fsm.Meta().Index; spool.meta.Index < have {
		return fault.New(fault.Conflict, "snapshot at index %d is older than the state at %d", spool.meta.Index, have)
	}
	if err := failpoint.Eval("raftnode/install"); err != nil {
		return err
	}
	if err := m.snaps.mark(spool.meta.Index, spool.meta.Term); err != nil {
		return m.fail(err)
	}
	err := m.fsm.Restore(rc, fsm.Installed{
		Index: spool.meta.Index, Term: spool.meta.Term,
		Configuration: raft.EncodeConfiguration(spool.meta.Configuration), ConfigurationIndex: spool.meta.ConfigurationIndex,
	})
	if err != nil {
		return fmt.Errorf("installing snapshot at index %d: %w", spool.meta.Index, err)
	}
	meta := m.fsm.Meta()
	m.waits.advance(meta.Index)
	m.metrics.installs.Inc()
	m.onInstall(spool.divergent)
	return nil
}
