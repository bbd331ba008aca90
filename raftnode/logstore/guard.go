package logstore

import (
	"github.com/hashicorp/raft"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// MaxDelete bounds the entries that one transaction deletes: the writer serves
// raft's appends between two of them.
const MaxDelete = 512

// guard keeps the log whole: entries are stored without a gap, and the front of
// the log is cut only up to the floor, in short transactions. Deletes of the
// end (raft found a conflict) and of everything (raft installed a snapshot) pass.
type guard struct {
	layer
	floor   func() uint64
	path    string
	failure *failure
}

func (g *guard) StoreLog(log *raft.Log) error { return g.StoreLogs([]*raft.Log{log}) }

// StoreLogs refuses a batch that does not follow the last entry. Raft never
// asks for one unless its memory and the disk differ.
func (g *guard) StoreLogs(logs []*raft.Log) error {
	if len(logs) == 0 {
		return nil
	}
	last, err := g.LastIndex()
	if err != nil {
		return err
	}
	for _, l := range logs {
		if last != 0 && l.Index != last+1 {
			return g.gap(l.Index, last)
		}
		last = l.Index
	}
	return g.layer.StoreLogs(logs)
}

func (g *guard) gap(index, last uint64) error {
	return g.failure.trip(fault.New(fault.Integrity,
		"raft log%s: asked to store entry %d after entry %d: what raft has in memory and what is on disk differ", at(g.path), index, last).
		WithHint("nothing was stored; this process exits, start the node again: it re-reads its log"))
}

// DeleteRange deletes the entries first to last. It may stop early: at the
// floor, without an error, when the range is a front of the log. A crash on the
// way leaves a log without a gap.
func (g *guard) DeleteRange(first, last uint64) error {
	oldest, err := g.FirstIndex()
	if err != nil {
		return err
	}
	newest, err := g.LastIndex()
	if err != nil {
		return err
	}
	first, last = max(first, oldest), min(last, newest)
	switch {
	case oldest == 0 || first > last:
		return nil
	case first == oldest && last == newest: // everything
		return g.fromFront(first, last)
	case last == newest:
		return g.fromBack(first, last)
	case first == oldest:
		if last = min(last, g.floor()); first > last {
			return nil
		}
		return g.fromFront(first, last)
	default:
		return g.failure.trip(fault.New(fault.Integrity,
			"raft log%s: asked to delete entries %d to %d out of the middle of %d to %d", at(g.path), first, last, oldest, newest).
			WithHint("nothing was deleted; this is a defect of mcpraft or of the raft library: report it, and start the node again"))
	}
}

func (g *guard) fromFront(first, last uint64) error {
	for first <= last {
		end := min(last, first+MaxDelete-1)
		if err := g.layer.DeleteRange(first, end); err != nil {
			return err
		}
		first = end + 1
	}
	return nil
}

func (g *guard) fromBack(first, last uint64) error {
	for first <= last {
		start := first
		if n := last - first + 1; n > MaxDelete {
			start = last - MaxDelete + 1
		}
		if err := g.layer.DeleteRange(start, last); err != nil {
			return err
		}
		last = start - 1
	}
	return nil
}
