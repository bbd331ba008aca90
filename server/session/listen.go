package session

import (
	"context"
	"sync"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/sse"
	"github.com/mcpraft/mcpraft/server/exchange"
	"github.com/mcpraft/mcpraft/server/mcp"
)

const (
	maxListeners   = 4           // GET streams of a session on all nodes
	minRetry       = time.Second // told to clients that are to come back
	sourceRetryMin = time.Second // after a source that failed
	sourceRetryMax = 30 * time.Second
)

// A Source feeds a GET stream with what no call is about, until ctx ends: the
// upstream's own stream, as a rule. It runs on the goroutine of the newest GET
// stream of a session only. If it returns nil there is nothing more to come; after
// an error it is started again, and the client is told that it may have missed
// something.
type Source func(ctx context.Context, l *Listener) error

// ListenOptions say what is behind a GET stream.
type ListenOptions struct {
	LastEventID string
	Source      Source // nil: nothing

	// Missed are the notifications that make a client look again at what it may
	// have missed. Nil means that all three lists have changed.
	Missed func() []*mcp.Message

	// Resume takes a call over whose node is gone: it fetches the answer from the
	// upstream, which goes on behind u.LastEventID. Everything that comes before
	// the answer goes to c, whose Context it obeys. Nil, and every error, mean that
	// the answer is lost.
	Resume func(c *Call, u Upstream) (*mcp.Message, error)

	// Progress is that of CallOptions.
	Progress func(*mcp.Message)
}

// A Listener is one open GET stream.
type Listener struct {
	s       *Sessions
	live    *Live
	carrier exchange.Stream
	options ListenOptions
	id      record.ID
	asks    asks
	sending sync.Mutex // events leave in order

	// The shard of the session guards these.
	rank  uint64             // newer streams of the session have a higher one
	newer bool               // there is a newer one, here or elsewhere
	cause *fault.Error       // not nil: the stream is to be closed
	over  bool               // the source has come to its end
	yield context.CancelFunc // ends the source's turn; nil when it is not running
	wake  chan struct{}      // capacity 1: something of these has changed
}

// Notify sends a message to the client. An error means that the client is gone or
// that there is a newer stream.
func (l *Listener) Notify(m *mcp.Message) error {
	sh := l.s.shard(l.live.Record.ID)
	sh.mu.Lock()
	newest := !l.newer && l.cause == nil
	sh.mu.Unlock()
	if !newest {
		return errOvertaken
	}
	return l.send(sse.Event{Data: m.Bytes()})
}

// Ask is Call.Ask for a request that belongs to no call.
func (l *Listener) Ask(ctx context.Context, m *mcp.Message) (*mcp.Message, error) {
	q := &ask{answer: make(chan *mcp.Message, 1), progress: l.options.Progress}
	number, err := l.asks.begin(q)
	if err != nil {
		return nil, err
	}
	defer l.asks.end(number)
	t := token{kind: tokenAsk, node: l.s.c.Self, stream: l.id, sequence: number}
	if err := l.Notify(q.outgoing(m, t.format(l.s.keys, l.live.Record.ID))); err != nil {
		return nil, err
	}
	select {
	case answer := <-q.answer:
		return answer.WithID(m.ID()), nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (l *Listener) send(e sse.Event) error {
	l.sending.Lock()
	defer l.sending.Unlock()
	return l.carrier.Send(e)
}

// close has the stream closed. The shard is locked.
func (l *Listener) close(cause *fault.Error) {
	if l.cause == nil {
		l.cause = cause
		l.interrupt()
	}
}

// setNewer tells whether there is a newer stream. The shard is locked.
func (l *Listener) setNewer(newer bool) {
	if l.newer != newer {
		l.newer = newer
		l.interrupt()
	}
}

func (l *Listener) interrupt() {
	if l.yield != nil {
		l.yield()
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Listen serves a GET of a session until the stream has come to its end: until ctx
// ends, the client is gone, the session ends or the node is drained. With the id
// of an event of a call it is the rest of that call's stream. Otherwise it is a
// stream for what belongs to no call: a session has up to four over all nodes, a
// fifth closes the oldest; the newest gets the messages, the others stay open in
// case it goes.
//
// An error before anything was sent is of kind MethodNotAllowed when nothing is to
// follow the event, and NotFound when the id is of no event of this session.
func (s *Sessions) Listen(ctx context.Context, live *Live, carrier exchange.Stream, o ListenOptions) error {
	select {
	case <-s.draining:
		// Opened and closed at once: a failure would end the stream for good.
		_ = carrier.Send(comeBack(o.LastEventID))
		return nil
	default:
	}
	if o.LastEventID == "" {
		return s.listen(ctx, live, carrier, o)
	}
	t, ok := parseToken(s.keys, live.Record.ID, o.LastEventID)
	switch {
	case !ok:
		return fault.New(fault.NotFound, "Last-Event-ID is not that of an event of this session").
			WithHint("open a stream without Last-Event-ID")
	case t.kind == tokenListen:
		return s.listen(ctx, live, carrier, o)
	case t.kind == tokenEvent:
		return s.resume(ctx, live, &t, carrier, o)
	default:
		return errFinished
	}
}

// comeBack tells a client to come back with the same last event.
func comeBack(lastEventID string) sse.Event {
	return sse.Event{ID: lastEventID, HasID: lastEventID != "", Retry: minRetry}
}

// listen serves a stream that belongs to no call.
func (s *Sessions) listen(ctx context.Context, live *Live, carrier exchange.Stream, o ListenOptions) error {
	l := &Listener{s: s, live: live, carrier: carrier, options: o, id: s.newStreamID(), wake: make(chan struct{}, 1)}
	first := sse.Event{Comment: "open"}
	if live.Version().AtLeast(mcp.V20251125) {
		t := token{kind: tokenListen, node: s.c.Self, stream: l.id, sequence: 1}
		first = sse.Event{ID: t.format(s.keys, live.Record.ID), HasID: true}
	}
	if l.send(first) != nil {
		return nil
	}
	s.metrics.listens.Inc()
	defer s.metrics.listens.Dec()
	before := s.enter(ctx, l)
	defer s.exit(ctx, l)
	if before || o.LastEventID != "" {
		l.missed()
	}
	return l.serve(ctx)
}

// missed has the client look again at what it may have missed.
func (l *Listener) missed() {
	messages := missedLists
	if l.options.Missed != nil {
		messages = l.options.Missed
	}
	for _, m := range messages() {
		if l.Notify(m) != nil {
			return
		}
	}
}

func missedLists() []*mcp.Message {
	return []*mcp.Message{
		mcp.Notification(mcp.ToolsListChanged, nil),
		mcp.Notification(mcp.ResourcesListChanged, nil),
		mcp.Notification(mcp.PromptsListChanged, nil),
	}
}

// serve runs the source whenever it is this stream's turn, until the stream is to
// end.
func (l *Listener) serve(ctx context.Context) error {
	retry := sourceRetryMin
	for first := true; ; first = false {
		turn, err := l.await(ctx)
		if turn == nil {
			return err
		}
		if !first {
			l.missed()
		}
		began := time.Now()
		err = l.options.Source(turn, l)
		interrupted := turn.Err() != nil
		l.endTurn(err == nil && !interrupted)
		if err == nil || interrupted {
			continue
		}
		l.s.log.Debug("the source of a GET stream failed and is started again", "error", err)
		if time.Since(began) > sourceRetryMax {
			retry = sourceRetryMin
		}
		select {
		case <-time.After(retry):
		case <-ctx.Done():
		}
		retry = min(2*retry, sourceRetryMax)
	}
}

// await waits until it is the source's turn; it gives no context when the stream
// is to end instead.
func (l *Listener) await(ctx context.Context) (context.Context, error) {
	sh := l.s.shard(l.live.Record.ID)
	for {
		sh.mu.Lock()
		cause, run := l.cause, !l.newer && !l.over && l.options.Source != nil
		if cause == nil && run && ctx.Err() == nil {
			turn, yield := context.WithCancel(ctx)
			l.yield = yield
			sh.mu.Unlock()
			return turn, nil
		}
		sh.mu.Unlock()
		if cause == errDrained {
			_ = l.send(sse.Event{Retry: minRetry})
			return nil, nil
		}
		if cause != nil {
			return nil, cause
		}
		select {
		case <-l.wake:
		case <-ctx.Done():
			return nil, nil
		}
	}
}

func (l *Listener) endTurn(over bool) {
	sh := l.s.shard(l.live.Record.ID)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	l.yield()
	l.yield = nil
	l.over = l.over || over
}
