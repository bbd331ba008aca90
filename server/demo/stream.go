package demo

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mcpraft/mcpraft/internal/sse"
	"github.com/mcpraft/mcpraft/server/mcp"
)

const (
	maxEvents    = 256              // of one stream that are kept for a reader that comes back
	keepAlive    = 15 * time.Second // silence before a comment
	writeTimeout = 10 * time.Second // for one event
)

// A stream is what one reader is to get: events that are kept for a while, so that
// the reader may come late or come back. It may be used by several goroutines.
type stream struct {
	name string // what its event ids begin with; "" gives events no id

	mu      sync.Mutex
	events  []sse.Event   // the newest, at most maxEvents
	next    int           // number of the next event; the first has 0
	done    bool          // nothing follows
	changed chan struct{} // closed when something was added, and replaced
}

func newStream(name string) *stream { return &stream{name: name, changed: make(chan struct{})} }

// send adds a message.
func (s *stream) send(m *mcp.Message) { s.add(sse.Event{Data: m.Bytes()}) }

// prime adds the empty event that gives a reader its first id.
func (s *stream) prime() { s.add(sse.Event{Data: []byte{}}) }

func (s *stream) add(e sse.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done {
		return
	}
	if s.name != "" {
		e.ID, e.HasID = s.name+"."+strconv.Itoa(s.next), true
	}
	if len(s.events) == maxEvents {
		s.events = append(s.events[:0], s.events[1:]...)
	}
	s.events = append(s.events, e)
	s.next++
	s.wake()
}

// finish adds the last message, if there is one, and ends the stream.
func (s *stream) finish(last *mcp.Message) {
	if last != nil {
		s.send(last)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done = true
	s.wake()
}

// wake tells the readers. The caller holds mu.
func (s *stream) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// from gives the events from number n on that are still kept, the number after
// them, whether the stream has ended with them, and what closes when there is more.
func (s *stream) from(n int) (events []sse.Event, next int, done bool, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	missing := max(s.next-n, 0)
	kept := s.events[len(s.events)-min(missing, len(s.events)):]
	return append([]sse.Event(nil), kept...), s.next, s.done, s.changed
}

// begun waits until there is an event, or the stream or the context has ended.
func (s *stream) begun(ctx context.Context) {
	for {
		events, _, done, changed := s.from(0)
		if len(events) > 0 || done {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// serve writes the stream from number n on, until it ends, the client is gone or
// stop closes. It gives the number of the first event that was not written.
func (s *stream) serve(w http.ResponseWriter, r *http.Request, n int, stop <-chan struct{}) int {
	out := newEventWriter(w)
	quiet := time.NewTimer(keepAlive)
	defer quiet.Stop()
	for {
		events, next, done, changed := s.from(n)
		for i, e := range events {
			if out.write(e) != nil {
				return next - len(events) + i
			}
		}
		if n = next; done {
			return n
		}
		quiet.Reset(keepAlive)
		select {
		case <-changed:
		case <-quiet.C:
			if out.write(sse.Event{Comment: "keep-alive"}) != nil {
				return n
			}
		case <-stop:
			return n
		case <-r.Context().Done():
			return n
		}
	}
}

// splitEventID gives the stream's name and the event's number.
func splitEventID(id string) (name string, number int, ok bool) {
	name, digits, found := strings.Cut(id, ".")
	number, err := strconv.Atoi(digits)
	return name, number, found && err == nil && number >= 0
}

// An eventWriter makes an HTTP response an event stream.
type eventWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
	buf     []byte
}

// newEventWriter sends the head of the response.
func newEventWriter(w http.ResponseWriter) *eventWriter {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	out := &eventWriter{w: w, control: http.NewResponseController(w)}
	out.control.Flush() // an error comes again with the first event
	return out
}

// write sends one event; an error means that the client is gone.
func (e *eventWriter) write(event sse.Event) error {
	e.buf = sse.Append(e.buf[:0], event)
	e.control.SetWriteDeadline(time.Now().Add(writeTimeout)) // not every carrier has one
	if _, err := e.w.Write(e.buf); err != nil {
		return err
	}
	return e.control.Flush()
}
