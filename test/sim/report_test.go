package sim

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

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
	evidence model.Evidence
	failures []string
	failed   func() // ends the load
}

func newReport(t *trace) *report {
	return &report{trace: t, evidence: model.Evidence{Refused: make(map[string]bool), Unsure: make(map[string]bool)}}
}

func (r *report) tick() int64 { return r.clock.Add(1) }

func (r *report) since() time.Duration { return time.Since(r.trace.start) }

func (r *report) addView(v model.View) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.evidence.Views = append(r.evidence.Views, v)
}

func (r *report) addWrite(w model.Write) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.evidence.Writes = append(r.evidence.Writes, w)
}

// refuse notes that the request of value was answered with a promise that it was
// not applied.
func (r *report) refuse(value string) {
	if value == "" {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.evidence.Refused[value] = true
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
