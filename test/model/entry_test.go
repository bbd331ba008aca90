package model

import (
	"strings"
	"testing"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
)

const limit = 10 * time.Second

// entries builds a history: each operation takes a place on the clock of its own,
// and ends before the next, unless its outcome is unknown.
func entries(steps ...EntryOperation) []EntryOperation {
	for i := range steps {
		steps[i].Key, steps[i].Call, steps[i].Return = "k", int64(2*i), int64(2*i+1)
		if steps[i].Out.Unknown {
			steps[i].Return = Never
		}
	}
	return steps
}

func registered(value string, at, revision uint64) EntryOperation {
	return EntryOperation{In: EntryIn{Op: Register, Value: value, IfRevision: at}, Out: EntryOut{Revision: revision}}
}

func rejected(o EntryOperation, kind fault.Kind) EntryOperation {
	o.Out = EntryOut{Kind: kind}
	return o
}

func unknown(o EntryOperation) EntryOperation {
	o.Out = EntryOut{Unknown: true}
	return o
}

func removed(at, revision uint64) EntryOperation {
	return EntryOperation{In: EntryIn{Op: Unregister, IfRevision: at}, Out: EntryOut{Revision: revision}}
}

func found(value string, revision uint64) EntryOperation {
	return EntryOperation{In: EntryIn{Op: Find}, Out: EntryOut{Value: value, Revision: revision}}
}

func missing() EntryOperation {
	return EntryOperation{In: EntryIn{Op: Find}, Out: EntryOut{Kind: fault.NotFound}}
}

func TestPossibleHistoriesOfEntriesAreAccepted(t *testing.T) {
	for name, ops := range map[string][]EntryOperation{
		"a life":                   entries(missing(), registered("a", 0, 1), found("a", 1), registered("b", 1, 2), found("b", 2), removed(2, 3), missing()),
		"rejections":               entries(registered("a", 0, 1), rejected(registered("b", 0, 0), fault.Conflict), rejected(registered("b", 7, 0), fault.Precondition), found("a", 1)),
		"nothing there":            entries(rejected(removed(0, 0), fault.NotFound), rejected(registered("a", 3, 0), fault.NotFound)),
		"unknown, applied":         entries(unknown(registered("a", 0, 0)), found("a", 5), registered("b", 5, 6)),
		"unknown, applied later":   entries(unknown(registered("a", 0, 0)), missing(), found("a", 5)),
		"unknown, never applied":   entries(unknown(registered("a", 0, 0)), missing(), missing()),
		"unknown removal, applied": entries(registered("a", 0, 1), unknown(removed(0, 0)), found("a", 1), missing()),
	} {
		if v := CheckEntries(ops, limit); len(v) > 0 {
			t.Errorf("%s: %v", name, &v[0])
		}
	}
}

func TestImpossibleHistoriesOfEntriesAreFound(t *testing.T) {
	for name, ops := range map[string][]EntryOperation{
		"stale read":                entries(registered("a", 0, 1), registered("b", 1, 2), found("a", 1)),
		"lost write":                entries(registered("a", 0, 1), missing()),
		"lost update":               entries(registered("a", 0, 1), registered("b", 1, 2), registered("c", 1, 3)),
		"applied though rejected":   entries(rejected(registered("a", 0, 0), fault.Conflict), found("a", 1)),
		"rejected without a reason": entries(registered("a", 0, 1), rejected(registered("b", 1, 0), fault.Precondition)),
		"revision goes back":        entries(registered("a", 0, 5), registered("b", 5, 4)),
		"read of nothing":           entries(found("a", 1)),
		"unknown, applied twice":    entries(unknown(registered("a", 0, 0)), found("a", 1), removed(1, 2), found("a", 3)),
		"unknown, before its call":  entries(found("a", 1), unknown(registered("a", 0, 0))),
	} {
		if v := CheckEntries(ops, limit); len(v) != 1 || !strings.Contains(v[0].String(), "Illegal") {
			t.Errorf("%s was not found: %v", name, v)
		}
	}
}

func TestRevisionOfAnUnknownRequestIsTakenFromWhatWasSeen(t *testing.T) {
	ops := entries(unknown(registered("a", 0, 0)), registered("b", 5, 6))
	if v := CheckEntries(ops, limit); len(v) != 1 {
		t.Error("a compare-and-set on a revision that nobody has seen was explained")
	}
	Resolve(ops, map[string]uint64{"a": 5})
	if v := CheckEntries(ops, limit); len(v) > 0 {
		t.Errorf("with the revision: %v", &v[0])
	}
}
