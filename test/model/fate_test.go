package model

import (
	"testing"

	"github.com/mcpraft/mcpraft/internal/fault"
)

func TestEveryKindOfFaultHasTheFateThatItPromises(t *testing.T) {
	want := map[fault.Kind]Fate{
		fault.Invalid: Defective, fault.Unauthenticated: Defective, fault.Forbidden: Defective,
		fault.NotFound: Rejected, fault.Conflict: Rejected, fault.Precondition: Rejected,
		fault.TooLarge: Defective, fault.Mismatch: Rejected, fault.Quota: Rejected,
		fault.NoLeader: Refused, fault.Overloaded: Refused, fault.Stale: Refused,
		fault.OutcomeUnknown: Unsettled, fault.Timeout: Refused,
		fault.Integrity: Defective, fault.Internal: Defective, fault.Unavailable: Refused,
		fault.Fenced: Rejected, fault.Unreachable: Refused, fault.Unsupported: Defective,
		fault.MethodNotAllowed: Defective, fault.UnsupportedFormat: Defective,
	}
	for k := fault.Kind(1); k.Known(); k++ {
		fate, listed := want[k]
		if !listed {
			t.Errorf("%v: a new kind of fault; say here what it tells of a change", k)
		}
		if got := FateOf(k); got != fate {
			t.Errorf("%v: %v, want %v", k, got, fate)
		}
	}
}

// What a node refuses with a promise that nothing was done may be sent again as it
// is; what it cannot promise may not.
func TestWhatMayBeSentAgainWasNotApplied(t *testing.T) {
	for k := fault.Kind(1); k.Known(); k++ {
		if f := FateOf(k); k.Retryable() && f != Refused && f != Rejected {
			t.Errorf("%v may be sent again, and what became of it is %v", k, f)
		}
	}
}
