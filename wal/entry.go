// Package wal is what remains of the log once raft has cut it: the entries of
// the cluster's history, in order.
//
// An Entry is the form in which entries travel outside of raft: read off the log
// of a stopped node for a recovery from lost quorum, or out of an archive. The
// package knows what order and time entries have and never looks inside one; it
// imports neither the state machine nor the raft library.
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
