package check

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mcpraft/mcpraft/jepsen/history"
)

// ops builds a history: each operation ends before the next begins, a second apart,
// unless the test says otherwise.
func ops(list ...history.Operation) []history.Operation {
	for i := range list {
		o := &list[i]
		if o.Client == "" {
			o.Client = "c1"
		}
		if o.Node == "" {
			o.Node = "n1"
		}
		if o.Call == 0 {
			o.Call = int64(i+1) * 1e9
		}
		if o.Ended == 0 {
			o.Ended = o.Call + 1e6
		}
		if o.End == "" {
			o.End = history.OK
		}
		if o.End == history.OK || o.End == history.Rejected {
			o.Return = o.Ended
		}
		if o.Timeline == "" {
			o.Timeline = "1-1"
		}
	}
	return list
}

func put(do, value string, at, revision uint64) history.Operation {
	return history.Operation{Do: do, Key: "k", Value: value, IfRevision: at, Revision: revision, Index: 10 * revision, LogTime: int64(revision)}
}

func remove(do string, at, revision uint64) history.Operation {
	return history.Operation{Do: do, Key: "k", IfRevision: at, Revision: revision, Index: 10 * revision, LogTime: int64(revision)}
}

func find(mode, value string, revision, index uint64) history.Operation {
	o := history.Operation{Do: history.Find, Key: "k", Mode: mode, Index: index}
	if revision > 0 {
		o.Items = []history.Item{{Key: "k", Value: value, Revision: revision}}
	} else {
		o.End, o.Error = history.Rejected, "not_found"
	}
	return o
}

func list(value string, revision, index uint64) history.Operation {
	o := find("linearizable", value, revision, index)
	o.Do, o.Key, o.End, o.Error = history.List, "", history.OK, ""
	return o
}

func ended(o history.Operation, end, why string) history.Operation {
	o.End, o.Error = end, why
	if end != history.OK {
		o.Revision, o.Index = 0, 0
	}
	return o
}

func asked(o history.Operation, request string) history.Operation {
	o.Request = request
	return o
}

func replayed(o history.Operation) history.Operation {
	o.Replayed = true
	return o
}

func on(node string, o history.Operation) history.Operation {
	o.Node = node
	return o
}

// later is long after all the others.
func later(o history.Operation) history.Operation {
	o.Call = 60e9
	return o
}

func session(do, end, why string) history.Operation {
	return history.Operation{Do: do, Key: "s", End: end, Error: why}
}

func call(do, end, why, result string, progress ...int) history.Operation {
	return history.Operation{Do: do, Key: "t", End: end, Error: why, Result: result, Steps: progress}
}

func executed() history.Operation { return history.Operation{Do: history.Executed, Key: "t"} }

func resumed(o history.Operation, hops int) history.Operation {
	o.Hops = hops
	return o
}

func at9(o history.Operation, fresh int64) history.Operation {
	o.Staleness = fresh
	return o
}

func least(o history.Operation, index uint64) history.Operation {
	o.MinIndex = index
	return o
}

var twelve = []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}

func cites(findings []Finding, claim string) bool {
	return slices.ContainsFunc(findings, func(f Finding) bool { return f.Claim == claim })
}

// The mutants: histories that a broken product would leave, one for each way in
// which it can break a promise. Each must be found, and under the right claim.
func TestEveryMutantIsFound(t *testing.T) {
	lin := "linearizable"
	for _, m := range []struct {
		name, claim string
		ops         []history.Operation
	}{
		{"a deposed leader answers a linearizable read", "linearizable", ops(put(history.Register, "a", 0, 1), put(history.Register, "b", 1, 2), find(lin, "a", 1, 20))},
		{"a deposed leader lists", "linearizable", ops(put(history.Register, "a", 0, 1), put(history.Register, "b", 1, 2), list("a", 1, 20))},
		{"acknowledged before it was on a majority", "linearizable", ops(put(history.Register, "a", 0, 1), find(lin, "", 0, 20))},
		{"the compare-and-set does not compare", "linearizable", ops(put(history.Register, "a", 0, 1), put(history.Register, "b", 1, 2), put(history.Register, "c", 1, 3))},
		{"a removed entry comes back", "linearizable", ops(put(history.Register, "a", 0, 1), remove(history.Unregister, 1, 2), find(lin, "a", 1, 30))},
		{"a request of unknown outcome is applied twice", "replay", ops(ended(put(history.Register, "a", 0, 0), history.Unknown, "outcome_unknown"), find(lin, "a", 1, 10), remove(history.Unregister, 1, 2), find(lin, "a", 3, 30))},
		{"what was refused is applied", "replay", ops(ended(put(history.Register, "a", 0, 0), history.Refused, "no_leader"), find(lin, "a", 1, 10))},
		{"two nodes show one index in two ways", "replay", ops(put(history.Register, "a", 0, 1), find("any", "a", 1, 15), find("any", "x", 1, 15))},
		{"a view shows what its index does not hold yet", "replay", ops(put(history.Register, "a", 0, 2), find("any", "a", 2, 15))},
		{"a view lacks what its index holds", "replay", ops(put(history.Register, "a", 0, 1), at9(find("any", "", 0, 15), -1))},
		{"one revision for two changes", "replay", ops(put(history.Register, "a", 0, 1), put(history.Register, "b", 1, 1))},
		{"another history of the log without a restore", "replay", ops(put(history.Register, "a", 0, 1), func() history.Operation { o := put(history.Register, "b", 1, 2); o.Timeline = "2-1"; return o }())},
		{"log time goes back", "replay", ops(put(history.Register, "a", 0, 1), func() history.Operation { o := put(history.Register, "b", 1, 2); o.LogTime = 0; return o }())},
		{"a bounded read is older than it says", "fresh", ops(put(history.Register, "a", 0, 1), put(history.Register, "b", 1, 2), at9(find("bounded", "a", 1, 15), 5))},
		{"a read before the index that was asked for", "fresh", ops(put(history.Register, "a", 0, 1), at9(least(find("any", "", 0, 5), 10), -1))},
		{"a linearizable read behind an acknowledged write", "fresh", ops(put(history.Register, "a", 0, 1), find(lin, "", 0, 5))},

		{"the dedupe window forgets", "once", ops(asked(put(history.Increment, "1:a", 0, 1), "r"), asked(put(history.Retry, "1:a", 0, 2), "r"))},
		{"the second answer is another", "once", ops(asked(put(history.Increment, "1:a", 0, 1), "r"), asked(ended(put(history.Retry, "1:a", 0, 0), history.Rejected, "conflict"), "r"))},
		{"another body under the same key is taken", "once", ops(asked(put(history.Increment, "1:a", 0, 1), "r"), asked(put(history.Misuse, "1:b", 0, 2), "r"))},
		{"an increment is lost", "once", ops(asked(put(history.Increment, "1:a", 0, 1), "r"), asked(put(history.Increment, "2:b", 1, 2), "s"), find(lin, "1:a", 1, 30))},

		{"two owners at a time", "claim", ops(put(history.Acquire, "a", 0, 1), put(history.Acquire, "b", 0, 2), remove(history.Release, 1, 3))},
		{"a token that is not greater", "claim", ops(put(history.Acquire, "a", 0, 5), remove(history.Release, 5, 6), put(history.Acquire, "b", 0, 4), remove(history.Release, 4, 7))},

		{"a session is lost with its node", "session-kept", ops(session(history.Initialize, history.OK, ""), on("n2", session(history.Use, history.Rejected, "not_found")))},
		{"a session expires before its time", "session-kept", ops(session(history.Initialize, history.OK, ""), session(history.Use, history.OK, ""), session(history.Use, history.Rejected, "not_found"), session(history.End, history.OK, ""))},
		{"a session outlives its end", "session-ended", ops(session(history.Initialize, history.OK, ""), session(history.End, history.OK, ""), session(history.Use, history.OK, ""))},
		{"a session outlives its end on another node", "session-ended", ops(session(history.Initialize, history.OK, ""), session(history.End, history.OK, ""), session(history.Use, history.Rejected, "not_found"), later(on("n2", session(history.Use, history.OK, ""))))},
		{"a session serves another principal", "session-own", ops(session(history.Initialize, history.OK, ""), session(history.Foreign, history.OK, ""))},

		{"a call is sent again behind the caller's back", "call-once", ops(executed(), executed(), call(history.Call, history.OK, "", "t"))},
		{"a call is carried out and refused", "call-once", ops(executed(), call(history.Call, history.Refused, "unavailable", ""))},
		{"a call that nobody made", "call-once", ops(executed())},
		{"an answer that the upstream never gave", "call-answer", ops(call(history.Call, history.OK, "", "t"))},
		{"the answer of another caller", "call-answer", ops(executed(), call(history.Call, history.OK, "", "u"))},
		{"a call that ends without a reason", "call-answer", ops(executed(), call(history.Call, history.Unknown, "", ""))},
		{"an event id is used again", "stream", ops(executed(), resumed(call(history.Stream, history.OK, "", "t", 1, 2, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12), 1))},
		{"events overtake each other", "stream", ops(executed(), call(history.Stream, history.OK, "", "t", 1, 3, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12))},
		{"events are lost while the client listens", "stream", ops(executed(), call(history.Stream, history.OK, "", "t", 1, 2, 3, 7, 8, 9, 10, 11, 12))},
		{"the stream ends before its time", "stream", ops(executed(), call(history.Stream, history.OK, "", "t", 1, 2, 3))},

		{"an internal error", "errors", ops(call(history.Call, history.Wrong, "internal", ""))},
	} {
		findings := All(&history.Run{}, m.ops, nil)
		if !cites(findings, m.claim) {
			t.Errorf("%s: not found under %s, but %v", m.name, m.claim, findings)
		}
	}
}

// What a sound product may do under faults is no finding.
func TestSoundHistoriesAreLeftAlone(t *testing.T) {
	lin := "linearizable"
	for name, list := range map[string][]history.Operation{
		"a life":                       ops(find(lin, "", 0, 5), put(history.Register, "a", 0, 1), find(lin, "a", 1, 10), put(history.Register, "b", 1, 2), list("b", 2, 20), remove(history.Unregister, 2, 3), find(lin, "", 0, 30)),
		"an old view that says so":     ops(put(history.Register, "a", 0, 1), put(history.Register, "b", 1, 2), at9(find("bounded", "a", 1, 15), 60_000)),
		"unknown, and applied":         ops(ended(put(history.Register, "a", 0, 0), history.Unknown, "outcome_unknown"), find(lin, "a", 1, 10), put(history.Register, "b", 1, 2)),
		"unknown, and never applied":   ops(ended(put(history.Register, "a", 0, 0), history.Unknown, "outcome_unknown"), find(lin, "", 0, 10)),
		"retried elsewhere":            ops(asked(put(history.Increment, "1:a", 0, 1), "r"), replayed(asked(put(history.Retry, "1:a", 0, 1), "r")), asked(ended(put(history.Misuse, "1:b", 0, 0), history.Rejected, "idempotency_mismatch"), "r"), find(lin, "1:a", 1, 30)),
		"retried after no answer":      ops(asked(ended(put(history.Increment, "1:a", 0, 0), history.Unknown, "outcome_unknown"), "r"), asked(put(history.Retry, "1:a", 0, 1), "r"), find(lin, "1:a", 1, 30)),
		"refused and not retried":      ops(asked(put(history.Increment, "1:a", 0, 1), "r"), asked(ended(put(history.Increment, "2:b", 1, 0), history.Refused, "no_leader"), "s"), find(lin, "1:a", 1, 30)),
		"one owner after the other":    ops(put(history.Acquire, "a", 0, 1), remove(history.Release, 1, 2), put(history.Acquire, "b", 0, 3), remove(history.Release, 3, 4)),
		"a session":                    ops(session(history.Initialize, history.OK, ""), session(history.Foreign, history.Rejected, "not_found"), on("n2", session(history.Use, history.Refused, "unavailable")), session(history.End, history.OK, ""), session(history.Use, history.Rejected, "not_found")),
		"an end of unknown outcome":    ops(session(history.Initialize, history.OK, ""), session(history.End, history.Unknown, "outcome_unknown"), session(history.Use, history.Rejected, "not_found")),
		"a call":                       ops(executed(), call(history.Call, history.OK, "", "t")),
		"a call that was lost":         ops(executed(), call(history.Call, history.Unknown, "outcome_unknown", "")),
		"a call that was refused":      ops(call(history.Call, history.Refused, "unavailable", "")),
		"a stream":                     ops(executed(), call(history.Stream, history.OK, "", "t", twelve...)),
		"a stream whose client went":   ops(executed(), resumed(call(history.Stream, history.OK, "", "t", 1, 2, 3, 6, 7, 8, 9, 10, 11, 12), 1)),
		"a stream that nobody resumed": ops(executed(), call(history.Stream, history.Unknown, "outcome_unknown", "", 1, 2)),
	} {
		if findings := All(&history.Run{}, list, nil); len(findings) > 0 {
			t.Errorf("%s: %v", name, findings)
		}
	}
}

// While a node is cut off it may know a session that was ended elsewhere.
func TestASessionMayOutliveItsEndWhereTheNewsCannotReach(t *testing.T) {
	list := ops(session(history.Initialize, history.OK, ""), session(history.End, history.OK, ""), session(history.Use, history.Rejected, "not_found"), later(on("n2", session(history.Use, history.OK, ""))))
	faults := []history.Fault{{Name: "split", Began: 1, Ended: 100e9, Whole: 101e9}}
	if findings := All(&history.Run{}, list, faults); len(findings) > 0 {
		t.Error(findings)
	}
}

func TestFindingsAreBoundedAndCountTheRest(t *testing.T) {
	var list []history.Operation
	for i := range 3 * maxFindings {
		o := executed()
		o.Key = fmt.Sprint("t", i)
		list = append(list, o)
	}
	findings := All(&history.Run{}, ops(list...), nil)
	if len(findings) != maxFindings+1 || !strings.Contains(findings[maxFindings].Text, fmt.Sprint(2*maxFindings)) {
		t.Errorf("%d findings, the last is %v", len(findings), findings[len(findings)-1])
	}
}

func TestEveryClaimHasAMutant(t *testing.T) {
	findings := All(&history.Run{Problems: []string{"n1 ended by itself"}}, nil, nil)
	if !cites(findings, "alive") {
		t.Error("a node that ended by itself is no finding")
	}
	if len(Claims()) != 13 {
		t.Errorf("%d claims: give each new one a mutant above", len(Claims()))
	}
}
