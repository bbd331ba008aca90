package model

import (
	"fmt"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// An EntryOp is what can be asked of one registry entry.
type EntryOp uint8

const (
	Find       EntryOp = 1 // a linearizable read
	Register   EntryOp = 2 // create, or replace the one of IfRevision
	Unregister EntryOp = 3 // remove, of IfRevision or of any
)

// EntryIn is a request.
type EntryIn struct {
	Op         EntryOp
	Value      string // of Register; no two requests have the same
	IfRevision uint64
}

func (in EntryIn) String() string {
	switch in.Op {
	case Find:
		return "find"
	case Register:
		if in.IfRevision == 0 {
			return "create " + in.Value
		}
		return fmt.Sprintf("replace @%d by %s", in.IfRevision, in.Value)
	default:
		return fmt.Sprintf("unregister @%d", in.IfRevision)
	}
}

// EntryOut is an answer.
type EntryOut struct {
	Unknown  bool
	Kind     fault.Kind // 0: accepted or found; else the rejection, NotFound of Find included
	Value    string     // found
	Revision uint64     // found, or of the accepted change; 0: not known
}

func (out EntryOut) String() string {
	switch {
	case out.Unknown && out.Revision == 0:
		return "unknown"
	case out.Unknown:
		return fmt.Sprintf("unknown, seen @%d", out.Revision)
	case out.Kind != 0:
		return out.Kind.String()
	case out.Value != "":
		return fmt.Sprintf("%s @%d", out.Value, out.Revision)
	default:
		return fmt.Sprintf("accepted @%d", out.Revision)
	}
}

// EntryHistory and EntryOperation are those of registry entries.
type (
	EntryHistory   = History[EntryIn, EntryOut]
	EntryOperation = Operation[EntryIn, EntryOut]
)

// entryState is one registry entry. Revision is 0 while nobody has seen it.
type entryState struct {
	exists   bool
	value    string
	revision uint64
}

// CheckEntries checks that the history of each key is linearizable, for at most
// limit of real time per key. Revisions of unknown requests whose values were
// seen must be filled in: see [Resolve].
func CheckEntries(ops []EntryOperation, limit time.Duration) []Violation {
	return check(entryModel, ops, limit)
}

// Resolve fills in the revisions of requests with an unknown outcome that took
// effect, as seen says by their values. It makes the search short, and a
// compare-and-set on such a revision explainable.
func Resolve(ops []EntryOperation, seen map[string]uint64) {
	for i := range ops {
		if o := &ops[i]; o.Out.Unknown && o.In.Op == Register {
			o.Out.Revision = seen[o.In.Value]
		}
	}
}

var entryModel = porcupine.Model{
	Init: func() any { return entryState{} },
	Step: func(state, input, output any) (bool, any) {
		return state.(entryState).step(input.(EntryIn), output.(EntryOut))
	},
}

// step reports whether a registry entry in s may answer in with out, and what it
// is then.
func (s entryState) step(in EntryIn, out EntryOut) (bool, entryState) {
	if in.Op == Find {
		if !s.exists {
			return out.Kind == fault.NotFound, s
		}
		seen := entryState{exists: true, value: s.value, revision: out.Revision}
		return out.Kind == 0 && out.Value == s.value && (s.revision == 0 || s.revision == out.Revision), seen
	}
	want := s.refusal(in)
	if out.Unknown {
		return s.unknown(in, out, want)
	}
	if want != 0 || out.Kind != 0 {
		return want == out.Kind, s
	}
	return out.Revision > s.revision, after(in, out.Revision)
}

// unknown is step for a request without an answer. It did nothing if it had to be
// refused; a request of which a trace was seen was not.
func (s entryState) unknown(in EntryIn, out EntryOut, want fault.Kind) (bool, entryState) {
	if want != 0 {
		return out.Revision == 0, s
	}
	return out.Revision == 0 || out.Revision > s.revision, after(in, out.Revision)
}

// refusal is why in must be rejected, or 0.
func (s entryState) refusal(in EntryIn) fault.Kind {
	switch {
	case in.Op == Register && in.IfRevision == 0 && s.exists:
		return fault.Conflict
	case in.Op == Register && in.IfRevision == 0:
		return 0
	case !s.exists:
		return fault.NotFound
	case in.IfRevision != 0 && in.IfRevision != s.revision:
		return fault.Precondition
	}
	return 0
}

// after is the entry that an accepted request leaves behind.
func after(in EntryIn, revision uint64) entryState {
	if in.Op == Unregister {
		return entryState{revision: revision}
	}
	return entryState{exists: true, value: in.Value, revision: revision}
}
