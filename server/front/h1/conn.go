package h1

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"sync/atomic"
	"time"
)

const (
	// bufferSize is that of the buffer which a connection reads into. It grows for a
	// longer head, and shrinks behind it.
	bufferSize = 4 << 10

	// lingerFor is how long a connection is read to no purpose after its last answer,
	// if the client was still sending: closing at once could take the answer from it.
	lingerFor = 500 * time.Millisecond
)

// States of a connection, as whoever stops the server sees it.
const (
	idle   int32 = iota // no byte of a request has come
	busy                // a request is read, or answered
	closed              // by Shutdown, while it was idle
)

// A conn is a connection in the lane. It belongs to the goroutine of serve; state
// and cancel may be used by any.
type conn struct {
	s      *Server
	nc     net.Conn
	ctx    context.Context // of all its requests: there is one at a time
	cancel context.CancelCauseFunc
	state  atomic.Int32

	buf      []byte
	r, w     int  // buf[r:w] was read, and is not used yet
	deadline bool // nc has that of a body
	handed   bool // nc is net/http's now

	head  head          // the newest
	req   *http.Request // with that head
	body  body
	res   response
	watch watch
}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{s: s, nc: nc, buf: make([]byte, bufferSize)}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	c.res = response{c: c, header: make(http.Header)}
	c.watch.init(c)
	return c
}

// serve answers the requests of the connection until it ends, or is handed to
// net/http with one that is not for the lane.
func (c *conn) serve() {
	for c.readHead() {
		if !c.answer() {
			break
		}
		c.shrink()
		c.state.Store(idle)
		if c.s.draining.Load() {
			break
		}
	}
	c.cancel(nil)
	if !c.handed {
		c.nc.Close()
	}
}

// readHead reads a head; it reports false if there is none to be answered here.
func (c *conn) readHead() bool {
	if c.r == c.w {
		_ = c.nc.SetReadDeadline(time.Now().Add(c.s.net.IdleTimeout))
		if !c.fill() {
			return false
		}
	}
	if !c.state.CompareAndSwap(idle, busy) {
		return false
	}
	line, v := c.look(0)
	if v == incomplete { // once: whoever sends byte by byte has no more time than others
		_ = c.nc.SetReadDeadline(time.Now().Add(c.s.net.ReadHeaderTimeout))
	}
	for v == incomplete {
		if !c.fill() {
			return false
		}
		line, v = c.look(line)
	}
	if v == unusual {
		c.hand()
	}
	return v == complete
}

// look examines what was read of a head, behind the lines that an earlier look was
// done with. A complete one is parsed, unless it is the one before once more: that
// is what clients send.
func (c *conn) look(line int) (next int, v verdict) {
	b := c.buf[c.r:c.w]
	if n := len(c.head.raw); n > 0 && bytes.HasPrefix(b, c.head.raw) {
		c.r += n
		return 0, complete
	}
	if !plausible(b) {
		return 0, unusual
	}
	next, v = findEnd(b, line)
	if v != complete {
		return next, v
	}
	h, ok := parseHead(b[:next])
	if !ok {
		return 0, unusual
	}
	c.r += next
	c.head, c.req = h, c.request(&h)
	return 0, complete
}

// request is what the handler gets for h.
func (c *conn) request(h *head) *http.Request {
	r := &http.Request{
		Method: http.MethodPost, URL: &url.URL{Path: h.path}, RequestURI: h.path,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h.header, Host: h.host, ContentLength: h.length, RemoteAddr: c.nc.RemoteAddr().String(),
	}
	return r.WithContext(c.ctx)
}

// answer lets the handler answer the request whose head was read, and reports
// whether the connection goes on.
func (c *conn) answer() bool {
	c.body, c.deadline = body{c: c, left: c.head.length}, false
	c.req.Body = &c.body
	c.res.reset()
	if c.head.length == 0 {
		c.watch.arm()
	}
	ok := c.handle() && c.res.finish()
	if !c.watch.disarm() {
		return false
	}
	if !ok && c.body.left > 0 && c.body.err == nil {
		c.linger()
	}
	return ok
}

// handle calls the handler. After a panic there is no answer: what was to come of
// it nobody knows.
func (c *conn) handle() (ok bool) {
	defer func() {
		if p := recover(); p != nil && p != http.ErrAbortHandler {
			c.s.log("h1: panic serving %v: %v\n%s", c.req.RemoteAddr, p, debug.Stack())
		}
	}()
	c.s.net.Handler.ServeHTTP(&c.res, c.req)
	return true
}

// hand gives the connection to net/http, with what was read of it.
func (c *conn) hand() {
	_ = c.nc.SetReadDeadline(time.Time{})
	c.handed = c.s.rest.hand(c.nc, c.buf[c.r:c.w])
}

func (c *conn) linger() {
	half, ok := c.nc.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	_ = c.nc.SetReadDeadline(time.Now().Add(lingerFor))
	_, _ = io.Copy(io.Discard, c.nc) // ends by the deadline
}

// read reads from the buffer, then from the connection.
func (c *conn) read(p []byte) (int, error) {
	if c.r < c.w {
		n := copy(p, c.buf[c.r:c.w])
		c.r += n
		return n, nil
	}
	return c.nc.Read(p)
}

// fill reads more of a head, and reports whether there is more.
func (c *conn) fill() bool {
	switch {
	case c.r == c.w:
		c.r, c.w = 0, 0
	case c.w == len(c.buf) && c.r > 0:
		c.r, c.w = 0, copy(c.buf, c.buf[c.r:c.w])
	case c.w == len(c.buf): // findEnd lets no head grow beyond MaxHead
		c.buf = append(c.buf, make([]byte, len(c.buf))...)
	}
	n, err := c.nc.Read(c.buf[c.w:])
	c.w += n
	return n > 0 || err == nil
}

// shrink gives a large buffer back.
func (c *conn) shrink() {
	if len(c.buf) > bufferSize && c.w-c.r <= bufferSize {
		buf := make([]byte, bufferSize)
		c.r, c.w, c.buf = 0, copy(buf, c.buf[c.r:c.w]), buf
	}
}
