package model

import "github.com/mcpraft/mcpraft/internal/fault"

// A Fate is what an error says became of a change that was asked for.
type Fate uint8

const (
	Rejected  Fate = 1 // the state machine looked at it and refused it: an answer
	Refused   Fate = 2 // it was not applied and never will be
	Unsettled Fate = 3 // it may take effect at any time, or never
	Defective Fate = 4 // no well-behaved node says this to a well-formed request; what became of it is not known
)

func (f Fate) String() string {
	return [...]string{"", "rejected", "refused", "unknown", "defective"}[f]
}

// fates has a row for every kind of fault. A kind without one is Defective.
var fates = map[fault.Kind]Fate{
	fault.NotFound:     Rejected,
	fault.Conflict:     Rejected,
	fault.Precondition: Rejected,
	fault.Mismatch:     Rejected,
	fault.Quota:        Rejected,
	fault.Fenced:       Rejected,

	fault.NoLeader:    Refused,
	fault.Overloaded:  Refused,
	fault.Unavailable: Refused,
	fault.Unreachable: Refused, // nothing was sent
	fault.Timeout:     Refused, // nothing is known to have been appended: a promise of Propose
	fault.Stale:       Refused, // of reads only

	fault.OutcomeUnknown: Unsettled,
}

// FateOf is what an error of kind k says of a change.
func FateOf(k fault.Kind) Fate {
	if f, ok := fates[k]; ok {
		return f
	}
	return Defective
}
