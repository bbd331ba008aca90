package demo

import (
	"sync"

	"github.com/mcpraft/mcpraft/server/mcp"
)

// A change is something that clients may want to be told.
type change struct {
	method string // of its notification
	uri    string // of the resource, if it is about one
}

func updated(uri string) change { return change{method: mcp.ResourceUpdated, uri: uri} }

// message is the notification; on a subscriptions/listen it says which one.
func (c change) message(subscription mcp.ID) *mcp.Message {
	params := []byte("{}")
	if subscription != "" {
		params = mcp.WithField(params, []byte(subscription), "_meta", mcp.MetaSubscriptionID)
	}
	if c.uri != "" {
		params = mcp.WithField(params, mcp.Quote(c.uri), "uri")
	}
	return mcp.Notification(c.method, params)
}

// topics is where changes meet who wants them. The zero value is ready.
type topics struct {
	mu        sync.Mutex
	listeners map[listener]struct{}
}

// A listener is a session, or one subscriptions/listen.
type listener interface {
	changed(c change) // must not block
}

func (t *topics) join(l listener) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.listeners == nil {
		t.listeners = make(map[listener]struct{})
	}
	t.listeners[l] = struct{}{}
}

func (t *topics) leave(l listener) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.listeners, l)
}

func (t *topics) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.listeners)
}

func (t *topics) publish(c change) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for l := range t.listeners {
		l.changed(c)
	}
}
