package raftnode

import (
	"time"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
)

// A Request is one command as a caller on this node hands it in. The node adds
// producer and sequence, so that a retry can never apply twice.
type Request struct {
	Scope       record.Scope
	Actor       record.Principal
	RequestID   string
	Term        uint64 // not 0: only in this term (duties)
	Idempotency *fsm.Idempotency
	Command     fsm.Command
}

// A Receipt is the answer to a Request. A rejection by the state machine is an
// Outcome with a Kind, not an error.
type Receipt struct {
	Outcome  fsm.Outcome
	Index    uint64          // of the log entry that carried the command
	Timeline record.Timeline // in which Index counts
}

// ReadMode says how fresh a view must be.
type ReadMode uint8

const (
	Linearizable ReadMode = 1 // reflects every write acknowledged before the read began
	Bounded      ReadMode = 2 // at most MaxStaleness behind, as measured
	Any          ReadMode = 3 // whatever this replica holds
)

var readModes = [...]string{Linearizable: "linearizable", Bounded: "bounded", Any: "any"}

func (m ReadMode) String() string {
	if int(m) < len(readModes) && readModes[m] != "" {
		return readModes[m]
	}
	return "unknown"
}

// ReadOptions say what a read needs.
type ReadOptions struct {
	Mode         ReadMode
	MinIndex     uint64        // wait until this index is applied (read your writes); 0: do not
	MaxStaleness time.Duration // for Bounded; 0 means DefaultMaxStaleness
}

// DefaultMaxStaleness is what a bounded read accepts when it does not say.
const DefaultMaxStaleness = 5 * time.Second

// ReadInfo tells what a view is worth.
type ReadInfo struct {
	Mode      ReadMode
	Index     uint64
	Timeline  record.Timeline
	Staleness time.Duration // measured upper bound; 0 for a linearizable read
}
