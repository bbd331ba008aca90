// Package wal is what remains of the log once raft has cut it: the entries of the
// cluster's history, in order, in segments that are archived for ever or as long as
// somebody may want to go back to them.
//
// An [Entry] is the form in which entries travel outside of raft: read off the log
// of a stopped node for a recovery from lost quorum, or out of an archive. The
// package knows what order and time entries have and never looks inside one; it
// imports neither the state machine nor the raft library.
//
// # Segments
//
// A [Writer] puts a run of entries into a segment, a [Reader] gets them out again
// and trusts nothing. Segments are linked: each has the SHA-256 of the one before
// it, and its name ([Ref]) the beginning of both hashes, so that [Chains] can tell
// from a list of names what can be restored: which segments follow each other
// without a gap, where something is missing, and which were uploaded in vain.
// [Chain.Retain] says which are still needed.
//
// Nothing is ever changed once it is written. Who writes segments, and when one is
// cut, is the business of server/archive; who replays them, of snapshot/recovery.
package wal

import "github.com/mcpraft/mcpraft/fsm/record"

// Kind tells the two kinds of entries that change the state. Raft's own
// (no-op, barrier) have none and are left out, so indexes have holes. Numbers
// are for ever: they are stored in archives. Zero is no kind.
type Kind uint8

const (
	Commands      Kind = 1 // Data is an envelope of commands
	Configuration Kind = 2 // Data is the membership of the cluster from this index on
)

func (k Kind) String() string {
	switch k {
	case Commands:
		return "commands"
	case Configuration:
		return "configuration"
	}
	return "unknown"
}

// An Entry is one entry of the log. In a sequence of entries, indexes grow, with
// holes, and terms never go back.
type Entry struct {
	Index   uint64
	Term    uint64
	Kind    Kind
	LogTime record.LogTime // stamp of the envelope as its leader wrote it; 0 for a configuration
	Data    []byte         // opaque
}
