package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/sse"
	"github.com/mcpraft/mcpraft/server/mcp"
)

const (
	defaultRetry = time.Second           // before a stream is resumed, if the upstream does not say
	minRetry     = 50 * time.Millisecond // whatever it says
	maxRetry     = 30 * time.Second      // likewise
	maxFruitless = 32                    // resumptions in a row that bring nothing new
	cancelWait   = 2 * time.Second       // for telling the upstream that a call is given up
	maxEventID   = 1 << 10               // bytes; longer ones are no use for resuming
)

// A call is one request on its way to an upstream. It is used by one goroutine;
// only its asks have their own.
type call struct {
	up      *upstream
	path    *path
	method  string
	id      mcp.ID // that the upstream knows it by
	resumed bool   // the stream has been taken up: what comes may be of others
	token   []byte // the caller's progress token; nil: none
	sink    Sink
	timeout time.Duration

	to     *url.URL
	header http.Header
	get    http.Header // to resume with
	body   []byte

	clock  *clock
	asks   *asks
	opened string        // Mcp-Session-Id of the answer
	last   string        // newest event id
	retry  time.Duration // that the upstream asks for; 0: nothing said
	quiet  time.Duration // that the next connection of a resumed stream may be without an event; 0: quietFor
}

// newCall makes the request that carries m over p: with an id of ours, and
// headers that repeat what is in the body.
func (p *path) newCall(ctx context.Context, c *Caller, m *mcp.Message, sink Sink) (*call, error) {
	out := &call{up: p.up, path: p, method: m.Method(), id: p.up.ups.nextID(), sink: sink, timeout: p.up.timeout, to: p.up.url}
	params := m.Params()
	if token := mcp.Meta(params, mcp.MetaProgressToken); token != nil {
		out.token = token
		params = mcp.WithField(params, []byte(out.id), "_meta", mcp.MetaProgressToken)
	}
	headers, err := p.headers(ctx)
	if err != nil {
		return nil, err
	}
	out.header, out.get = headers.post, headers.get
	if p.state == nil {
		params = p.modernParams(c, params)
		out.header = p.modernHeader(headers.post, m.Method(), params)
	} else if c.Modern {
		params = mcp.WithoutProtocolMeta(params)
	}
	if p.state != nil && p.state.channel != nil {
		out.to = p.state.channel.endpoint
	}
	m = m.WithID(out.id)
	if !sameBytes(params, m.Params()) {
		m = m.WithParams(params)
	}
	out.body = m.Bytes()
	return out, nil
}

// sameBytes reports that both are equal, without looking far if one is a copy.
func sameBytes(a, b []byte) bool { return len(a) == len(b) && bytes.Equal(a, b) }

func (p *path) headers(ctx context.Context) (*headerSet, error) {
	st := p.state
	if st != nil && st.version == "" {
		st = nil
	}
	h, err := p.up.headers(ctx, st)
	if err == nil {
		p.shown = h.credential
	}
	return h, err
}

// modernParams are params with what the protocol wants in _meta of each request.
// What the caller has set stands, but for the version: that is between the
// gateway and the upstream.
func (p *path) modernParams(c *Caller, params []byte) []byte {
	set := func(key string, value []byte) {
		params = mcp.WithField(params, value, "_meta", key)
	}
	if version := mcp.Quote(string(p.era.version)); !bytes.Equal(mcp.Meta(params, mcp.MetaProtocolVersion), version) {
		set(mcp.MetaProtocolVersion, version)
	}
	if mcp.Meta(params, mcp.MetaClientCapabilities) == nil {
		if len(c.Capabilities) > 0 {
			set(mcp.MetaClientCapabilities, c.Capabilities)
		} else {
			set(mcp.MetaClientCapabilities, []byte("{}"))
		}
	}
	if mcp.Meta(params, mcp.MetaClientInfo) == nil {
		if len(c.ClientInfo) > 0 {
			set(mcp.MetaClientInfo, c.ClientInfo)
		} else {
			set(mcp.MetaClientInfo, p.up.ups.info)
		}
	}
	if c.LogLevel != "" && mcp.Meta(params, mcp.MetaLogLevel) == nil {
		set(mcp.MetaLogLevel, mcp.Quote(c.LogLevel))
	}
	return params
}

// modernHeader repeats in headers what the protocol wants repeated of this
// body.
func (p *path) modernHeader(base http.Header, method string, params []byte) http.Header {
	h := maps.Clone(base)
	h[mcp.HeaderVersion] = []string{string(p.era.version)}
	h[mcp.HeaderMethod] = []string{method}
	field := mcp.NameField(method)
	if field == "" {
		return h
	}
	name, ok := mcp.Text(mcp.Field(params, field))
	if !ok {
		return h // the upstream says what is wrong with such a body
	}
	h[mcp.HeaderName] = []string{mcp.EncodeHeader(name)}
	if method != mcp.ToolsCall {
		return h
	}
	arguments := mcp.Field(params, "arguments")
	known, _ := p.up.tools.params(name)
	for _, param := range known {
		if value, ok := param.Value(arguments); ok {
			h[param.Name()] = []string{mcp.EncodeHeader(value)}
		}
	}
	return h
}

// do sends the request and waits for its answer, which carries the id that was
// sent. When do returns, nothing of the call is left running.
func (c *call) do(ctx context.Context) (*mcp.Message, error) {
	return c.timed(ctx, func(ctx context.Context) (*mcp.Message, error) {
		if c.path.state != nil && c.path.state.channel != nil {
			return c.path.state.channel.call(ctx, c)
		}
		return c.exchange(ctx)
	})
}

// timed runs one way of getting the answer under the call's clock.
func (c *call) timed(ctx context.Context, get func(context.Context) (*mcp.Message, error)) (*mcp.Message, error) {
	running, clock := startClock(ctx, c.timeout, c.up.ups.o.Longest)
	defer clock.stop()
	c.clock = clock
	c.asks = newAsks(c.up, c.ask(), c.postBack, clock)
	answer, err := get(running)
	c.asks.end()
	if err == nil {
		return answer, nil
	}
	if running.Err() == nil {
		return nil, err
	}
	c.abandon(ctx, err)
	if context.Cause(running) == errTimeout {
		return nil, fault.New(fault.Timeout, "upstream %q did not answer %s within %v", c.up.rec.Alias, c.method, c.timeout).
			WithDetail("upstream", c.up.rec.Alias)
	}
	return nil, context.Cause(ctx)
}

// ask is who answers the upstream's requests; nil refuses them.
func (c *call) ask() askFunc {
	if c.sink == nil {
		return nil
	}
	return c.sink.Ask
}

// abandon tells a legacy upstream that nobody waits any more. A modern one sees
// it by the closed connection.
func (c *call) abandon(ctx context.Context, err error) {
	_, unsent := errors.AsType[*notSentError](err)
	if c.path.state == nil || c.method == mcp.Initialize || unsent || handedOver(ctx) {
		return
	}
	reason := "the client has cancelled the request"
	if ctx.Err() == nil {
		reason = "the request took too long"
	}
	params := mcp.WithField(nil, []byte(c.id), "requestId")
	params = mcp.WithField(params, mcp.Quote(reason), "reason")
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelWait)
	defer cancel()
	if err := c.up.post(ctx, c.to, c.header, mcp.Notification(mcp.Cancelled, params).Bytes()); err != nil {
		c.up.log.Debug("upstream not told of a cancellation", "error", err)
	}
}

// handedOver reports whether the call was given up here because another node goes
// on with it (see server/session): the upstream must go on, too.
func handedOver(ctx context.Context) bool {
	cause, ok := errors.AsType[interface {
		error
		HandedOver() bool
	}](context.Cause(ctx))
	return ok && cause.HandedOver()
}

// postBack sends what answers a request of the upstream.
func (c *call) postBack(ctx context.Context, m *mcp.Message) error {
	return c.up.post(ctx, c.to, c.header, m.Bytes())
}

// exchange sends the request by POST and reads the answer in whatever form it
// comes.
func (c *call) exchange(ctx context.Context) (*mcp.Message, error) {
	res, err := c.up.send(ctx, &request{method: http.MethodPost, url: c.to, header: c.header, body: c.body})
	if err != nil {
		return nil, err
	}
	c.opened = res.header.Get(mcp.HeaderSession)
	b, err := openBody(ctx, c.up.ups.o.Budget, res)
	if err != nil {
		return nil, err
	}
	defer b.close()
	if res.status >= 300 {
		return nil, readRefusal(ctx, b)
	}
	switch b.form {
	case formJSON:
		return c.whole(ctx, b)
	case formStream:
		return c.follow(ctx, b)
	case formEmpty:
		return nil, errNoAnswer
	default:
		return nil, fmt.Errorf("%w: %s", errGarbage, clean(string(b.begin[:min(len(b.begin), 4*maxExcerpt)])))
	}
}

// whole reads an answer that is JSON.
func (c *call) whole(ctx context.Context, b *body) (*mcp.Message, error) {
	data, err := b.all(ctx, MaxMessage)
	if err != nil {
		return nil, err
	}
	list, err := parse(data)
	if err != nil {
		return nil, err
	}
	for _, m := range list {
		switch m.Kind() {
		case mcp.KindNotification:
			c.notified(m)
		case mcp.KindRequest:
			c.asked(ctx, m)
		}
	}
	return pick(list, c.id)
}

// follow reads an answer that is a stream of events, over as many connections
// as it takes.
func (c *call) follow(ctx context.Context, b *body) (*mcp.Message, error) {
	for fruitless := 0; ; fruitless++ {
		before := c.last
		answer, err := c.read(ctx, b)
		b.close()
		if err == nil {
			return answer, nil
		}
		if c.last != before {
			fruitless = 0
		}
		if b.vigil.expired() {
			fruitless = 0
			c.quiet = 2 * b.vigil.quiet
		}
		if !c.resumable(ctx, err) || fruitless >= maxFruitless {
			return nil, err
		}
		c.up.metrics.resumed()
		if b, err = c.resume(ctx); err != nil {
			return nil, err
		}
	}
}

// read reads events up to the answer.
func (c *call) read(ctx context.Context, b *body) (*mcp.Message, error) {
	events, metered := b.events(ctx)
	for {
		e, err := events.Next()
		if err != nil {
			return nil, err
		}
		if e.Retry > 0 {
			c.retry = e.Retry
		}
		b.vigil.alive()
		answer, err := c.event(ctx, e)
		if answer != nil || err != nil {
			return answer, err
		}
		c.progressed(e)
		metered.settle()
	}
}

// event takes one event; the result is the answer if that was it.
func (c *call) event(ctx context.Context, e sse.Event) (*mcp.Message, error) {
	if len(e.Data) == 0 || e.Name != "" && e.Name != "message" {
		return nil, nil
	}
	list, err := parse(e.Data)
	if err != nil {
		return nil, err
	}
	for _, m := range list {
		switch m.Kind() {
		case mcp.KindNotification:
			c.notified(m)
		case mcp.KindRequest:
			c.asked(ctx, m)
		default:
			answer, err := pick(list, c.id)
			if _, stray := errors.AsType[*wrongIDError](err); stray && c.resumed {
				return nil, nil // there are servers that replay the whole session
			}
			return answer, err
		}
	}
	return nil, nil
}

// progressed notes how far the stream has come.
func (c *call) progressed(e sse.Event) {
	if !e.HasID || c.path.state == nil || len(e.ID) > maxEventID {
		return
	}
	c.last = e.ID
	if c.sink != nil && e.ID != "" {
		c.sink.Progressed(e.ID, c.path.state.id, c.id)
	}
}

// notified passes a notification of the upstream on.
func (c *call) notified(m *mcp.Message) {
	switch m.Method() {
	case mcp.Cancelled:
		if id, ok := mcp.ParseID(mcp.Field(m.Params(), "requestId")); ok {
			c.asks.cancel(id)
		}
		return
	case mcp.Progress:
		// Clients drop the connection over a token that they did not give.
		if m = c.ownProgress(m); m == nil {
			return
		}
		c.clock.alive()
	}
	if c.sink != nil {
		c.sink.Notification(m)
	}
}

// ownProgress is a progress notification under the caller's token; nil if it is
// not about this call.
func (c *call) ownProgress(m *mcp.Message) *mcp.Message {
	got, ok := mcp.ParseID(mcp.Field(m.Params(), mcp.MetaProgressToken))
	if !ok || c.token == nil {
		return nil
	}
	if text, isText := got.Text(); got != c.id && !(isText && text == string(c.id)) {
		return nil
	}
	return m.WithParams(mcp.WithField(m.Params(), c.token, mcp.MetaProgressToken))
}

// asked takes a request of the upstream. A modern upstream has no business
// sending one, and there is no way to answer it.
func (c *call) asked(ctx context.Context, m *mcp.Message) {
	if c.path.state == nil {
		c.up.log.Warn("upstream of the modern era sends a request", "method", clean(m.Method()))
		return
	}
	c.asks.take(ctx, m)
}

// resumable reports whether a stream that ended with err before the answer can
// be taken up again: the upstream has numbered its events, and what happened was
// the end of a connection.
func (c *call) resumable(ctx context.Context, err error) bool {
	if ctx.Err() != nil || c.last == "" || c.path.state == nil {
		return false
	}
	_, ours := errors.AsType[*fault.Error](err)
	_, wrong := errors.AsType[*wrongIDError](err)
	return !ours && !wrong && !errors.Is(err, errGarbage) && !errors.Is(err, errNoAnswer) && !errors.Is(err, sse.ErrTooLarge)
}

// resume asks for the rest of the stream, behind the last event, after the pause
// that the upstream wants.
func (c *call) resume(ctx context.Context) (*body, error) {
	header := maps.Clone(c.get)
	header[mcp.HeaderLastEventID] = []string{c.last}
	pause := defaultRetry
	if c.retry > 0 {
		pause = min(max(c.retry, minRetry), maxRetry)
	}
	c.resumed = true
	var last error
	for range maxFruitless {
		if err := sleep(ctx, pause); err != nil {
			return nil, err
		}
		watched, v := newVigil(ctx, max(c.quiet, quietFor))
		b, err := c.open(watched, header)
		if err == nil {
			b.vigil = v
			v.begin()
			return b, nil
		}
		v.end()
		// A conflict: the upstream has not seen yet that the stream before has ended.
		if r, refused := errors.AsType[*refusal](err); refused && !r.inconclusive() && r.status != http.StatusConflict {
			return nil, fmt.Errorf("the stream cannot be resumed: %w", io.ErrUnexpectedEOF)
		}
		last = err
		pause = min(2*max(pause, defaultRetry), maxRetry)
	}
	return nil, fmt.Errorf("the stream cannot be resumed: %v", last) //nolint:errorlint // its kind is not that of the call
}

// open opens a stream by GET.
func (c *call) open(ctx context.Context, header http.Header) (*body, error) {
	res, err := c.up.send(ctx, &request{method: http.MethodGet, url: c.to, header: header})
	if err != nil {
		return nil, err
	}
	return openStream(ctx, c.up.ups.o.Budget, res)
}

// openStream takes the answer to a GET for a stream. It does not wait for the
// first event.
func openStream(ctx context.Context, budget Budget, res *response) (*body, error) {
	if res.status == http.StatusOK && isMedia(res.header.Get("Content-Type"), "text/event-stream") {
		return &body{form: formStream, head: res, meter: meter{budget: budget}}, nil
	}
	b, err := openBody(ctx, budget, res)
	if err != nil {
		return nil, err
	}
	if res.status < 300 && b.form == formStream {
		return b, nil
	}
	defer b.close()
	return nil, readRefusal(ctx, b)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// takeUp is Resume behind the gate.
func (up *upstream) takeUp(ctx context.Context, c *Caller, lastEventID string, request, id mcp.ID, sink Sink) (*mcp.Message, error) {
	k, ok := up.keyFor(c)
	if !ok || !k.own() || c.Binding == nil || lastEventID == "" || request == "" {
		return nil, errNotResumable(up.rec.Alias)
	}
	s := up.session(k)
	defer s.leave()
	st := s.live(c.Binding)
	if st == nil || st.channel != nil {
		return nil, errNotResumable(up.rec.Alias)
	}
	p := &path{up: up, era: &era{}, session: s, state: st}
	headers, err := p.headers(ctx)
	if err != nil {
		return nil, err
	}
	out := &call{
		up: up, path: p, method: "the rest of a call", id: request, sink: sink, timeout: up.timeout,
		to: up.url, header: headers.post, get: headers.get, last: lastEventID, retry: minRetry,
	}
	answer, err := out.timed(ctx, func(ctx context.Context) (*mcp.Message, error) {
		b, err := out.resume(ctx)
		if err != nil {
			return nil, err
		}
		out.retry = 0
		return out.follow(ctx, b)
	})
	if err != nil {
		return nil, err
	}
	return answer.WithID(id), nil
}

func errNotResumable(alias string) error {
	return fault.New(fault.OutcomeUnknown, "the call to upstream %q cannot be taken up by another node", alias).
		WithHint("whether it was carried out is not known").WithDetail("upstream", alias)
}
