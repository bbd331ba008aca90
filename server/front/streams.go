package front

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

// streams counts the streams that may last, in all and by principal, and knows
// those that are open.
type streams struct {
	limit, each int

	mu     sync.Mutex
	total  int
	by     map[record.Principal]int
	open   map[*visit]struct{}
	ending error // why new ones end at once; nil while the node runs
}

func newStreams(limit, each int) *streams {
	return &streams{limit: limit, each: each, by: make(map[record.Principal]int), open: make(map[*visit]struct{})}
}

// enter takes the place of a stream of p; leave gives it back.
func (s *streams) enter(p record.Principal) (leave func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.by[p] >= s.each:
		return nil, fault.New(fault.Quota, "you hold %d streams on this node, which is the limit", s.each).
			WithHint("close those that are not read").After(5 * time.Second)
	case s.total >= s.limit:
		return nil, fault.New(fault.Quota, "this node holds %d streams, which is its limit", s.limit).
			WithHint("try another node").After(5 * time.Second)
	}
	s.total++
	s.by[p]++
	return func() { s.leave(p) }, nil
}

func (s *streams) leave(p record.Principal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total--
	if s.by[p]--; s.by[p] == 0 {
		delete(s.by, p)
	}
}

// opened notes a visit whose answer became a stream.
func (s *streams) opened(v *visit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open[v] = struct{}{}
	if s.ending != nil {
		v.cancel(s.ending)
	}
}

func (s *streams) closed(v *visit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, v)
}

// end ends the context of each open stream.
func (s *streams) end(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ending = cause
	for v := range s.open {
		v.cancel(cause)
	}
}

// list is all open streams.
func (s *streams) list() []*visit {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.open))
}

func (s *streams) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}
