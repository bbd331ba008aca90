package sim

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/raftnode"
	"github.com/mcpraft/mcpraft/test/model"
)

// maxFailures bounds what is reported of one seed.
const maxFailures = 20

// A report is what was seen of a cluster while it ran. Any goroutine may add to
// it.
type report struct {
	trace    *trace
	clock    atomic.Int64 // of histories: no two calls or returns have the same
	entries  model.EntryHistory
	sessions model.SessionHistory

	mu       sync.Mutex
	views    []view
	writes   []write
	refused  map[string]bool // values of requests that were certainly not applied
	failures []string
	failed   func() // ends the load
}

// A view is one read in any mode.
type view struct {
	client, node, key string // key: of an entry; empty when something else was read
	call              int64
	began, ended      time.Duration
	minIndex          uint64
	limit             time.Duration // of staleness; 0: none was asked for
	info              raftnode.ReadInfo

	found    bool
	value    string
	revision uint64
}

// A write is one accepted change.
type write struct {
	client, node string
	key          string // of an entry; empty: of something else
	value        string // empty: the entry was removed
	ended        time.Duration
	returned     int64
	index        uint64 // of the entry that answered
	replayed     bool   // which was not the one that made the change, but a later one
	revision     uint64
	time         record.LogTime
	timeline     record.Timeline
}

func newReport(t *trace) *report { return &report{trace: t, refused: make(map[string]bool)} }

func (r *report) tick() int64 { return r.clock.Add(1) }

func (r *report) since() time.Duration { return time.Since(r.trace.start) }

func (r *report) addView(v view) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.views = append(r.views, v)
}

func (r *report) addWrite(w write) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.writes = append(r.writes, w)
}

// refuse notes that the request of value was answered with a promise that it was
// not applied.
func (r *report) refuse(value string) {
	if value == "" {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refused[value] = true
}

// failf reports something that must not happen.
func (r *report) failf(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	r.trace.printf("FAILURE %s", text)
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.failures) < maxFailures {
		r.failures = append(r.failures, text)
	}
	if r.failed != nil {
		r.failed()
	}
}

// stopWhenFailed has the first failure call stop.
func (r *report) stopWhenFailed(stop func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = stop
}

func (r *report) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.failures)
}
