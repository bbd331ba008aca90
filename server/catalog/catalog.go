package catalog

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode"
)

// loadRetry is the pause after the replica could not be read.
const loadRetry = time.Second

// A Reader opens the replicated state; *raftnode.Node is one.
type Reader interface {
	// Read returns a view that is as fresh as o asks. The caller closes it.
	Read(ctx context.Context, o raftnode.ReadOptions) (*fsm.View, raftnode.ReadInfo, error)
}

// A Catalog keeps this node's View as its replica is: Changed says what to look at,
// Run looks. All methods may be called from any goroutine.
type Catalog struct {
	reader Reader
	log    *slog.Logger
	view   atomic.Pointer[View]
	loaded atomic.Bool
	wake   chan struct{}

	mu       sync.Mutex // nothing blocks under it
	all      bool
	dirty    map[string]bool // aliases
	watchers []func(Difference)
}

// New makes a Catalog of a node, which is empty until Run has read the replica. A
// nil logger discards.
func New(reader Reader, log *slog.Logger) *Catalog {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	c := &Catalog{reader: reader, log: log, wake: make(chan struct{}, 1), all: true, dirty: make(map[string]bool)}
	c.view.Store(NewView())
	return c
}

// Now is the catalogue as this node knows it. What it gives never changes.
func (c *Catalog) Now() *View { return c.view.Load() }

// Err is why Now is not to be relied on: the replica was not read yet. Nil from
// then on.
func (c *Catalog) Err() error {
	if c.loaded.Load() {
		return nil
	}
	return fault.New(fault.Unavailable, "the catalogue is not read yet")
}

// Watch has f called with each Difference, by one goroutine at a time, after Now
// gives the View that has it. What was there when the node started is no
// Difference. f must not block. Watch may be called at any time.
func (c *Catalog) Watch(f func(Difference)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watchers = append(c.watchers, f)
}

// Changed is told of every change of this replica (raftnode.Node.Watch). It does
// not block.
func (c *Catalog) Changed(changes []fsm.Change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range changes {
		switch changes[i].Noun {
		case fsm.ChangedAll:
			c.all = true
		case fsm.ChangedUpstream, fsm.ChangedSlice:
			c.dirty[aliasOf(&changes[i])] = true
		default:
			continue
		}
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
}

// aliasOf is the upstream that a change of an upstream or a slice is about.
func aliasOf(c *fsm.Change) string {
	alias, _, _ := strings.Cut(c.Key, "\x00")
	return alias
}

// Run follows the replica until ctx ends.
func (c *Catalog) Run(ctx context.Context) error {
	for {
		var retry <-chan time.Time
		if err := c.load(ctx); err != nil && ctx.Err() == nil {
			c.log.Warn("the catalogue is not as new as the state", "err", err)
			retry = time.After(loadRetry)
		}
		select {
		case <-c.wake:
		case <-retry:
		case <-ctx.Done():
			return nil
		}
	}
}

// load reads what has changed and publishes the View that has it.
func (c *Catalog) load(ctx context.Context) error {
	all, dirty := c.take()
	if !all && len(dirty) == 0 {
		return nil
	}
	next, err := c.read(ctx, all, dirty)
	if err != nil {
		c.mu.Lock()
		c.all = true // what was taken is not known any more
		c.mu.Unlock()
		return err
	}
	if first := c.loaded.CompareAndSwap(false, true); first {
		c.view.Store(next)
		return nil
	}
	c.publish(next)
	return nil
}

func (c *Catalog) take() (all bool, dirty map[string]bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	all, dirty = c.all, c.dirty
	c.all, c.dirty = false, make(map[string]bool)
	return all, dirty
}

// read is the View of the newest state, made of what is known and what has changed.
func (c *Catalog) read(ctx context.Context, all bool, dirty map[string]bool) (*View, error) {
	state, _, err := c.reader.Read(ctx, raftnode.ReadOptions{Mode: raftnode.Any})
	if err != nil {
		return nil, err
	}
	defer state.Close()
	old := c.Now()
	if all {
		dirty = make(map[string]bool)
		for u, err := range state.Upstreams(0, "") {
			if err != nil {
				return nil, err
			}
			dirty[u.Alias] = true
		}
	}
	var list []*Slice
	if !all {
		for s := range old.Slices() {
			if !dirty[s.Alias] {
				list = append(list, s)
			}
		}
	}
	for alias := range dirty { // order: NewView makes one
		s, err := readSlice(state, alias, old.slices[alias])
		if err != nil {
			return nil, err
		}
		if s != nil {
			list = append(list, s)
		}
	}
	return NewView(list...), nil
}

// readSlice is the slice of an upstream that is registered and enabled, nil if there
// is none. Of old, which may be nil, it takes over what did not change.
func readSlice(state *fsm.View, alias string, old *Slice) (*Slice, error) {
	u, err := state.Upstream(0, alias)
	if fault.Of(err) == fault.NotFound || err == nil && u.Disabled {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r, err := state.Slice(0, record.SliceID{Alias: alias})
	switch {
	case fault.Of(err) == fault.NotFound:
		return nil, nil
	case err != nil:
		return nil, err
	case old != nil && old.Revision == r.Revision:
		return old, nil
	case old != nil && old.Generation == r.Generation:
		return newSlice(&r, old.items), nil
	}
	items, err := readItems(state, &r)
	if err != nil {
		return nil, err
	}
	return NewSlice(&r, items), nil
}

func readItems(state *fsm.View, r *record.Slice) ([]record.ListItem, error) {
	items := make([]record.ListItem, 0, r.Items.Total())
	pages := uint32(0)
	if r.Pages > 0 {
		for page, err := range state.SlicePages(0, r.ID, r.Generation) {
			if err != nil {
				return nil, err
			}
			items = append(items, page.Items...)
			pages++
		}
	}
	if pages != r.Pages {
		return nil, fault.New(fault.Integrity, "slice %s has %d of %d pages", r.ID, pages, r.Pages)
	}
	return items, nil
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
