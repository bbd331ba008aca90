// Package history is what a run leaves behind: one JSONL file of operations per
// client, one of faults, and a description of the run. The checkers work on these
// files alone, so that a run can be checked again, by others, and with checkers
// that did not exist yet.
//
//	DIR/run.json         what was run: seed, command, versions, configuration
//	DIR/faults.jsonl     what was done to the cluster, and the proof that it was
//	DIR/clients/*.jsonl  what each client asked and was told
//
// An operation is written when its client knows how it ended, or gives it up. One
// whose outcome nobody knows has no return: it may take effect at any later time.
package history

import (
	"sync/atomic"
	"time"
)

// Operations that clients do, by workload.
const (
	Register   = "register"   // registry: create an entry, or replace the one of IfRevision
	Unregister = "unregister" // registry
	Find       = "find"       // registry: read one entry
	List       = "list"       // registry: read all entries with the prefix Key

	Increment = "increment" // exactly once: a compare-and-set of the counter Key from Expect to Value
	Retry     = "retry"     // exactly once: the increment of the same Request, sent again elsewhere
	Misuse    = "misuse"    // exactly once: the Idempotency-Key of Request with another body

	Acquire = "acquire" // claims: own Key; the revision is the fencing token
	Release = "release" // claims
	Fenced  = "fenced"  // claims: a write to the fenced store outside, with token IfRevision

	Initialize = "initialize" // sessions: Key is the name that the harness gives the session
	Use        = "use"        // sessions: any request in it
	Foreign    = "foreign"    // sessions: a request in it by another principal
	End        = "end"        // sessions

	Call   = "call"   // tools: a tool call; Key names it
	Stream = "stream" // tools: a call that reports progress, resumed through other nodes when its stream breaks

	Executed = "executed" // by the upstream itself: it has carried out the call Key
)

// Ends of an operation.
const (
	OK       = "ok"
	Rejected = "rejected"  // an answer: the state machine or the protocol refused it
	Refused  = "refused"   // nothing was done and nothing will be
	Unknown  = "unknown"   // it may take effect at any time, or never
	Wrong    = "defective" // an answer that no well-behaved node gives
)

// An Operation is what a client asked and what it was told. Times are of the
// harness: nanoseconds since the start of the run, none given twice.
type Operation struct {
	Client   string `json:"client"`
	Node     string `json:"node"`
	Workload string `json:"workload"`
	Do       string `json:"do"`
	Key      string `json:"key,omitempty"`

	Value      string `json:"value,omitempty"`
	Expect     string `json:"expect,omitempty"`
	IfRevision uint64 `json:"if_revision,omitempty"`
	Request    string `json:"request,omitempty"` // its Idempotency-Key
	Mode       string `json:"mode,omitempty"`    // of a read: linearizable, bounded, any
	MinIndex   uint64 `json:"min_index,omitempty"`
	Limit      int64  `json:"limit_ms,omitempty"` // of staleness

	Call   int64  `json:"call"`
	Return int64  `json:"return,omitempty"` // 0: unknown
	Ended  int64  `json:"ended"`            // when the client went on
	End    string `json:"end"`
	Error  string `json:"error,omitempty"` // kind of fault, or reason of an MCP error
	Text   string `json:"text,omitempty"`  // for people
	Status int    `json:"status,omitempty"`

	Index     uint64 `json:"index,omitempty"`
	Timeline  string `json:"timeline,omitempty"`
	Revision  uint64 `json:"revision,omitempty"`
	LogTime   int64  `json:"log_time,omitempty"` // ms
	Replayed  bool   `json:"replayed,omitempty"`
	Staleness int64  `json:"staleness_ms,omitempty"`
	Items     []Item `json:"items,omitempty"`

	Result string `json:"result,omitempty"` // of a tool call: whose it is
	Steps  []int  `json:"steps,omitempty"`  // progress that a stream brought, in order
	Hops   int    `json:"hops,omitempty"`   // times that a stream was resumed
}

// An Item is an entry that a read found.
type Item struct {
	Key      string `json:"key"`
	Value    string `json:"value"`
	Revision uint64 `json:"revision"`
}

// A Clock gives the times of a run. Any goroutine may read it.
type Clock struct {
	start time.Time
	last  atomic.Int64
}

// NewClock starts at 0.
func NewClock() *Clock { return &Clock{start: time.Now()} }

// Now is the time since the start, and more than any it gave before.
func (c *Clock) Now() int64 {
	now := int64(time.Since(c.start))
	for {
		last := c.last.Load()
		next := max(now, last+1)
		if c.last.CompareAndSwap(last, next) {
			return next
		}
	}
}
