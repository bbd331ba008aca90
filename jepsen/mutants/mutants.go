// Package mutants is bugs that are put into the product on purpose, one at a time,
// to see whether the harness finds them. A harness that reports nothing proves
// nothing before it has found what is certainly there.
//
// A mutant is a piece of a source file and what stands in its place. The source is
// not changed: the compiler is told to take another file (go build -overlay). A
// test holds every mutant to the source as it is.
package mutants

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// A Mutant is one bug.
type Mutant struct {
	Name  string
	About string
	file  string // below the root of the module
	old   string // occurs once in it
	new   string

	Workloads []string // that can see it
	Faults    []string // that make it matter
	Claim     string   // that a finding must cite
}

// All are the mutants.
func All() []Mutant {
	return []Mutant{
		{
			Name: "read-without-quorum", About: "a linearizable read is answered from the replica, without asking a majority",
			file:      "raftnode/read.go",
			old:       "\t\tp, err := n.confirmed(ctx)\n\t\tif err != nil {\n\t\t\treturn nil, ReadInfo{}, noConfirmation(ctx, err)\n\t\t}\n\t\tindex = max(index, p.index)\n",
			new:       "",
			Workloads: []string{"registry"}, Faults: []string{"isolate-leader"}, Claim: "linearizable",
		},
		{
			Name: "no-compare", About: "compare-and-set does not compare",
			file: "fsm/table.go", old: "\tcase want != 0 && want != revision:\n", new: "\tcase want != 0 && want > revision:\n",
			Workloads: []string{"registry"}, Faults: []string{"kill-leader"}, Claim: "linearizable",
		},
		{
			Name: "two-owners", About: "an entry that exists is created again",
			file: "fsm/table.go", old: "\tcase want == 0 && exists:\n", new: "\tcase want == 0 && exists && revision%7 != 0:\n",
			Workloads: []string{"claims"}, Faults: []string{"kill-leader"}, Claim: "claim",
		},
		{
			Name: "fresher-than-it-is", About: "a replica says that it has just heard from the leader",
			file: "raftnode/freshness.go", old: "\treturn time.Since(f.newest.at)\n", new: "\treturn time.Since(f.newest.at) / 1000\n",
			Workloads: []string{"registry"}, Faults: []string{"split", "pause"}, Claim: "fresh",
		},
		{
			Name: "min-index-ignored", About: "a read does not wait for the index that it was asked for",
			file: "raftnode/read.go", old: "\tindex := o.MinIndex\n", new: "\tindex := uint64(0)\n",
			Workloads: []string{"registry"}, Faults: []string{"slow-links", "split"}, Claim: "fresh",
		},
		{
			Name: "idempotency-forgotten", About: "an Idempotency-Key is not remembered",
			file: "fsm/idempotency.go", old: "\tif old != nil && old.Expires > t.now {\n", new: "\tif old != nil && old.Expires < t.now {\n",
			Workloads: []string{"once"}, Faults: []string{"kill-leader"}, Claim: "once",
		},
		{
			Name: "anybodys-session", About: "a session serves whoever names it",
			file: "server/session/live.go", old: "\tif l.Record.Principal != principal || !open(&l.Record) {\n", new: "\tif !open(&l.Record) {\n",
			Workloads: []string{"sessions"}, Faults: []string{"kill-follower"}, Claim: "session-own",
		},
		{
			Name: "end-not-waited-for", About: "the end of a session is acknowledged before it is known here (found by this harness)",
			file:      "server/session/change.go",
			old:       "\treturn s.changedAt(ctx, receipt, err) // what was ended here is unknown here\n",
			new:       "\t_ = receipt\n\treturn gone(err)\n",
			Workloads: []string{"sessions"}, Faults: []string{"slow-links"}, Claim: "session-ended",
		},
		{
			Name: "send-it-again", About: "a call that a stopping node gives up is told to be sent again (found by this harness)",
			file: "server/session/drain.go", old: "\t\t\tc.cancel(errGivenUp())\n", new: "\t\t\tc.cancel(errDraining())\n",
			Workloads: []string{"tools"}, Faults: []string{"rolling-restart"}, Claim: "call-once",
		},
		{
			Name: "broken-is-unreachable", About: "a connection that broke in the midst of a call counts as never made",
			file:      "server/upstream/upstream.go",
			old:       "\t\treturn f(fault.OutcomeUnknown, \"the connection to upstream %q broke before it answered\", alias).",
			new:       "\t\treturn f(fault.Unreachable, \"the connection to upstream %q broke before it answered\", alias).",
			Workloads: []string{"tools"}, Faults: []string{"upstream-resets"}, Claim: "call-once",
		},
		{
			Name: "token-not-known", About: "a node that is not fresh says that a token is unknown (found by this harness)",
			file:      "server/auth/auth.go",
			old:       "\tif err != nil && !errors.Is(err, errUnknownToken) {\n\t\treturn exchange.Caller{}, fault.New(fault.Unavailable,",
			new:       "\tif err != nil && !errors.Is(err, errUnknownToken) {\n\t\treturn exchange.Caller{}, fault.New(fault.Unauthenticated,",
			Workloads: []string{"registry", "sessions"}, Faults: []string{"wipe"}, Claim: "errors",
		},
	}
}

// Overlay writes into dir what the compiler needs to build the mutant from the
// module in root, and returns the argument of -overlay.
func (m *Mutant) Overlay(root, dir string) (string, error) {
	source := filepath.Join(root, m.file)
	text, err := os.ReadFile(source)
	if err != nil {
		return "", err
	}
	if n := strings.Count(string(text), m.old); n != 1 {
		return "", fmt.Errorf("%s: what mutant %s replaces occurs %d times, want once", m.file, m.Name, n)
	}
	changed := filepath.Join(dir, "mutant.go")
	if err := os.WriteFile(changed, []byte(strings.Replace(string(text), m.old, m.new, 1)), 0o644); err != nil {
		return "", err
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{source: changed}})
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, overlay, 0o644)
}
