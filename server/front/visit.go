package front

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/mcpraft/mcpraft/internal/sse"
	"github.com/mcpraft/mcpraft/server/exchange"
	"github.com/mcpraft/mcpraft/server/mcp"
)

// A visit is one HTTP request on its way through the front, and the
// exchange.Stream of its answer.
type visit struct {
	f     *Front
	w     http.ResponseWriter
	r     *http.Request
	rc    *http.ResponseController
	began time.Time

	// What admission found. Written by the request's goroutine before the handler
	// is called.
	id      string // of the request
	place   place
	alias   string
	token   string            // that the caller showed
	epoch   uint64            // of the front, before the caller was known
	request *exchange.Request // nil until the caller is known
	rpc     mcp.ID            // of the message that waits for an answer; "" if none does
	label   string            // what is counted: the method of the message, else that of HTTP

	// What became of it.
	status   int
	err      error // that it was refused with
	received int   // bytes of the body

	mu       sync.Mutex // guards what follows, and w from the handler's call on
	streamed bool       // the answer is an event stream
	ended    bool       // nothing may be written any more
	failed   error      // why nothing more can be written
	sent     int        // bytes
	last     time.Time  // of the newest event
	keep     *time.Timer
	expiry   *time.Timer
	cancel   context.CancelCauseFunc // of the handler's context
}

var (
	errEnded = errors.New("the answer is complete")

	contentEvents = []string{"text/event-stream"}
	noTransform   = []string{"no-cache, no-transform"}
	unbuffered    = []string{"no"}
)

// context is that of the handler: it ends with the request, and when its stream
// is cut.
func (v *visit) context() (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(v.r.Context())
	v.cancel = cancel
	return ctx, cancel
}

// Send writes one event; see exchange.Stream.
func (v *visit) Send(e sse.Event) error {
	if v.request.JSONOnly {
		return nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.openLocked(); err != nil {
		return err
	}
	return v.write(e)
}

// open makes the answer an event stream, if it is not one.
func (v *visit) open() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.openLocked(); err != nil {
		return nil // gone, or complete: there is nobody to tell
	}
	return nil
}

func (v *visit) openLocked() error {
	switch {
	case v.failed != nil:
		return v.failed
	case v.ended:
		return errEnded
	case v.streamed:
		return nil
	}
	v.streamed, v.status = true, http.StatusOK
	h := v.w.Header()
	h["Content-Type"] = contentEvents
	h["Cache-Control"] = noTransform
	h["X-Accel-Buffering"] = unbuffered
	v.w.WriteHeader(http.StatusOK)
	v.last = time.Now()
	v.keep = time.AfterFunc(exchange.KeepAlive, v.keepAlive)
	if expires := v.request.Caller.Expires; !expires.IsZero() {
		v.expiry = time.AfterFunc(time.Until(expires), func() { v.cancel(errExpired) })
	}
	v.f.streams.opened(v)
	if v.epoch != v.f.epoch.Load() {
		v.f.wake()
	}
	return nil
}

// write sends e, which must be taken within eventTimeout.
func (v *visit) write(e sse.Event) error {
	b := buffers.Get().(*[]byte)
	*b = sse.Append((*b)[:0], e)
	v.deadline(eventTimeout)
	n, err := v.w.Write(*b)
	if err == nil {
		err = v.rc.Flush()
	}
	_ = v.rc.SetWriteDeadline(time.Time{}) // over HTTP/2 one that passes ends even a silent stream
	recycle(b)
	v.sent += n
	v.last = time.Now()
	if err != nil {
		v.failed = fmt.Errorf("the client does not take the stream: %w", err)
		v.cancel(v.failed)
	}
	return v.failed
}

// keepAlive sends a comment when the stream has been silent for so long, and
// comes back when it may have been again.
func (v *visit) keepAlive() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.ended || v.failed != nil {
		return
	}
	wait := exchange.KeepAlive - time.Since(v.last)
	if wait <= 0 {
		if v.write(sse.Event{Comment: "keep-alive"}) != nil {
			return
		}
		wait = exchange.KeepAlive
	}
	v.keep.Reset(wait)
}

// end makes every later Send an error. It is the last that happens to v.
func (v *visit) end() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.ended = true
	if !v.streamed {
		return
	}
	v.keep.Stop()
	if v.expiry != nil {
		v.expiry.Stop()
	}
	v.deadline(eventTimeout) // for the end of the body
	v.f.streams.closed(v)
}

// deadline gives the client d to take what is written next. Over HTTP/1.1 it
// outlives the request, so every way to write sets its own.
func (v *visit) deadline(d time.Duration) {
	_ = v.rc.SetWriteDeadline(time.Now().Add(d)) // not every carrier of a test has one
}

// expectContinue keeps the deadline of an earlier request of the connection from
// cutting the interim answer that reading the body sends.
func (v *visit) expectContinue() {
	if v.r.Header["Expect"] != nil {
		v.deadline(bodyTimeout)
	}
}

// buffers are for events on their way out.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

const maxRecycled = 64 << 10 // bytes of a buffer that is kept

func recycle(b *[]byte) {
	if cap(*b) <= maxRecycled {
		buffers.Put(b)
	}
}
