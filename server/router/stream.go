package router

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/exchange"
	"github.com/mcpraft/mcpraft/server/mcp"
	"github.com/mcpraft/mcpraft/server/session"
	"github.com/mcpraft/mcpraft/server/upstream"
)

// Listen serves a GET: the stream of a session for what belongs to no call, or the
// rest of a call's stream.
func (r *Router) Listen(ctx context.Context, q *exchange.Request, s exchange.Stream) error {
	if !q.HasSession {
		return errNoSuchStream()
	}
	l, err := r.live(ctx, q)
	if err != nil {
		return err
	}
	o := ListenOptions{
		LastEventID: q.LastEventID,
		Source:      func(ctx context.Context, to Listener) error { return r.source(ctx, q, l, to) },
		Missed:      func() []*mcp.Message { return missed(watched(l, q.Alias)) },
		Resume:      func(c Call, u session.Upstream) (*mcp.Message, error) { return r.resume(q, l, c, u) },
		Progress:    func(m *mcp.Message) { r.notify(ctx, q, q.Alias, m, l) },
	}
	if q.Alias == "" {
		o.Source = func(ctx context.Context, to Listener) error { return r.joinedSource(ctx, l, to) }
		o.Missed = func() []*mcp.Message { return missed(updatedPublicly(l)) }
		o.Progress = nil // whose request it is about is not known here
	}
	return r.sessions.Listen(ctx, l, s, o)
}

// source carries what the upstream says outside calls to the client, until ctx
// ends. Subscriptions change while it runs; a modern upstream is then asked anew,
// because it sends only what it was asked for.
func (r *Router) source(ctx context.Context, q *exchange.Request, l *session.Live, to Listener) error {
	for {
		caller, path, err := r.sessionCaller(q.Alias, l)
		if err != nil {
			return err
		}
		turn, end := context.WithCancel(ctx)
		var wg sync.WaitGroup
		next := l
		if path.upstream.Modern() {
			wg.Go(func() {
				defer end()
				next = r.subscribedAnew(turn, q, l)
			})
		}
		err = r.upstreams.Listen(turn, q.Alias, caller, r.watch(turn, q, l, path, to), func(m *mcp.Message) {
			if m = r.unasked(ctx, q, l, path, m); m != nil {
				_ = to.Notify(m) // the client is gone, or has a newer stream: so will ctx be
			}
		})
		changed := turn.Err() != nil && ctx.Err() == nil
		end()
		wg.Wait()
		if !changed {
			return err
		}
		l = next
	}
}

// watch is what the session wants to hear of.
func (r *Router) watch(ctx context.Context, q *exchange.Request, l *session.Live, path eras, to Listener) upstream.Watch {
	w := upstream.Watch{
		Tools: true, Prompts: true, Resources: true,
		Ask: func(ctx context.Context, m *mcp.Message) (*mcp.Message, error) {
			return askLegacy(m, l, route{alias: q.Alias}, func(m *mcp.Message) (*mcp.Message, error) { return to.Ask(ctx, m) })
		},
		Missed: func() {
			for _, m := range missed(r.subscriptions(ctx, q, l)) {
				if to.Notify(m) != nil {
					return
				}
			}
		},
	}
	if path.upstream.Modern() {
		w.URIs = watched(l, q.Alias)
	}
	return w
}

// unasked is a message of the upstream that belongs to no call, as the client may
// have it; nil if it may not. An upstream session may be shared, so that updates
// of resources which others subscribed to arrive here as well.
func (r *Router) unasked(ctx context.Context, q *exchange.Request, l *session.Live, path eras, m *mcp.Message) *mcp.Message {
	if m.Method() == mcp.ResourceUpdated {
		uri, _ := mcp.Text(mcp.Field(m.Params(), "uri"))
		if !covers(r.subscriptions(ctx, q, l), uri) {
			return nil
		}
	}
	return carried(path, m)
}

// carried is a message of the upstream that belongs to no call in words of the
// legacy era; nil if it has none.
func carried(path eras, m *mcp.Message) *mcp.Message {
	if m.Method() == mcp.TaskStatus || mcp.ModernOnly(m.Method()) {
		return nil
	}
	if path.crossed() && m.Params() != nil {
		return m.WithParams(mcp.WithoutProtocolMeta(m.Params()))
	}
	return m
}

// covers reports whether uri is one of the resources, or one below them: servers
// may tell of a part of what was subscribed to.
func covers(resources []string, uri string) bool {
	return slices.ContainsFunc(resources, func(r string) bool { return strings.HasPrefix(uri, r) })
}

// subscriptions are those of the session now, on whatever node they were made; as
// this stream last knew them if that cannot be told.
func (r *Router) subscriptions(ctx context.Context, q *exchange.Request, l *session.Live) []string {
	if now, err := r.sessions.Get(ctx, l.ID, l.Record.Principal); err == nil {
		l = now
	}
	return watched(l, q.Alias)
}

// watched are the resources that a session, as it was read, has subscribed to at
// one upstream.
func watched(l *session.Live, alias string) []string {
	if b := l.Record.Binding(alias); b != nil {
		return b.Subscriptions
	}
	return nil
}

// resubscribe is how soon a modern upstream hears of a subscription of a session.
const resubscribe = 500 * time.Millisecond

// subscribedAnew waits until the session's subscriptions are other than those of
// l, and gives the session as it is then; l itself when ctx ends.
func (r *Router) subscribedAnew(ctx context.Context, q *exchange.Request, l *session.Live) *session.Live {
	tick := time.NewTicker(resubscribe)
	defer tick.Stop()
	before := watched(l, q.Alias)
	for {
		select {
		case <-ctx.Done():
			return l
		case <-tick.C:
		}
		now, err := r.sessions.Get(ctx, l.ID, l.Record.Principal)
		if err == nil && !slices.Equal(watched(now, q.Alias), before) {
			return now
		}
		if fault.Of(err) == fault.NotFound {
			return l // the session has ended, and the stream with it
		}
	}
}

// missed has a client look again at everything that may have changed.
func missed(resources []string) []*mcp.Message {
	list := []*mcp.Message{
		mcp.Notification(mcp.ToolsListChanged, nil),
		mcp.Notification(mcp.ResourcesListChanged, nil),
		mcp.Notification(mcp.PromptsListChanged, nil),
	}
	for _, uri := range resources {
		list = append(list, updated(uri))
	}
	return list
}

func updated(uri string) *mcp.Message {
	return mcp.Notification(mcp.ResourceUpdated, mcp.WithField(nil, mcp.Quote(uri), "uri"))
}
