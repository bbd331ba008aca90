// Package check looks for contradictions between what clients were told and what
// was promised. It works on the files of a run alone. Every finding cites the claim
// that it contradicts; every checker is tested against histories that were broken
// on purpose.
package check

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mcpraft/mcpraft/jepsen/history"
)

// A Claim is something that the product promises, with the id that findings cite.
type Claim struct{ ID, Text string }

// Claims are what the checkers hold the product to.
func Claims() []Claim {
	return []Claim{
		{"linearizable", "Registry entries are linearizable per key: creations, compare-and-set, removals, linearizable reads and lists, through any node."},
		{"replay", "What an index says is what any node shows at that index: lists and reads in every mode agree with the writes in the order of the log; no revision is given twice; what was refused was not applied; log time does not go back."},
		{"fresh", "A read is as fresh as it says: a bounded one at most as old as reported, never older than allowed, never before the index that was asked for."},
		{"once", "A request with an Idempotency-Key is applied at most once, whoever is asked again; every answer is the same; another body under the same key is refused."},
		{"claim", "Of two owners of a name, one has given it up before the other gets it; tokens grow."},
		{"session-kept", "A session that was opened and not ended is never unknown to any node (404 only when proven)."},
		{"session-ended", "A session that was ended does not come back: not on the node that ended it, and on the others not after five seconds without faults."},
		{"session-own", "A principal never gets anything out of another's session."},
		{"call-once", "A tool call reaches the upstream at most once; one that was refused never does."},
		{"call-answer", "An answer belongs to the call; a call that is not answered has a stated reason."},
		{"stream", "A call's messages arrive in order, none twice, over any number of resumptions through other nodes. Progress is missed only while its client is away: a node keeps the answer, not that."},
		{"errors", "No node answers a well-formed request with an internal error, or an error that does not belong to it."},
		{"alive", "Without faults the cluster becomes whole again by itself; no node ends without a reason; all replicas have one digest."},
	}
}

// A Finding is a contradiction.
type Finding struct {
	Claim string `json:"claim"`
	Text  string `json:"text"`
}

// Limit bounds the search for an explanation of one key's history.
const Limit = 2 * time.Minute

// maxFindings bounds what is reported for one claim.
const maxFindings = 20

// A checker looks at the history of a run.
type checker struct {
	run      *history.Run
	ops      []history.Operation
	faults   []history.Fault
	findings []Finding
	count    map[string]int
}

// All runs every checker.
func All(run *history.Run, ops []history.Operation, faults []history.Fault) []Finding {
	c := &checker{run: run, ops: ops, faults: faults, count: make(map[string]int)}
	c.registry()
	c.once()
	c.claims()
	c.sessions()
	c.calls()
	c.streams()
	c.errors()
	for _, p := range run.Problems {
		c.find("alive", "%s", p)
	}
	for claim, n := range c.count {
		if n > maxFindings {
			c.findings = append(c.findings, Finding{claim, fmt.Sprintf("and %d more", n-maxFindings)})
		}
	}
	slices.SortStableFunc(c.findings, func(a, b Finding) int { return strings.Compare(a.Claim, b.Claim) })
	return c.findings
}

func (c *checker) find(claim, format string, args ...any) {
	if c.count[claim]++; c.count[claim] <= maxFindings {
		c.findings = append(c.findings, Finding{claim, fmt.Sprintf(format, args...)})
	}
}

// calm reports whether no fault was at work from one moment to another, nor any
// that the cluster had not got over.
func (c *checker) calm(from, to int64) bool {
	return !slices.ContainsFunc(c.faults, func(f history.Fault) bool {
		return f.Began < to && (f.Whole == 0 || f.Whole > from)
	})
}

// at is a moment for people.
func at(t int64) time.Duration { return time.Duration(t).Round(time.Millisecond) }

// brief is an operation for people.
func brief(o *history.Operation) string {
	end := o.End
	if o.Error != "" {
		end += " (" + o.Error + ": " + o.Text + ")"
	}
	return fmt.Sprintf("%s of %s by %s on %s, %v to %v: %s", o.Do, o.Key, o.Client, o.Node, at(o.Call), at(o.Ended), end)
}

// errors: an answer that no well-behaved node gives.
func (c *checker) errors() {
	for i := range c.ops {
		if o := &c.ops[i]; o.End == history.Wrong {
			c.find("errors", "%s", brief(o))
		}
	}
}
