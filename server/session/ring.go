package session

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/sse"
	"github.com/mcpraft/mcpraft/server/exchange"
	"github.com/mcpraft/mcpraft/server/mcp"
)

// Bounds of the events that are kept for resumption. Beyond the bound of a stream
// its oldest events go; beyond that of the session or the node (Config.RingBytes)
// an event is sent and not kept.
const (
	maxStreamEvents  = 256
	maxStreamBytes   = 20 << 20 // an answer of 16 MiB, and more
	maxSessionBytes  = 40 << 20
	maxKept          = 64              // answered calls of a session
	keepFor          = 5 * time.Minute // the events of an answered call
	readerLease      = 15 * time.Second
	eventOverhead    = 128 // bytes beside the data
	transientPerLoop = 128 // events without an id that wait for a reader
)

// A budget is the memory that all rings of a node share.
type budget struct {
	limit int64
	bytes atomic.Int64
	used  prometheus.Gauge
}

// take reserves n bytes, if they are there.
func (b *budget) take(n int64) bool {
	if b.bytes.Add(n) > b.limit {
		b.bytes.Add(-n)
		return false
	}
	b.used.Set(float64(b.bytes.Load()))
	return true
}

func (b *budget) free(n int64) { b.used.Set(float64(b.bytes.Add(-n))) }

// An event is one message of a stream as it is kept.
type event struct {
	offset   uint64 // in the stream, of all its events
	sequence uint64 // of those with an id, from 1; 0: it has none
	id       string // as the client gets it; "" if it has none
	data     []byte
	last     bool // the answer
}

func (e *event) size() int64 { return int64(len(e.data) + len(e.id) + eventOverhead) }

func (e *event) sse() sse.Event { return sse.Event{ID: e.id, HasID: e.id != "", Data: e.data} }

// A stream is what the client of one call is sent. It goes to the carrier of the
// POST as long as that is connected and nobody has resumed the stream; a reader
// that resumes takes over from it, and a newer reader from an older one.
//
// Locks: sending before mu. sending is held while the carrier writes, so that
// events leave in order; mu only for moments.
type stream struct {
	id      record.ID
	session string // id of the record
	request mcp.ID
	owner   string // node that its tokens name
	keys    Keys
	ids     bool // events may have ids
	prime   bool // the first event is one without data

	events *budget
	shared *atomic.Int64 // bytes of all streams of the session on this node

	sending sync.Mutex

	mu        sync.Mutex
	carrier   exchange.Stream // nil: gone, or a reader has taken over
	opened    bool            // the answer has become an event stream
	told      bool            // the client has got an id to come back with
	moved     bool            // a reader has taken over
	ring      []event
	bytes     int64
	next      uint64 // offset of the next event
	sequence  uint64 // newest
	lost      uint64 // newest sequence that is not in the ring any more
	torn      uint64 // offset behind that event
	finished  bool
	discarded bool
	reader    uint64    // number of the newest; 0: there was none
	attached  uint64    // offset at which it came
	leased    time.Time // until when the reader counts as there
	wake      chan struct{}

	keepUntil time.Time // once finished; guarded by the shard of the session
}

// carry sends data to the client. An event with withID is kept, and can be asked
// for again. It reports whether the event has gone somewhere where a client is, or
// can come.
func (st *stream) carry(data []byte, withID bool) bool {
	st.sending.Lock()
	defer st.sending.Unlock()
	st.open()
	st.mu.Lock()
	if st.finished || st.discarded {
		st.mu.Unlock()
		return false
	}
	e := st.append(data, withID, false)
	carrier := st.carrier
	st.mu.Unlock()
	st.send(carrier, e.sse())
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.carrier != nil || st.told
}

// openNow makes the answer an event stream, if it is not one yet.
func (st *stream) openNow() {
	st.sending.Lock()
	defer st.sending.Unlock()
	st.open()
}

// open sends what comes before the first event: an id to resume from for clients
// that know what it means, and otherwise only a comment. sending is held.
func (st *stream) open() {
	st.mu.Lock()
	if st.opened || st.finished || st.discarded {
		st.mu.Unlock()
		return
	}
	st.opened = true
	first := sse.Event{Comment: "open"}
	if st.prime {
		e := st.append(nil, true, false)
		first = e.sse()
	}
	carrier := st.carrier
	st.mu.Unlock()
	st.send(carrier, first)
}

// send writes to the carrier, if there is one; it counts as gone after an error.
// sending is held.
func (st *stream) send(carrier exchange.Stream, e sse.Event) {
	if carrier == nil {
		return
	}
	err := carrier.Send(e)
	st.mu.Lock()
	defer st.mu.Unlock()
	switch {
	case err == nil:
		st.told = st.told || e.HasID
	case st.carrier == carrier:
		st.carrier = nil
	}
}

// append makes an event of data and keeps it if it can be asked for: if it has an
// id, or a reader is there. mu is held.
func (st *stream) append(data []byte, withID, last bool) event {
	e := event{offset: st.next, data: data, last: last}
	st.next++
	if withID && st.ids {
		st.sequence++
		e.sequence = st.sequence
		kind := tokenEvent
		if last {
			kind = tokenFinal
		}
		t := token{kind: kind, node: st.owner, stream: st.id, sequence: e.sequence, request: st.request}
		e.id = t.format(st.keys, st.session)
	}
	switch {
	case e.sequence > 0:
		st.keep(e)
	case st.reader > 0 && time.Now().Before(st.leased):
		st.keepTransient(e)
	}
	st.signal()
	return e
}

// keep puts an event with an id into the ring. mu is held.
func (st *stream) keep(e event) {
	for len(st.ring) >= maxStreamEvents || len(st.ring) > 0 && st.bytes+e.size() > maxStreamBytes {
		st.dropFirst()
	}
	if st.shared.Add(e.size()) > maxSessionBytes || !st.events.take(e.size()) {
		st.shared.Add(-e.size())
		st.lose(&e)
		return
	}
	st.ring = append(st.ring, e)
	st.bytes += e.size()
}

// keepTransient puts an event without an id into the ring, for a reader that is
// on its way to fetch it. mu is held.
func (st *stream) keepTransient(e event) {
	waiting := 0
	for i := range st.ring {
		if st.ring[i].sequence == 0 {
			waiting++
		}
	}
	if waiting >= transientPerLoop || len(st.ring) >= maxStreamEvents || st.bytes+e.size() > maxStreamBytes {
		return
	}
	if st.shared.Add(e.size()) > maxSessionBytes || !st.events.take(e.size()) {
		st.shared.Add(-e.size())
		return
	}
	st.ring = append(st.ring, e)
	st.bytes += e.size()
}

func (st *stream) dropFirst() {
	if st.ring[0].sequence > 0 {
		st.lose(&st.ring[0])
	}
	st.release(&st.ring[0])
	st.ring = st.ring[1:]
}

// lose notes that an event with an id cannot be read any more. mu is held.
func (st *stream) lose(e *event) {
	st.lost, st.torn = max(st.lost, e.sequence), max(st.torn, e.offset+1)
}

func (st *stream) release(e *event) {
	st.bytes -= e.size()
	st.shared.Add(-e.size())
	st.events.free(e.size())
}

// signal wakes the reader. mu is held.
func (st *stream) signal() {
	if st.wake != nil {
		close(st.wake)
		st.wake = nil
	}
}

// finish ends the stream with the answer, nil for none. It gives what the carrier
// of the POST is to write: nothing if a reader has taken over.
func (st *stream) finish(answer *mcp.Message) exchange.Answer {
	st.sending.Lock()
	defer st.sending.Unlock()
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.finished {
		return exchange.Answer{}
	}
	st.finished = true
	defer st.signal()
	if answer == nil {
		return exchange.Answer{}
	}
	if !st.opened {
		return exchange.Answer{Message: answer}
	}
	e := st.append(answer.Bytes(), true, true)
	if st.moved {
		return exchange.Answer{}
	}
	return exchange.Answer{Message: answer, EventID: e.id}
}

// discard frees the ring.
func (st *stream) discard() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.discarded = true
	for i := range st.ring {
		st.release(&st.ring[i])
	}
	st.ring = nil
	st.signal()
}

// resumable reports whether the client may come back for the rest.
func (st *stream) resumable() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.told && len(st.ring) > 0
}

// hangUp tells the client to come back, after at least retry, and gives its
// connection up.
func (st *stream) hangUp(retry time.Duration) {
	st.sending.Lock()
	defer st.sending.Unlock()
	st.mu.Lock()
	carrier := st.carrier
	st.moved = true
	st.mu.Unlock()
	st.send(carrier, sse.Event{Retry: retry})
	st.mu.Lock()
	st.carrier = nil
	st.mu.Unlock()
}

var (
	errFinished = fault.New(fault.MethodNotAllowed, "the stream of that event has come to its end").
			WithHint("nothing is to follow; open a stream without Last-Event-ID")
	errOvertaken = fault.New(fault.Conflict, "the stream is read by a newer connection")
	errTorn      = fault.New(fault.NotFound, "events of the stream behind that one are not kept any more")
)

// attach makes the caller the reader of the stream, behind the event of that
// sequence. Whoever got it before gets nothing more.
func (st *stream) attach(after uint64) (reader, offset uint64, err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	switch {
	case st.discarded || after < st.lost || after > st.sequence:
		return 0, 0, errTorn
	case st.finished && after == st.sequence:
		return 0, 0, errFinished
	}
	st.carrier, st.moved, st.opened, st.told = nil, true, true, true
	st.reader++
	st.attached, st.leased = st.next, time.Now().Add(readerLease)
	offset = st.next
	for i := range st.ring {
		if st.ring[i].sequence > after {
			offset = st.ring[i].offset
			break
		}
	}
	st.signal()
	return st.reader, offset, nil
}

// read gives the events from offset on, at least one and at most about maxBytes,
// waiting for them until ctx ends; done is set with the last of a stream that has
// finished. An error of ctx means that there was nothing.
func (st *stream) read(ctx context.Context, reader, offset uint64, maxBytes int64) (list []event, done bool, err error) {
	for {
		list, done, wake, err := st.tryRead(reader, offset, maxBytes)
		if len(list) > 0 || done || err != nil {
			return list, done, err
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return nil, false, ctx.Err()
		}
	}
}

func (st *stream) tryRead(reader, offset uint64, maxBytes int64) (list []event, done bool, wake chan struct{}, err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	switch {
	case reader != st.reader:
		return nil, false, nil, errOvertaken
	case st.discarded || offset < st.torn:
		return nil, false, nil, errTorn
	}
	st.leased = time.Now().Add(readerLease)
	st.forgetTransient(offset)
	var bytes int64
	for i := range st.ring {
		e := st.ring[i]
		if e.offset < offset || e.sequence == 0 && e.offset < st.attached {
			continue
		}
		if bytes += e.size(); len(list) > 0 && bytes > maxBytes {
			return list, false, nil, nil
		}
		list = append(list, e)
	}
	if st.finished {
		return list, true, nil, nil
	}
	if st.wake == nil {
		st.wake = make(chan struct{})
	}
	return list, false, st.wake, nil
}

// forgetTransient drops the events without an id that the reader has got. mu is
// held.
func (st *stream) forgetTransient(offset uint64) {
	kept := st.ring[:0]
	for i := range st.ring {
		if e := &st.ring[i]; e.sequence == 0 && e.offset < offset {
			st.release(e)
			continue
		}
		kept = append(kept, st.ring[i])
	}
	clear(st.ring[len(kept):])
	st.ring = kept
}
