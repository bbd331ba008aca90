package catalog

import (
	"sync"
	"sync/atomic"
)

// A Catalog keeps this node's View up to date.
type Catalog struct {
	view atomic.Pointer[View]

	mu       sync.Mutex
	watchers []func(Difference)
}

// Now is the catalogue as this node knows it. What it gives never changes.
func (c *Catalog) Now() *View { return c.view.Load() }

// Watch has f called with each Difference, by one goroutine at a time, after Now
// gives the View that has it. f must not block. Watch may be called at any time.
func (c *Catalog) Watch(f func(Difference)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watchers = append(c.watchers, f)
}

// publish makes v the newest View and tells what has changed.
func (c *Catalog) publish(v *View) {
	old := c.view.Swap(v)
	c.mu.Lock()
	watchers := c.watchers
	c.mu.Unlock()
	for _, d := range Between(old, v) {
		for _, f := range watchers {
			f(d)
		}
	}
}
