package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/sse"
	"github.com/mcpraft/mcpraft/server/mcp"
)

const (
	maxEndpoint = 4 << 10 // bytes of the URI in an endpoint event
	inboxSize   = 64      // messages that wait for one call or listener
)

// errChannelBroken says that the stream of an HTTP+SSE session has ended, and the
// session with it.
var errChannelBroken = errors.New("the stream of the session has ended")

// A channel is the one stream that everything from an upstream comes on: that of a
// session of HTTP+SSE (2024-11-05), where requests are posted to an endpoint that
// the stream named, or the output of a child process. One goroutine reads it and
// hands on what it reads; nobody who is slow stops it.
type channel struct {
	up       *upstream
	endpoint *url.URL      // of requests; of a child process a name for its carrier
	shared   bool          // by callers who must not hear each other: what belongs to no call is nobody's
	asks     *asks         // of a child process: refuses requests that are nobody's; nil: they are dropped
	done     chan struct{} // closed when the stream has ended
	stop     context.CancelFunc

	mu        sync.Mutex // nothing blocks under it
	calls     map[mcp.ID]*inbox
	order     []*inbox // of calls, the oldest first
	listeners []*inbox // the newest last
}

// An inbox is what waits for one call or listener.
type inbox struct {
	messages chan *mcp.Message // others than the answer; what does not fit is dropped
	answer   chan *mcp.Message // holds one
}

func newInbox() *inbox {
	return &inbox{messages: make(chan *mcp.Message, inboxSize), answer: make(chan *mcp.Message, 1)}
}

// openChannel opens the stream and waits for its endpoint.
func (up *upstream) openChannel(ctx context.Context) (*channel, error) {
	headers, err := up.headers(ctx, nil)
	if err != nil {
		return nil, err
	}
	// The stream outlives the call that opens it; until it stands it does not.
	living, stop := context.WithCancel(context.WithoutCancel(ctx))
	unhook := context.AfterFunc(ctx, stop)
	ch, b, events, err := up.connectChannel(living, headers.get)
	if !unhook() && err == nil {
		b.close()
		err = context.Cause(ctx)
	}
	if err != nil {
		stop()
		return nil, err
	}
	ch.stop = stop
	if !up.ups.own(func() { ch.run(b, events) }) {
		stop()
		b.close()
		return nil, fault.New(fault.Unavailable, "this node is stopping")
	}
	return ch, nil
}

// own runs a reader that Run waits for; false if nothing may be begun any more.
func (u *Upstreams) own(reader func()) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return false
	}
	u.readers.Go(reader)
	return true
}

func (up *upstream) connectChannel(ctx context.Context, header http.Header) (*channel, *body, *channelEvents, error) {
	waiting, cancel := context.WithTimeoutCause(ctx, handshakeLimit, errTimeout)
	defer cancel()
	opened, stop := context.WithCancelCause(ctx)
	unhook := context.AfterFunc(waiting, func() { stop(context.Cause(waiting)) })
	defer unhook()
	res, err := up.send(opened, &request{method: http.MethodGet, url: up.url, header: header})
	if err != nil {
		return nil, nil, nil, err
	}
	b, err := openStream(opened, up.ups.o.Budget, res)
	if err != nil {
		return nil, nil, nil, err
	}
	events, metered := b.events(ctx)
	for {
		e, err := events.Next()
		if err != nil {
			b.close()
			return nil, nil, nil, err
		}
		if e.Name != "endpoint" {
			continue
		}
		endpoint, err := up.endpoint(string(e.Data))
		if err != nil {
			b.close()
			return nil, nil, nil, err
		}
		return newChannel(up, endpoint), b, &channelEvents{events, metered}, nil
	}
}

func newChannel(up *upstream, endpoint *url.URL) *channel {
	return &channel{up: up, endpoint: endpoint, done: make(chan struct{}), calls: make(map[mcp.ID]*inbox)}
}

type channelEvents struct {
	*sse.Reader
	metered *meteredReader
}

// endpoint is where the messages of a session are to be posted. It must be of the
// same origin as the stream: whoever can write into a stream must not direct our
// credentials elsewhere.
func (up *upstream) endpoint(uri string) (*url.URL, error) {
	if len(uri) > maxEndpoint {
		return nil, fault.New(fault.Unreachable, "upstream %q names an endpoint of more than %d bytes", up.rec.Alias, maxEndpoint)
	}
	to, err := up.url.Parse(uri)
	if err != nil || to.User != nil || to.Host == "" {
		return nil, fault.New(fault.Unreachable, "upstream %q names an endpoint that is no URL", up.rec.Alias)
	}
	if !sameOrigin(up.url, to) {
		return nil, fault.New(fault.Unreachable, "upstream %q names an endpoint on another server", up.rec.Alias).
			WithHint("the endpoint must have the scheme, host and port of the registered URL")
	}
	return to, nil
}

func (ch *channel) broken() bool {
	select {
	case <-ch.done:
		return true
	default:
		return false
	}
}

// close ends the stream; its reader ends soon after.
func (ch *channel) close() { ch.stop() }

// run reads the stream to its end.
func (ch *channel) run(b *body, events *channelEvents) {
	defer close(ch.done)
	defer ch.stop()
	defer b.close()
	for {
		e, err := events.Next()
		if err != nil {
			ch.up.log.Debug("stream of an HTTP+SSE session ended", "error", err)
			return
		}
		if len(e.Data) > 0 && (e.Name == "" || e.Name == "message") {
			if err := ch.take(e.Data); err != nil {
				ch.up.log.Warn("upstream sends what is no message", "error", clean(err.Error()))
			}
		}
		events.metered.settle()
	}
}

// take hands on what one event or line holds.
func (ch *channel) take(data []byte) error {
	list, err := parse(data)
	for _, m := range list {
		if !ch.dispatch(m) && ch.asks != nil {
			ch.asks.take(context.Background(), m)
		}
	}
	return err
}

// dispatch hands one message to whom it concerns. The stream does not say which
// call a request or a log message belongs to: the oldest one gets it, and
// without a call the newest listener. It reports false for a request that is
// nobody's.
func (ch *channel) dispatch(m *mcp.Message) (taken bool) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	switch {
	case m.Kind() == mcp.KindResult || m.Kind() == mcp.KindFailure:
		ch.answered(m)
	case m.Method() == mcp.Progress:
		if in := ch.calls[progressOf(m)]; in != nil {
			ch.put(in, m)
		}
	case ch.shared && listensTo(m):
		for _, in := range ch.listeners {
			ch.put(in, m)
		}
	case ch.shared:
		return m.Kind() != mcp.KindRequest
	case listensTo(m) && len(ch.listeners) > 0:
		ch.put(ch.listeners[len(ch.listeners)-1], m)
	case len(ch.order) > 0:
		ch.put(ch.order[0], m)
	case len(ch.listeners) > 0:
		ch.put(ch.listeners[len(ch.listeners)-1], m)
	default:
		return m.Kind() != mcp.KindRequest
	}
	return true
}

// listensTo reports whether m is about the upstream and not about a call.
func listensTo(m *mcp.Message) bool {
	switch m.Method() {
	case mcp.ToolsListChanged, mcp.PromptsListChanged, mcp.ResourcesListChanged, mcp.ResourceUpdated:
		return true
	}
	return false
}

// numberOf is an id, or a progress token, as we sent it: a number that may have
// become a string.
func numberOf(id mcp.ID) mcp.ID {
	if text, ok := id.Text(); ok {
		return mcp.ID(text)
	}
	return id
}

func progressOf(m *mcp.Message) mcp.ID {
	id, _ := mcp.ParseID(mcp.Field(m.Params(), mcp.MetaProgressToken))
	return numberOf(id)
}

// answered is called with ch.mu held.
func (ch *channel) answered(m *mcp.Message) {
	in := ch.calls[numberOf(m.ID())]
	if in == nil && m.ID() == "" && len(ch.order) == 1 {
		in = ch.order[0]
	}
	if in == nil {
		ch.up.log.Warn("upstream answers what was not asked", "id", clean(string(m.ID())))
		return
	}
	select {
	case in.answer <- m:
	default: // a second answer
	}
}

func (ch *channel) put(in *inbox, m *mcp.Message) {
	select {
	case in.messages <- m:
	default:
		ch.up.log.Warn("message of an upstream dropped: its reader is slow", "method", clean(m.Method()))
	}
}

// call posts the request of c and waits for its answer on the stream.
func (ch *channel) call(ctx context.Context, c *call) (*mcp.Message, error) {
	in := newInbox()
	ch.mu.Lock()
	ch.calls[c.id] = in
	ch.order = append(ch.order, in)
	ch.mu.Unlock()
	defer ch.forget(c.id, in)
	answer, err := ch.submit(ctx, c)
	if answer != nil || err != nil {
		return answer, err
	}
	for {
		select {
		case m := <-in.messages:
			ch.hand(ctx, c, m)
		case m := <-in.answer:
			for len(in.messages) > 0 { // they came before it
				ch.hand(ctx, c, <-in.messages)
			}
			return m, nil
		case <-ch.done:
			return nil, fmt.Errorf("%w: %w", errChannelBroken, io.ErrUnexpectedEOF)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (ch *channel) hand(ctx context.Context, c *call, m *mcp.Message) {
	if m.Kind() == mcp.KindRequest {
		c.asked(ctx, m)
	} else {
		c.notified(m)
	}
}

func (ch *channel) forget(id mcp.ID, in *inbox) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	delete(ch.calls, id)
	for i, other := range ch.order {
		if other == in {
			ch.order = append(ch.order[:i], ch.order[i+1:]...)
			return
		}
	}
}

// submit posts the request. Some servers of HTTP+SSE answer there and then.
func (ch *channel) submit(ctx context.Context, c *call) (*mcp.Message, error) {
	res, err := ch.up.send(ctx, &request{method: http.MethodPost, url: ch.endpoint, header: c.header, body: c.body})
	if err != nil {
		return nil, err
	}
	if res.status < 300 && res.length <= 0 && !isMedia(res.header.Get("Content-Type"), "application/json") {
		res.body.Close() // nothing to read that is worth waiting for
		return nil, nil
	}
	b, err := openBody(ctx, ch.up.ups.o.Budget, res)
	if err != nil {
		return nil, err
	}
	defer b.close()
	if res.status >= 300 {
		return nil, readRefusal(ctx, b)
	}
	if b.form != formJSON {
		_, err := b.all(ctx, maxRefusal)
		return nil, err
	}
	return c.whole(ctx, b)
}

// listen hands the listener what comes outside calls, until ctx or the stream
// ends.
func (ch *channel) listen(ctx context.Context, take func(context.Context, *mcp.Message)) error {
	in := newInbox()
	ch.mu.Lock()
	ch.listeners = append(ch.listeners, in)
	ch.mu.Unlock()
	defer func() {
		ch.mu.Lock()
		defer ch.mu.Unlock()
		for i, other := range ch.listeners {
			if other == in {
				ch.listeners = append(ch.listeners[:i], ch.listeners[i+1:]...)
				return
			}
		}
	}()
	for {
		select {
		case m := <-in.messages:
			take(ctx, m)
		case <-ch.done:
			return errChannelBroken
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
