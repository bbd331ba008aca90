package router

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/catalog"
	"github.com/mcpraft/mcpraft/server/exchange"
	"github.com/mcpraft/mcpraft/server/mcp"
	"github.com/mcpraft/mcpraft/server/upstream"
)

// A joinedSubscription is one subscriptions/listen of the aggregate at work.
type joinedSubscription struct {
	*subscription
	r       *Router
	caller  upstream.Caller
	box     *mailbox
	wanted  []interest          // what is granted
	updates map[string][]string // by alias: the resources whose updates are
}

// joinedListen serves subscriptions/listen at the aggregate. Lists come from the
// catalogue, and with events in _meta also what is created and deleted; updates come
// from each upstream that offers them. It is acknowledged when all of those listen,
// or beginWait has passed.
func (r *Router) joinedListen(ctx context.Context, q *exchange.Request, m *mcp.Message, c *claim, caller upstream.Caller, s exchange.Stream) (exchange.Answer, error) {
	if q.JSONOnly {
		return refuse(q, m, invalidRequest("%s is answered by an event stream: Accept must list text/event-stream", m.Method())), nil
	}
	asked, e := filterOf(c, mcp.ParseClientCapabilities(caller.Capabilities))
	if e != nil {
		return refuse(q, m, e), nil
	}
	events, said, e := eventsOf(c.params)
	if e != nil {
		return refuse(q, m, e), nil
	}
	if !said {
		events = record.EventUpdate
	}
	j := r.newJoinedSubscription(asked, events, caller)
	j.subscription = &subscription{id: []byte(m.ID()), filter: j.box.wants, stream: s}
	if !r.watching.take(q.Caller.Principal, len(j.wanted)) {
		many := fault.New(fault.Quota, "this caller listens to %d resources on this node at most", maxWatched)
		return refuse(q, m, mcp.FromFault(many, q.ID)), nil
	}
	defer r.watching.give(q.Caller.Principal, len(j.wanted))
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(r.draining, func() { cancel(errDraining) })()
	j.run(ctx)
	return exchange.Answer{Message: j.end(m)}, nil
}

// newJoinedSubscription grants what can be honoured: every list, and of the
// resources those that an upstream has, with the events that it can be told by.
func (r *Router) newJoinedSubscription(asked filter, events record.Events, caller upstream.Caller) *joinedSubscription {
	j := &joinedSubscription{r: r, caller: caller, updates: make(map[string][]string)}
	v := r.catalog.Now()
	granted := asked
	granted.URIs = nil
	for _, public := range asked.URIs {
		at, ok := locate(v, public)
		if !ok {
			continue
		}
		i := interest{at, events}
		if !r.tellsUpdates(at.alias) {
			i.events &^= record.EventUpdate
		}
		if i.events == 0 {
			continue
		}
		granted.URIs = append(granted.URIs, public)
		j.wanted = append(j.wanted, i)
		if i.events&record.EventUpdate != 0 {
			j.updates[at.alias] = append(j.updates[at.alias], at.uri)
		}
	}
	j.box = newMailbox(granted)
	return j
}

// run tells the client what happens until ctx ends.
func (j *joinedSubscription) run(ctx context.Context) {
	ctx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	view := j.r.catalog.Now()
	defer j.r.changes.join(j.box)()
	var begun sync.WaitGroup
	begun.Add(len(j.updates))
	for _, alias := range slices.Sorted(maps.Keys(j.updates)) {
		wg.Go(func() { j.listen(ctx, alias, sync.OnceFunc(begun.Done)) })
	}
	standing := make(chan struct{})
	wg.Go(func() {
		defer close(standing)
		begun.Wait()
	})
	select {
	case <-standing:
	case <-ctx.Done():
	case <-time.After(beginWait):
	}
	j.acknowledge()
	wg.Go(func() { j.box.deliver(ctx, j.tell) })
	for {
		select {
		case <-ctx.Done():
			return
		case <-j.box.catalogue:
		}
		now := j.r.catalog.Now()
		for _, i := range j.wanted {
			i.happened(view, now, func(public string, e record.Events) {
				j.box.put(public, catalog.WrapURI(i.alias, i.uri), e)
			})
		}
		view = now
	}
}

// listen hears one upstream until ctx ends; begun is called when it stands, or when
// it does not.
func (j *joinedSubscription) listen(ctx context.Context, alias string, begun func()) {
	defer begun()
	caller := j.caller
	caller.Capabilities = declared(caller.Capabilities, eras{client: mcp.V20260728, upstream: j.r.listedVersion(alias)})
	watch := upstream.Watch{URIs: j.updates[alias], Missed: func() { j.missed(alias) }, Begun: begun}
	for {
		err := j.r.upstreams.Listen(ctx, alias, caller, watch, func(m *mcp.Message) {
			if m.Method() == mcp.ResourceUpdated {
				uri, _ := mcp.Text(mcp.Field(m.Params(), "uri"))
				putUpdate(j.box, route{alias, true}, uri, j.at(alias))
			}
		})
		begun()
		if ctx.Err() != nil {
			return
		}
		j.r.log.Debug("an upstream cannot be listened to", "upstream", alias, "error", err)
		if pause(ctx, listenAgain) != nil {
			return
		}
		j.missed(alias)
	}
}

// missed says that everything which an upstream would have told of may have
// happened.
func (j *joinedSubscription) missed(alias string) {
	for _, i := range j.at(alias) {
		public := catalog.WrapURI(alias, i.uri)
		j.box.put(public, public, record.EventUpdate)
	}
}

// at are the updates of one upstream that are granted.
func (j *joinedSubscription) at(alias string) []interest {
	return slices.DeleteFunc(slices.Clone(j.wanted), func(i interest) bool {
		return i.alias != alias || i.events&record.EventUpdate == 0
	})
}

// maxWatched is how many resources one principal may listen to on a node by
// subscriptions/listen.
const maxWatched = 4096

// shares counts what each principal has of something.
type shares struct {
	mu   sync.Mutex
	held map[record.Principal]int // without those who have nothing
}

// take reports whether p may have n more, and notes it.
func (s *shares) take(p record.Principal, n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[p]+n > maxWatched {
		return false
	}
	if s.held == nil {
		s.held = make(map[record.Principal]int)
	}
	s.held[p] += n
	return true
}

// give takes n back.
func (s *shares) give(p record.Principal, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[p] -= n; s.held[p] <= 0 {
		delete(s.held, p)
	}
}
