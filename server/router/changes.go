package router

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/server/catalog"
	"github.com/mcpraft/mcpraft/server/mcp"
)

// changes tells the streams of this node that the catalogue has changed. It keeps
// nothing: who opens a stream is told that it may have missed something.
type changes struct {
	mu    sync.Mutex
	boxes map[*mailbox]struct{}
}

// announce takes what has changed. The catalogue calls it after each change, also
// after one that an upstream speaks of and nobody can see.
func (c *changes) announce(d catalog.Difference) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for b := range c.boxes {
		b.changed(d)
	}
}

// join adds a mailbox until leave is called.
func (c *changes) join(b *mailbox) (leave func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.boxes == nil {
		c.boxes = make(map[*mailbox]struct{})
	}
	c.boxes[b] = struct{}{}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.boxes, b)
	}
}

const (
	// pace is how far apart a client hears of the same thing at least: the first
	// time at once, then what has come together meanwhile.
	pace = 250 * time.Millisecond

	// maxMail is how many resources a mailbox holds. Beyond it those that are a
	// part of what was subscribed to are told of as that.
	maxMail = 1024
)

// A mailbox holds what a stream has yet to tell its client: each thing once,
// however often it happened. Its size depends on what was subscribed to and on
// nothing that an upstream does.
type mailbox struct {
	wants filter // lists whose changes are told

	mu        sync.Mutex
	lists     map[string]bool          // methods
	resources map[string]record.Events // by the client's names: the newest event of each

	ready     chan struct{} // capacity 1: there is something to tell
	catalogue chan struct{} // capacity 1: the catalogue has changed
}

func newMailbox(wants filter) *mailbox {
	return &mailbox{
		wants: wants, lists: make(map[string]bool), resources: make(map[string]record.Events),
		ready: make(chan struct{}, 1), catalogue: make(chan struct{}, 1),
	}
}

// changed takes a change of the catalogue.
func (b *mailbox) changed(d catalog.Difference) {
	b.mu.Lock()
	for _, k := range catalog.Kinds() {
		if method := changeOf(k); d.Touches(k) && b.wants.takes(mcp.Notification(method, nil)) {
			b.lists[method] = true
		}
	}
	told := len(b.lists) > 0
	b.mu.Unlock()
	signal(b.catalogue)
	if told {
		signal(b.ready)
	}
}

// changeOf is the notification of a change of a list.
func changeOf(k catalog.Kind) string {
	switch k {
	case catalog.Tool:
		return mcp.ToolsListChanged
	case catalog.Prompt:
		return mcp.PromptsListChanged
	default:
		return mcp.ResourcesListChanged
	}
}

// put adds an event of a resource. Subscribed is the resource that it is a part of,
// or itself. That something was created or deleted outlasts that it was updated.
func (b *mailbox) put(public, subscribed string, e record.Events) {
	b.mu.Lock()
	old, ok := b.resources[public]
	if !ok && len(b.resources) >= maxMail {
		public = subscribed
		old, ok = b.resources[public]
	}
	if !ok || old == record.EventUpdate || e != record.EventUpdate {
		b.resources[public] = e
	}
	b.mu.Unlock()
	signal(b.ready)
}

// take empties the box: lists first, each sort in order.
func (b *mailbox) take() []*mcp.Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []*mcp.Message
	for _, method := range slices.Sorted(maps.Keys(b.lists)) {
		out = append(out, mcp.Notification(method, nil))
	}
	for _, uri := range slices.Sorted(maps.Keys(b.resources)) {
		out = append(out, happened(uri, b.resources[uri]))
	}
	clear(b.lists)
	clear(b.resources)
	return out
}

// happened tells of an event of a resource.
func happened(public string, e record.Events) *mcp.Message {
	m := updated(public)
	return m.WithParams(mcp.WithField(m.Params(), mcp.Quote(eventName(e)), "_meta", metaEvent))
}

// deliver sends what is in the box until ctx ends.
func (b *mailbox) deliver(ctx context.Context, send func(*mcp.Message)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.ready:
		}
		for _, m := range b.take() {
			send(m)
		}
		if pause(ctx, pace) != nil {
			return
		}
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
