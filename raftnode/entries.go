package raftnode

import (
	"iter"

	"github.com/hashicorp/raft"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/wal"
)

// A LogRange is the part of the log that this node has and has applied.
type LogRange struct {
	First   uint64 // oldest entry; above Applied when the log has no applied entry
	Applied uint64 // newest entry that is in the state
}

// LogRange reads where this node's log begins, and up to where it is applied. What
// lies in between is committed.
func (n *Node) LogRange() (LogRange, error) {
	applied := n.fsm.Meta().Index
	first, err := n.store.FirstIndex()
	if err != nil {
		return LogRange{}, err
	}
	if first == 0 { // an empty log: what comes next is behind the state
		first = applied + 1
	}
	return LogRange{First: first, Applied: applied}, nil
}

// Entries are the entries of this node's log from index from to index to, both
// included, that change the state; to is at most what LogRange calls applied. The
// last pair carries the error, if there is one: NotFound when the log does not, or
// no longer, hold them all. The data must not be changed.
func (n *Node) Entries(from, to uint64) iter.Seq2[wal.Entry, error] {
	return func(yield func(wal.Entry, error) bool) {
		if applied := n.fsm.Meta().Index; to > applied {
			yield(wal.Entry{}, fault.New(fault.Invalid, "entry %d is not applied, %d is", to, applied))
			return
		}
		next := from
		for l, err := range n.store.Entries(from) {
			if err == nil && l.Index > to {
				break
			}
			if err == nil && l.Index != next {
				err = fault.New(fault.NotFound, "the log begins at entry %d, not at %d", l.Index, from)
			}
			if err != nil {
				yield(wal.Entry{}, err)
				return
			}
			next++
			if e, ok := walEntry(&l); ok && !yield(e, nil) {
				return
			}
		}
		if next <= to {
			yield(wal.Entry{}, fault.New(fault.NotFound, "the log ends before entry %d", next))
		}
	}
}

// walEntry is an entry of raft in the form in which it leaves; ok is false for
// raft's own, which change no state.
func walEntry(l *raft.Log) (e wal.Entry, ok bool) {
	e = wal.Entry{Index: l.Index, Term: l.Term, Data: l.Data}
	switch l.Type {
	case raft.LogCommand:
		e.Kind = wal.Commands
		e.LogTime, _ = fsm.EnvelopeTime(l.Data) // an envelope that does not decode is for the replay to refuse
		return e, true
	case raft.LogConfiguration:
		e.Kind = wal.Configuration
		return e, true
	}
	return e, false
}

// LogBytes is what the log takes on the disk, without what is free for new entries;
// 0 if its store cannot tell.
func (n *Node) LogBytes() int64 { return n.store.Bytes() }
