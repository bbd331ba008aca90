package raftnode

import (
	"math"
	"sync"
)

// flights are the batches that have left the queue one way, into the log or to
// the leader, and are not answered. Each batch costs the same whatever is in it,
// two fsyncs on every node for one, so another one leaves only when it is not
// smaller than what is under way. With few callers that is at once; with many,
// batches grow with the load.
type flights struct {
	max   int
	ended func() // called after each batch; must not block

	mu       sync.Mutex
	batches  int
	commands int
}

func newFlights(limit int, ended func()) *flights { return &flights{max: limit, ended: ended} }

// least is how many commands must wait for another batch to leave.
func (f *flights) least() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.batches == f.max {
		return math.MaxInt
	}
	return max(1, f.commands)
}

func (f *flights) begin(commands int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.batches++
	f.commands += commands
}

func (f *flights) end(commands int) {
	f.mu.Lock()
	f.batches--
	f.commands -= commands
	f.mu.Unlock()
	f.ended()
}
