package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/mcp"
)

const (
	maxListeners   = 1 << 14 // of one upstream, on one node
	firstBackoff   = time.Second
	longestBackoff = 30 * time.Second

	// settled is how long a stream must have stood for its end not to count as a
	// failure.
	settled = 10 * time.Second

	// noStreamPause is how long an upstream that offers no stream is left alone.
	noStreamPause = 5 * time.Minute
)

// errNoStream says that an upstream sends nothing outside calls.
var errNoStream = errors.New("the upstream offers no stream")

// A listener hears what one upstream sends outside calls, for one caller.
type listener struct {
	ups     *Upstreams
	alias   string
	caller  *Caller
	watch   Watch
	deliver func(*mcp.Message)

	last  string        // newest event id, of the legacy stream
	of    *state        // the session that last belongs to
	retry time.Duration // that the upstream asks for
	stood bool          // a stream has stood before
	begun bool          // watch.Begun was called
}

func (l *listener) run(ctx context.Context) error {
	backoff := firstBackoff
	for {
		up, err := l.ups.find(l.alias)
		if err != nil {
			return err
		}
		attending, leave := context.WithCancel(ctx)
		if err := up.admit(l, leave); err != nil {
			leave()
			return err
		}
		begun := time.Now()
		err = l.listen(attending, up)
		if errors.Is(err, errNoStream) {
			l.begin()
		}
		retired := attending.Err() != nil
		up.dismiss(l)
		leave()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if retired {
			continue // at what the record says now
		}
		if time.Since(begun) > settled {
			backoff = firstBackoff
		}
		pause := l.pause(err, backoff)
		up.log.Debug("listening again", "in", pause, "error", err)
		if err := sleep(ctx, pause); err != nil {
			return err
		}
		backoff = min(2*backoff, longestBackoff)
	}
}

// pause is how long to wait after err.
func (l *listener) pause(err error, backoff time.Duration) time.Duration {
	if errors.Is(err, errNoStream) {
		return noStreamPause
	}
	if errors.Is(err, io.EOF) && l.retry > 0 {
		return min(max(l.retry, minRetry), maxRetry)
	}
	return backoff/2 + rand.N(backoff/2)
}

// admit takes up a listener, whom leave sends away when up is retired.
func (up *upstream) admit(l *listener, leave context.CancelFunc) error {
	up.mu.Lock()
	defer up.mu.Unlock()
	if len(up.listeners) >= maxListeners {
		return fault.New(fault.Overloaded, "upstream %q: %d listeners are the limit of a node", up.rec.Alias, maxListeners).After(time.Minute)
	}
	if up.retired {
		leave()
	}
	up.listeners[l] = leave
	return nil
}

// dismiss is the reverse of admit.
func (up *upstream) dismiss(l *listener) {
	up.mu.Lock()
	defer up.mu.Unlock()
	delete(up.listeners, l)
}

// listen holds one stream until it ends.
func (l *listener) listen(ctx context.Context, up *upstream) error {
	if up.stdio() {
		return l.toChild(ctx, up)
	}
	return l.here(ctx, up)
}

// here holds one stream of an upstream that this node reaches itself.
func (l *listener) here(ctx context.Context, up *upstream) error {
	p, err := up.reach(ctx, l.caller, true)
	if err != nil {
		return err
	}
	defer p.leave(ctx)
	if p.session == nil {
		return l.modern(ctx, p)
	}
	if p.alone {
		return errNoStream // there is nothing between calls to hear of
	}
	undo := l.subscribe(ctx, p)
	defer undo()
	if p.state.channel != nil {
		return l.overChannel(ctx, p)
	}
	return l.legacy(ctx, p)
}

// standing is called when a stream stands that may have missed something.
func (l *listener) standing(gap bool) {
	if l.stood && gap && l.watch.Missed != nil {
		l.watch.Missed()
	}
	l.stood = true
	l.begin()
}

func (l *listener) begin() {
	if !l.begun && l.watch.Begun != nil {
		l.watch.Begun()
	}
	l.begun = true
}

// legacy holds the GET stream of a session.
func (l *listener) legacy(ctx context.Context, p *path) error {
	headers, err := p.up.headers(ctx, p.state)
	if err != nil {
		return err
	}
	header := headers.get
	resumed := l.last != "" && l.of == p.state
	if resumed {
		header = maps.Clone(header)
		header[mcp.HeaderLastEventID] = []string{l.last}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	res, err := p.up.send(ctx, &request{method: http.MethodGet, url: p.up.url, header: header})
	if err != nil {
		return err
	}
	b, err := openStream(ctx, p.up.ups.o.Budget, res)
	if err != nil {
		return l.refused(p, err)
	}
	defer b.close()
	l.standing(!resumed)
	l.of = p.state
	return l.hear(ctx, p, b)
}

// refused reads why there is no stream.
func (l *listener) refused(p *path, err error) error {
	r, ok := errors.AsType[*refusal](err)
	switch {
	case !ok || r.inconclusive():
		return err
	case l.last != "":
		l.last = "" // perhaps it is only the event that is not known any more
		return err
	case r.lostSession(p.state.id != ""):
		p.session.lose(p.state)
		return err
	default:
		return fmt.Errorf("%w: %v", errNoStream, err) //nolint:errorlint // 405, and whatever else servers say instead
	}
}

// hear reads a stream that stands.
func (l *listener) hear(ctx context.Context, p *path, b *body) error {
	asks := newAsks(p.up, l.watch.Ask, func(ctx context.Context, m *mcp.Message) error { return p.up.notifyIn(ctx, p.state, m) }, nil)
	defer asks.end()
	events, metered := b.events(ctx)
	for {
		e, err := events.Next()
		if err != nil {
			return err
		}
		if e.Retry > 0 {
			l.retry = e.Retry
		}
		if len(e.Data) > 0 && (e.Name == "" || e.Name == "message") {
			list, err := parse(e.Data)
			if err != nil {
				p.up.log.Warn("upstream sends what is no message", "error", clean(err.Error()))
			}
			for _, m := range list {
				l.take(ctx, p, asks, m)
			}
		}
		if e.HasID && len(e.ID) <= maxEventID {
			l.last = e.ID
		}
		metered.settle()
	}
}

// take hands one message on.
func (l *listener) take(ctx context.Context, p *path, asks *asks, m *mcp.Message) {
	switch m.Kind() {
	case mcp.KindRequest:
		asks.take(ctx, m)
	case mcp.KindNotification:
		switch m.Method() {
		case mcp.Cancelled:
			if id, ok := mcp.ParseID(mcp.Field(m.Params(), "requestId")); ok {
				asks.cancel(id)
			}
			return
		case mcp.Progress:
			return // its call is on another stream, or over
		case mcp.ToolsListChanged:
			p.up.tools.changed()
		}
		l.deliver(m)
	}
}

// overChannel hears what comes on the stream of an HTTP+SSE session.
func (l *listener) overChannel(ctx context.Context, p *path) error {
	l.standing(true)
	asks := newAsks(p.up, l.watch.Ask, func(ctx context.Context, m *mcp.Message) error { return p.up.notifyIn(ctx, p.state, m) }, nil)
	defer asks.end()
	return p.state.channel.listen(ctx, func(ctx context.Context, m *mcp.Message) { l.take(ctx, p, asks, m) })
}

// subscribe makes a legacy upstream send updates of the watched resources, and
// gives what ends that. Listeners of one session share its subscriptions.
func (l *listener) subscribe(ctx context.Context, p *path) (undo func()) {
	var mine []string
	for _, uri := range l.watch.URIs {
		if p.session.watch(uri) {
			p.tell(ctx, l.caller, mcp.ResourcesSub, "uri", uri)
		}
		mine = append(mine, uri)
	}
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), byeTimeout)
		defer cancel()
		for _, uri := range mine {
			if p.session.unwatch(uri) {
				p.tell(ctx, l.caller, mcp.ResourcesUnsub, "uri", uri)
			}
		}
	}
}

// watch counts a listener of uri, and reports whether the upstream has to be
// told.
func (s *session) watch(uri string) (tell bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watched[uri]++
	return s.watched[uri] == 1 && !s.asked[uri]
}

// unwatch is the reverse of watch.
func (s *session) unwatch(uri string) (tell bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watched[uri]--; s.watched[uri] > 0 {
		return false
	}
	delete(s.watched, uri)
	return !s.asked[uri] && s.state != nil
}

// modern holds a subscriptions/listen.
func (l *listener) modern(ctx context.Context, p *path) error {
	c, err := p.newCall(ctx, l.caller, mcp.Request(mcp.NumberID(0), mcp.SubscriptionsListen, l.filter()), nil)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	res, err := p.up.send(ctx, &request{method: http.MethodPost, url: c.to, header: c.header, body: c.body})
	if err != nil {
		return err
	}
	b, err := openBody(ctx, p.up.ups.o.Budget, res)
	if err != nil {
		return err
	}
	defer b.close()
	if res.status >= 300 {
		r := readRefusal(ctx, b)
		if p.era.doubts(r) {
			if p.up.changed(ctx, p.era) {
				return r
			}
			return fmt.Errorf("%w: %v", errNoStream, r) //nolint:errorlint // likewise
		}
		return r
	}
	if b.form != formStream {
		answer, err := c.whole(ctx, b)
		if err == nil && answer.Kind() == mcp.KindFailure {
			return fmt.Errorf("%w: %s", errNoStream, clean(answer.Err().Message))
		}
		return err
	}
	return l.subscribed(ctx, p, c, b)
}

// filter is the params of subscriptions/listen.
func (l *listener) filter() []byte {
	params := []byte(`{"notifications":{}}`)
	set := func(wanted bool, name string) {
		if wanted {
			params = mcp.WithField(params, []byte("true"), "notifications", name)
		}
	}
	set(l.watch.Tools, "toolsListChanged")
	set(l.watch.Prompts, "promptsListChanged")
	set(l.watch.Resources, "resourcesListChanged")
	if len(l.watch.URIs) > 0 {
		if list, err := mcp.Marshal(l.watch.URIs); err == nil {
			params = mcp.WithField(params, list, "notifications", "resourceSubscriptions")
		}
	}
	return params
}

// subscribed reads the stream of a subscriptions/listen until it ends, which the
// upstream may do at any time by a result.
func (l *listener) subscribed(ctx context.Context, p *path, c *call, b *body) error {
	events, metered := b.events(ctx)
	for {
		e, err := events.Next()
		if err != nil {
			return err
		}
		list, err := parse(e.Data)
		if len(e.Data) > 0 && err != nil {
			p.up.log.Warn("upstream sends what is no message", "error", clean(err.Error()))
		}
		for _, m := range list {
			switch {
			case m.Kind() == mcp.KindResult:
				return io.EOF
			case m.Kind() == mcp.KindFailure:
				return fmt.Errorf("listening: %s", clean(m.Err().Message))
			case m.Method() == mcp.Acknowledged:
				l.standing(true)
			case m.Kind() == mcp.KindNotification:
				if m.Method() == mcp.ToolsListChanged {
					p.up.tools.changed()
				}
				l.deliver(m.WithParams(mcp.WithoutProtocolMeta(orEmpty(m.Params()))))
			}
		}
		metered.settle()
	}
}

func orEmpty(params []byte) []byte {
	if params == nil {
		return []byte("{}")
	}
	return params
}
