package session

import (
	"context"
	"errors"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/sse"
	"github.com/mcpraft/mcpraft/raftnode/peer"
	"github.com/mcpraft/mcpraft/server/exchange"
	"github.com/mcpraft/mcpraft/server/mcp"
)

const (
	readBytes  = 1 << 20          // of events, in one answer of the owner
	readWait   = 10 * time.Second // of the owner, for something to send
	readSlack  = 5 * time.Second  // for the answer to arrive
	holdFor    = 5 * time.Second  // that a GET waits for an owner or a leader
	ownerLost  = 3 * time.Second  // out of reach for so long: the owner is taken for gone
	ownerRetry = 100 * time.Millisecond
	attachWait = time.Second // for one node to say whether it has a stream
	maxEvent   = 32 << 20    // bytes of one event of another node
)

// Outcomes of a resumption, as metric labels.
const (
	resumedHere     = "here"      // from this node's own ring
	resumedThere    = "owner"     // through the node that owns the stream
	resumedRecord   = "record"    // taken over from the call record
	resumedNodeLost = "node_lost" // explicit error: nobody knows the answer
	resumedFinished = "finished"  // nothing was to follow
	resumedLater    = "later"     // the client is to come back
)

// A source of the rest of a call's stream, here or on its owner.
type replay interface {
	// read gives the next events, waiting for them for a while; done with the last.
	// No events, no error: none came in that time.
	read(ctx context.Context) (list []event, done bool, err error)
}

// resume serves the rest of the stream of a call behind the event that t names.
// The owner has it, or whoever it left it with; if there is nobody, the call is
// taken over from its record; and if there is none, the client is told so with an
// error under the id of its request.
func (s *Sessions) resume(ctx context.Context, live *Live, t *token, carrier exchange.Stream, o ListenOptions) error {
	r := &resumption{s: s, live: live, t: *t, carrier: carrier, o: o}
	replay, how, err := r.find(ctx)
	switch {
	case errors.Is(err, errFinished):
		s.metrics.resumes.WithLabelValues(resumedFinished).Inc()
		if r.sent {
			return nil
		}
		return errFinished
	case ctx.Err() != nil, errors.Is(err, errGone):
		return nil //nolint:nilerr // the client is gone
	case errors.Is(err, errTorn):
		return r.lost("events of the stream are not kept any more")
	case err != nil:
		return r.takeOver(ctx)
	}
	return r.follow(ctx, replay, how)
}

// follow serves what the replay gives, to its end.
func (r *resumption) follow(ctx context.Context, replay replay, how string) error {
	r.s.metrics.resumes.WithLabelValues(how).Inc()
	r.s.metrics.resuming.Inc()
	defer r.s.metrics.resuming.Dec()
	err := r.copy(ctx, replay)
	switch {
	case err == nil, ctx.Err() != nil, errors.Is(err, errGone), errors.Is(err, errOvertaken):
		return nil
	case errors.Is(err, errTorn):
		return r.lost("events of the stream are not kept any more")
	default: // the owner was lost on the way
		return r.takeOver(ctx)
	}
}

// A resumption is one GET for the rest of a call's stream.
type resumption struct {
	s       *Sessions
	live    *Live
	t       token // behind which event; moves on with what was sent
	carrier exchange.Stream
	o       ListenOptions
	sent    bool
}

var errGone = errors.New("the client is gone")

func (r *resumption) send(e sse.Event) error {
	r.sent = true
	if r.carrier.Send(e) != nil {
		return errGone
	}
	return nil
}

// opened makes sure that the client has a stream, though there may be nothing on it
// for long.
func (r *resumption) opened() error {
	if r.sent {
		return nil
	}
	return r.send(sse.Event{Comment: "resuming"})
}

// copy sends what the replay gives until it is done.
func (r *resumption) copy(ctx context.Context, from replay) error {
	if err := r.opened(); err != nil {
		return err
	}
	for {
		list, done, err := from.read(ctx)
		if err != nil {
			return err
		}
		for i := range list {
			if err := r.send(list[i].sse()); err != nil {
				return err
			}
			if list[i].sequence > 0 {
				r.t.sequence = list[i].sequence
			}
		}
		if done {
			return nil
		}
	}
}

// find looks for the stream: here, on its owner, on the others that may have
// adopted it. An owner out of reach is asked again for a while: it may be back in a
// moment. An error other than errFinished and errTorn means that nobody has it.
func (r *resumption) find(ctx context.Context) (replay, string, error) {
	r.s.awaitTakeover(ctx, r.live.Record.ID, r.t.stream)
	here, err := r.s.readerHere(r.live.Record.ID, r.t.stream, r.t.sequence)
	if !errors.Is(err, errUnknownStream) {
		return here, resumedHere, err
	}
	if r.s.ours(r.t.stream) {
		return nil, "", errTorn // this process had it, and let it go
	}
	until := time.Now().Add(ownerLost)
	for first := true; ; first = false {
		there, err := r.askOnce(ctx, r.t.node)
		if first && !settled(err) {
			there, err = r.askRest(ctx, err)
		}
		if settled(err) || errors.Is(err, errUnknownStream) {
			return there, resumedThere, err
		}
		if time.Now().After(until) {
			return nil, "", errUnknownStream
		}
		if err := r.opened(); err != nil { // a client's patience with silence is short
			return nil, "", err
		}
		select {
		case <-time.After(ownerRetry):
		case <-ctx.Done():
			return nil, "", ctx.Err()
		}
	}
}

// askRest asks the nodes other than the owner; err is what the owner said, and
// stands if none of them has the stream.
func (r *resumption) askRest(ctx context.Context, err error) (replay, error) {
	for _, node := range r.s.others() {
		if node == r.t.node {
			continue
		}
		if there, err := r.askOnce(ctx, node); settled(err) {
			return there, err
		}
	}
	return nil, err
}

// settled reports whether whoever gave err has, or had, the stream.
func settled(err error) bool {
	return err == nil || errors.Is(err, errFinished) || errors.Is(err, errTorn)
}

// askOnce attaches to the stream on another node.
func (r *resumption) askOnce(ctx context.Context, node string) (replay, error) {
	if node == r.s.c.Self {
		return nil, errUnknownStream
	}
	limited, cancel := context.WithTimeout(ctx, attachWait)
	defer cancel()
	q := readRequest{Session: r.live.Record.ID, Stream: r.t.stream, Sequence: r.t.sequence}
	a, err := call[readAnswer](limited, r.s, node, opRead, &q)
	if err != nil {
		return nil, asStreamError(err)
	}
	q.Reader, q.Offset = a.Reader, a.Offset
	return &remoteReplay{s: r.s, node: node, q: q}, nil
}

var errUnknownStream = fault.New(fault.Precondition, "this node does not have the stream")

// asStreamError is the error of a stream as it came from its owner.
func asStreamError(err error) error {
	switch fault.Of(err) {
	case fault.MethodNotAllowed:
		return errFinished
	case fault.NotFound:
		return errTorn
	case fault.Conflict:
		return errOvertaken
	case fault.Precondition, fault.Unsupported:
		return errUnknownStream
	}
	return err
}

// A localReplay reads from a ring of this node.
type localReplay struct {
	st             *stream
	reader, offset uint64
}

func (l *localReplay) read(ctx context.Context) (list []event, done bool, err error) {
	list, done, err = l.st.read(ctx, l.reader, l.offset, readBytes)
	if len(list) > 0 {
		l.offset = list[len(list)-1].offset + 1
	}
	return list, done, err
}

// readerHere attaches to a stream that this node has.
func (s *Sessions) readerHere(session string, id record.ID, after uint64) (*localReplay, error) {
	st := s.streamHere(session, id)
	if st == nil {
		return nil, errUnknownStream
	}
	if st.id != id {
		after = 0 // the numbers are those of the stream that this one goes on with
	}
	reader, offset, err := st.attach(after)
	if err != nil {
		return nil, err
	}
	return &localReplay{st: st, reader: reader, offset: offset}, nil
}

func (s *Sessions) streamHere(session string, id record.ID) *stream {
	sh := s.shard(session)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	h := sh.hubs[session]
	if h == nil {
		return nil
	}
	if t := h.takeovers[id]; t != nil && !t.heir.IsZero() {
		id = t.heir
	}
	if c := h.calls[id]; c != nil {
		return c.stream
	}
	return h.kept[id]
}

// A remoteReplay reads from a ring of another node.
type remoteReplay struct {
	s    *Sessions
	node string
	q    readRequest
	part []byte // of an event that comes in parts
}

func (m *remoteReplay) read(ctx context.Context) (list []event, done bool, err error) {
	m.q.Wait = uint32(readWait / time.Millisecond)
	limited, cancel := context.WithTimeout(ctx, readWait+readSlack)
	defer cancel()
	a, err := call[readAnswer](limited, m.s, m.node, opRead, &m.q)
	if err != nil {
		return nil, false, asStreamError(err)
	}
	for i := range a.Events {
		e, whole, err := m.assemble(&a.Events[i])
		if err != nil || !whole {
			return list, false, err
		}
		list = append(list, e)
		m.q.Offset = e.offset + 1
	}
	return list, a.Done, nil
}

// assemble puts the parts of a large event together.
func (m *remoteReplay) assemble(w *wireEvent) (e event, whole bool, err error) {
	e = event{offset: w.Offset, sequence: w.Sequence, id: w.ID, data: w.Data, last: w.Last}
	if w.Size == 0 {
		return e, true, nil
	}
	if w.Size > maxEvent || len(w.Data) == 0 || len(m.part)+len(w.Data) > w.Size {
		return e, false, fault.New(fault.Internal, "node %s sent an event in parts that do not fit", m.node)
	}
	m.part = append(m.part, w.Data...)
	m.q.Offset, m.q.At = w.Offset, len(m.part)
	if len(m.part) < w.Size {
		return e, false, nil
	}
	e.data, m.part, m.q.At = m.part, nil, 0
	return e, true, nil
}

// serveRead gives another node the events of a stream of this one.
func (s *Sessions) serveRead(ctx context.Context, _ peer.From, q *readRequest) (readAnswer, error) {
	if q.Reader == 0 {
		s.awaitTakeover(ctx, q.Session, q.Stream)
		here, err := s.readerHere(q.Session, q.Stream, q.Sequence)
		if err != nil {
			return readAnswer{}, err
		}
		return readAnswer{Reader: here.reader, Offset: here.offset}, nil
	}
	st := s.streamHere(q.Session, q.Stream)
	if st == nil {
		return readAnswer{}, errTorn
	}
	ctx, cancel := context.WithTimeout(ctx, min(time.Duration(q.Wait)*time.Millisecond, readWait))
	defer cancel()
	list, done, err := st.read(ctx, q.Reader, q.Offset, readBytes)
	if err != nil && ctx.Err() == nil {
		return readAnswer{}, err
	}
	return wireEvents(list, done, q.At)
}

// wireEvents puts events into an answer, of one that is too large a part.
func wireEvents(list []event, done bool, at int) (readAnswer, error) {
	a := readAnswer{Done: done}
	for i := range list {
		e := &list[i]
		w := wireEvent{Offset: e.offset, Sequence: e.sequence, ID: e.id, Data: e.data, Last: e.last}
		if i == 0 && at > len(e.data) {
			return a, fault.New(fault.Invalid, "the event has %d bytes, not %d", len(e.data), at)
		}
		if i == 0 && len(e.data) > readBytes {
			part := e.data[at:min(at+readBytes, len(e.data))]
			w.Data, w.Size = part, len(e.data)
			a.Events = append(a.Events, w)
			a.Done = done && len(list) == 1 && at+len(part) == len(e.data)
			return a, nil
		}
		if len(e.data) > readBytes { // begins the next answer
			a.Done = false
			return a, nil
		}
		a.Events = append(a.Events, w)
	}
	return a, nil
}

// takeOver goes on with a call whose node is gone, or with whoever does already.
func (r *resumption) takeOver(ctx context.Context) error {
	session, id := r.live.Record.ID, r.t.stream
	t, first := r.s.beginTakeover(session, id)
	for !first {
		r.s.awaitTakeover(ctx, session, id)
		if ctx.Err() != nil {
			return nil
		}
		if here, err := r.s.readerHere(session, id, 0); err == nil {
			return r.follow(ctx, here, resumedHere)
		}
		if t, first = r.s.beginTakeover(session, id); !first && t.settled() {
			return r.lost("its answer went to another stream") // and is not kept any more
		}
	}
	defer r.s.endTakeover(session, id, t, record.ID{})
	limited, cancel := context.WithTimeout(ctx, holdFor)
	rec, ok, err := r.s.takeRecord(limited, r.live.Record.ID, r.t.stream)
	cancel()
	switch {
	case ctx.Err() != nil:
		return nil
	case err != nil: // no leader: nobody can know whether it is ours to take over
		r.s.metrics.resumes.WithLabelValues(resumedLater).Inc()
		_ = r.send(comeBack(r.t.format(r.s.keys, r.live.Record.ID)))
		return nil
	case !ok: // another node may have been faster, or may ask us the same
		r.s.endTakeover(session, id, t, record.ID{})
		there, err := r.askRest(ctx, errUnknownStream)
		if err != nil {
			return r.lost("the node that worked on it was lost")
		}
		return r.follow(ctx, there, resumedThere)
	case r.o.Resume == nil:
		return r.lost("the node that worked on it was lost")
	}
	upstream, err := openUpstream(r.s.c.Sealer, rec.Session, rec.UpstreamSession)
	if err != nil {
		return r.lost("its record does not open")
	}
	u := Upstream{
		Alias: rec.Alias, Protocol: rec.Protocol, Session: string(upstream),
		Request: mcp.ID(rec.UpstreamRequest), LastEventID: string(rec.LastEventID),
	}
	c, err := r.s.OpenCall(ctx, r.live, mcp.ID(rec.RequestID), r.carrier, CallOptions{Progress: r.o.Progress})
	if err != nil {
		return r.lost("the call cannot be gone on with here")
	}
	r.s.metrics.resumes.WithLabelValues(resumedRecord).Inc()
	c.Upstream(u)
	c.openNow() // the client has an id of this node from here on
	r.s.endTakeover(session, id, t, c.stream.id)
	answer, err := r.o.Resume(c, u)
	if err != nil {
		r.s.metrics.nodeLost.Inc()
		answer = nodeLost(c.request, "the upstream did not give its answer to another node")
	}
	return r.finish(c, answer)
}

// finish ends a call that was taken over, on the GET that did.
func (r *resumption) finish(c *Call, m *mcp.Message) error {
	if a := c.Finish(m); a.Message != nil {
		_ = r.send(sse.Event{ID: a.EventID, HasID: a.EventID != "", Data: a.Message.Bytes()})
	}
	return nil
}

// lost tells the client that its call will not be answered any more.
func (r *resumption) lost(why string) error {
	r.s.metrics.resumes.WithLabelValues(resumedNodeLost).Inc()
	r.s.metrics.nodeLost.Inc()
	t := token{kind: tokenFinal, node: r.s.c.Self, stream: r.s.newStreamID(), sequence: 1, request: r.t.request}
	_ = r.send(sse.Event{
		ID: t.format(r.s.keys, r.live.Record.ID), HasID: true,
		Data: nodeLost(r.t.request, why).Bytes(),
	})
	return nil
}

// nodeLost is the error of a call whose outcome nobody knows.
func nodeLost(request mcp.ID, why string) *mcp.Message {
	return mcp.Failed(request, &mcp.Error{
		Code:    mcp.CodeInternal,
		Message: "the call was lost: " + why + "; it may have been carried out",
		Data:    []byte(`{"gateway":{"reason":"node_lost","retryable":true}}`),
	})
}
