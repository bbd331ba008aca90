package raftnode

import "sync"

// group is goroutines with an owner who waits for them. Unlike with a plain
// WaitGroup, anyone may start one at any time: after wait has begun it reports
// false and starts nothing.
type group struct {
	mu     sync.Mutex
	closed bool
	wg     sync.WaitGroup
}

func (g *group) spawn(f func()) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.wg.Go(f)
	return true
}

// wait starts no more and returns when all have ended.
func (g *group) wait() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.wg.Wait()
}
