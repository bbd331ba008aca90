package router

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/server/catalog"
	"github.com/mcpraft/mcpraft/server/mcp"
	"github.com/mcpraft/mcpraft/server/session"
	"github.com/mcpraft/mcpraft/server/upstream"
)

// listenAgain is how long an upstream that nothing can be heard of is left alone.
const listenAgain = 5 * time.Second

// A joinedStream is the GET stream of a session of the aggregate: it listens to
// every upstream where the session has something, and to the catalogue.
type joinedStream struct {
	r   *Router
	to  Listener
	box *mailbox

	live *session.Live   // as it was last read
	view *catalog.View   // up to which the client was told what was created and deleted
	ears map[string]*ear // by alias, the newest
	wg   sync.WaitGroup  // of ears, and of what empties the box
}

// An ear listens to one upstream. The next one begins when it has ended, so that
// what it takes back at the upstream is not what that one has asked for.
type ear struct {
	hears string             // what it was opened with; another binding needs another one
	close context.CancelFunc // has it end
	ended chan struct{}      // closed when it has
}

// joinedSource carries what belongs to no call to the client, until ctx ends. The
// session is looked at as often as a stream of one upstream does, because
// subscriptions are made on any node.
func (r *Router) joinedSource(ctx context.Context, l *session.Live, to Listener) error {
	s := &joinedStream{
		r: r, to: to, live: l, view: r.catalog.Now(), ears: make(map[string]*ear),
		box: newMailbox(filter{Tools: true, Prompts: true, Resources: true}),
	}
	ctx, stop := context.WithCancel(ctx)
	defer s.wg.Wait()
	defer stop()
	defer r.changes.join(s.box)()
	s.wg.Go(func() { s.box.deliver(ctx, s.tell) })
	tick := time.NewTicker(resubscribe)
	defer tick.Stop()
	for {
		s.attend(ctx)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-s.box.catalogue:
			s.refresh(ctx)
			s.compare()
		case <-tick.C:
			s.refresh(ctx)
		}
	}
}

// tell sends to the client. An error says that it is gone, or has a newer stream: so
// will ctx be.
func (s *joinedStream) tell(m *mcp.Message) { _ = s.to.Notify(m) }

// refresh reads the session again; if that cannot be, it stays what it was.
func (s *joinedStream) refresh(ctx context.Context) {
	if now := s.r.newest(ctx, s.live); now != nil {
		s.live = now
	}
}

// newest is a session as it is now, nil if that cannot be told.
func (r *Router) newest(ctx context.Context, l *session.Live) *session.Live {
	now, err := r.sessions.Get(ctx, l.ID, l.Record.Principal)
	if err != nil {
		return nil
	}
	return now
}

// compare puts what was created and deleted since the last look into the box. An
// upstream that refuses subscriptions to what is not there is told again of one
// whose resource has come.
func (s *joinedStream) compare() {
	now := s.r.catalog.Now()
	for _, i := range interests(s.live) {
		subscribed := catalog.WrapURI(i.alias, i.uri)
		i.happened(s.view, now, func(public string, e record.Events) {
			s.box.put(public, subscribed, e)
			if e == record.EventCreate && i.events&record.EventUpdate != 0 {
				s.reopen(i.alias)
			}
		})
	}
	s.view = now
}

// reopen has the ear at an upstream opened anew.
func (s *joinedStream) reopen(alias string) {
	if e := s.ears[alias]; e != nil {
		e.hears = ""
	}
}

// attend opens an ear at every upstream that has something to say to the session,
// and closes those that have not any more.
func (s *joinedStream) attend(ctx context.Context) {
	wanted := make(map[string]string)
	for i := range s.live.Record.Bindings {
		b := &s.live.Record.Bindings[i]
		if hears := s.hears(b); hears != "" {
			wanted[b.Alias] = hears
		}
	}
	for alias, e := range s.ears {
		if wanted[alias] == "" {
			e.close()
			delete(s.ears, alias)
		}
	}
	for alias, hears := range wanted {
		if e := s.ears[alias]; e == nil || e.hears != hears {
			s.open(ctx, alias, hears)
		}
	}
}

// hears is what an ear at an upstream depends on: its era, and the resources that
// it asks for; "" if there is nothing to hear. A modern upstream says nothing but
// what it was asked for.
func (s *joinedStream) hears(b *record.Binding) string {
	asked := s.asked(b)
	modern := s.r.isModern(b.Alias, s.live)
	if len(asked) == 0 && (modern || b.Protocol == "") {
		return ""
	}
	era := "legacy"
	if modern {
		era = "modern"
	}
	return strings.Join(append([]string{era}, asked...), "\n")
}

// asked are the resources whose updates an ear asks for: at a modern upstream all
// that are wanted, otherwise those that no request has told it of.
func (s *joinedStream) asked(b *record.Binding) []string {
	modern := s.r.isModern(b.Alias, s.live)
	var list []string
	for i, uri := range b.Subscriptions {
		wanted := b.Wanted(i)
		if wanted&record.EventUpdate != 0 && (modern || wanted&record.EventCreate != 0) {
			list = append(list, uri)
		}
	}
	return list
}

// open opens an ear at an upstream, in the place of the one that there may be.
func (s *joinedStream) open(ctx context.Context, alias, hears string) {
	before := s.ears[alias]
	ctx, cancel := context.WithCancel(ctx)
	e := &ear{hears: hears, close: cancel, ended: make(chan struct{})}
	s.ears[alias] = e
	l, uris := s.live, s.asked(s.live.Record.Binding(alias))
	s.wg.Go(func() {
		defer close(e.ended)
		if before != nil {
			before.close()
			<-before.ended
		}
		s.listen(ctx, l, alias, uris)
	})
}

// listen hears one upstream until ctx ends. When there is nothing to be heard of it,
// it tries again: an upstream that is gone may come back.
func (s *joinedStream) listen(ctx context.Context, l *session.Live, alias string, uris []string) {
	for {
		caller, path, err := s.r.sessionCaller(alias, l)
		if err == nil {
			err = s.r.upstreams.Listen(ctx, alias, caller, s.watch(ctx, l, alias, uris), func(m *mcp.Message) {
				s.hear(ctx, l, alias, path, m)
			})
		}
		if ctx.Err() != nil {
			return
		}
		s.r.log.Debug("an upstream cannot be listened to for a session", "upstream", alias, "error", err)
		if pause(ctx, listenAgain) != nil {
			return
		}
		s.missed(ctx, l, alias)
	}
}

func (s *joinedStream) watch(ctx context.Context, l *session.Live, alias string, uris []string) upstream.Watch {
	return upstream.Watch{
		URIs: uris,
		Ask: func(ctx context.Context, m *mcp.Message) (*mcp.Message, error) {
			return askLegacy(m, l, route{alias, true}, func(m *mcp.Message) (*mcp.Message, error) { return s.to.Ask(ctx, m) })
		},
		Missed: func() { s.missed(ctx, l, alias) },
	}
}

// missed says that everything which an upstream would have told of may have
// happened.
func (s *joinedStream) missed(ctx context.Context, l *session.Live, alias string) {
	for _, i := range s.r.interestsAt(ctx, l, alias) {
		public := catalog.WrapURI(alias, i.uri)
		s.box.put(public, public, record.EventUpdate)
	}
}

// interestsAt are the subscriptions of a session to updates of one upstream, as they
// are now.
func (r *Router) interestsAt(ctx context.Context, l *session.Live, alias string) []interest {
	if now := r.newest(ctx, l); now != nil {
		l = now
	}
	var list []interest
	for _, i := range interests(l) {
		if i.alias == alias && i.events&record.EventUpdate != 0 {
			list = append(list, i)
		}
	}
	return list
}

// hear takes what an upstream says. That its lists have changed the catalogue says,
// when it has them.
func (s *joinedStream) hear(ctx context.Context, l *session.Live, alias string, path eras, m *mcp.Message) {
	if changesList(m.Method()) {
		return
	}
	of := route{alias, true}
	if m.Method() == mcp.ResourceUpdated {
		uri, _ := mcp.Text(mcp.Field(m.Params(), "uri"))
		putUpdate(s.box, of, uri, s.r.interestsAt(ctx, l, alias))
		return
	}
	if m = carried(path, m); m != nil && loud(l, m) {
		s.tell(of.notification(m))
	}
}

// putUpdate puts the update of a resource, in the upstream's own name, into a box if
// it is of what somebody is interested in. Upstream sessions may be shared, so that
// updates for others arrive as well.
func putUpdate(box *mailbox, of route, uri string, wanted []interest) {
	for _, i := range wanted {
		if covers([]string{i.uri}, uri) {
			box.put(of.outward(uri), of.outward(i.uri), record.EventUpdate)
			return
		}
	}
}

func changesList(method string) bool {
	switch method {
	case mcp.ToolsListChanged, mcp.PromptsListChanged, mcp.ResourcesListChanged:
		return true
	default:
		return false
	}
}

// loud reports whether a log message is as severe as the session wants it; all else
// is. An upstream session that is shared is as talkative as the most curious wants.
func loud(l *session.Live, m *mcp.Message) bool {
	if m.Method() != mcp.LogMessage || l.Record.LogLevel == "" {
		return true
	}
	level, _ := mcp.Text(mcp.Field(m.Params(), "level"))
	return severity(level) >= severity(l.Record.LogLevel)
}
