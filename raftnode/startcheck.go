package raftnode

import (
	"errors"
	"fmt"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/internal/fault"
)

const hintRejoin = "move the data directory away and start the node again: it joins with an empty one under a new disk id, and replaces its old self"

// checkStart compares log and state before raft sees either. The log must hold
// the entry that the state has applied last, with the same term. A log that does
// not is wiped if the state is exactly an installed snapshot: then the crash came
// between the install and raft's own wipe. Anything else means that a log was
// lost, and with it entries and votes this node has promised to keep: it must
// not take part under its old disk id.
func checkStart(fs vfs.FS, dir string, store logAndStable, meta fsm.Meta) error {
	first, last, err := logRange(store)
	if err != nil {
		return err
	}
	term, err := currentTerm(store)
	if err != nil {
		return err
	}
	if meta.Index == 0 {
		if first > 1 {
			return fault.New(fault.Integrity, "the log begins at entry %d and the state is empty: the state was lost", first).WithHint(hintRejoin)
		}
		return nil
	}
	if term < meta.Term {
		return fault.New(fault.Integrity, "the state is of term %d and the log's store of term %d: the log was lost", meta.Term, term).WithHint(hintRejoin)
	}
	if first <= meta.Index && meta.Index <= last {
		var l raft.Log
		if err := store.GetLog(meta.Index, &l); err != nil {
			return fmt.Errorf("entry %d of the log: %w", meta.Index, err)
		}
		if l.Term == meta.Term {
			return nil
		}
	}
	installed, err := readMarker(fs, dir)
	if err != nil {
		return err
	}
	if installed != (marker{Index: meta.Index, Term: meta.Term}) {
		return fault.New(fault.Integrity, "the state is at entry %d of term %d, which the log (entries %d to %d) does not hold", meta.Index, meta.Term, first, last).
			WithHint(hintRejoin)
	}
	if first == meta.Index+1 || last == 0 {
		return nil // the log was wiped and goes on behind the snapshot
	}
	return wipeLog(store)
}

// logAndStable is what a node keeps beside its state.
type logAndStable interface {
	raft.LogStore
	raft.StableStore
}

func logRange(store raft.LogStore) (first, last uint64, err error) {
	if first, err = store.FirstIndex(); err != nil {
		return 0, 0, fmt.Errorf("first entry of the log: %w", err)
	}
	if last, err = store.LastIndex(); err != nil {
		return 0, 0, fmt.Errorf("last entry of the log: %w", err)
	}
	return first, last, nil
}

// keyCurrentTerm is where raft keeps its term; the name is part of its format.
var keyCurrentTerm = []byte("CurrentTerm")

func currentTerm(store raft.StableStore) (uint64, error) {
	term, err := store.GetUint64(keyCurrentTerm)
	if err != nil && err.Error() != "not found" { // raft compares the text, too
		return 0, fmt.Errorf("term in the stable store: %w", err)
	}
	return term, nil
}

func readMarker(fs vfs.FS, dir string) (marker, error) {
	var m marker
	err := readJSON(fs, fs.PathJoin(dir, markerFile), &m)
	if errors.Is(err, os.ErrNotExist) {
		return marker{}, nil
	}
	return m, err
}

// wipeLog deletes every entry.
func wipeLog(store raft.LogStore) error {
	first, last, err := logRange(store)
	if err != nil || last == 0 {
		return err
	}
	if err := store.DeleteRange(first, last); err != nil {
		return fmt.Errorf("wiping the log: %w", err)
	}
	return nil
}
