package upstream

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	maxWireBody = 64 << 10 // bytes of a body that is written before anything is read
	maxInterim  = 5        // informational answers before the real one
	maxKeptOut  = 8 << 10  // bytes of a request's buffer that an idle connection keeps
)

// A wire is a carrier over plain HTTP/1.1 to one host, with connections of its own:
// whoever sends a request writes and reads on its own goroutine, where net/http has
// two more for each connection, and three hand-overs for each request. It does what
// nearly all calls are; the rest is netCarrier's, see httpCarrier.
//
// Before a connection is used again it is looked at: one that the upstream has
// closed, or on which it has said something that nobody asked for, is replaced.
// What breaks afterwards is never repeated. Connections end when they were idle for
// keepAlive, or a second before the time that the upstream has announced.
type wire struct {
	dial      dialFunc
	addr      string // host:port
	size      int    // idle connections
	keepAlive time.Duration

	mu     sync.Mutex // nothing blocks under it
	idle   []*wireConn
	sweep  *time.Timer // runs while idle is not empty
	closed bool
}

func newWire(dial dialFunc, addr string, g *gate) *wire {
	w := &wire{dial: dial, addr: addr, size: g.size, keepAlive: g.keepAlive}
	w.sweep = time.AfterFunc(time.Hour, w.expire)
	w.sweep.Stop()
	return w
}

// A wireConn is a connection with at most one exchange on it, and then used by its
// goroutine alone, but for abort.
type wireConn struct {
	w     *wire
	nc    net.Conn
	raw   syscall.RawConn // nil: it cannot be looked at, and is not used again
	r     *bufio.Reader
	out   []byte
	keys  []string
	until time.Time // end of an idle one

	left int  // bytes that the head may still have; below 0: a body is read
	dry  bool // nothing is read but what is here already
}

var (
	errLargeHead = errors.New("the head of the answer is above the limit")
	errDry       = errors.New("there is more to come")
	errInterim   = errors.New("too many informational answers")
)

// Read reads from the network, for the bufio.Reader.
func (c *wireConn) Read(p []byte) (int, error) {
	switch {
	case c.dry:
		return 0, errDry
	case c.left == 0:
		return 0, errLargeHead
	case c.left > 0:
		n, err := c.nc.Read(p[:min(len(p), c.left)])
		c.left -= n
		return n, err
	}
	return c.nc.Read(p)
}

// abort ends what is read or written.
func (c *wireConn) abort() { _ = c.nc.SetDeadline(time.Unix(1, 0)) }

func (w *wire) send(ctx context.Context, r *request) (*response, error) {
	for {
		c, used, err := w.take(ctx)
		if err != nil {
			return nil, err
		}
		stop := context.AfterFunc(ctx, c.abort)
		res, err := c.exchange(r)
		if err == nil {
			return w.response(ctx, c, stop, res), nil
		}
		stop()
		c.nc.Close()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if _, unsent := errors.AsType[*notSentError](err); !unsent || !used {
			return nil, err
		}
	}
}

// take gives an idle connection that is good, or a new one.
func (w *wire) take(ctx context.Context) (c *wireConn, used bool, err error) {
	for c := w.pop(); c != nil; c = w.pop() {
		if time.Now().Before(c.until) && silent(c.raw) {
			return c, true, nil
		}
		c.nc.Close()
	}
	nc, err := w.dial(ctx, "tcp", w.addr)
	if err != nil {
		return nil, false, err
	}
	c = &wireConn{w: w, nc: nc, raw: rawConn(nc)}
	c.r = bufio.NewReaderSize(c, readBufferBytes)
	return c, false, nil
}

// pop takes the connection that was used last: the others may go.
func (w *wire) pop() *wireConn {
	w.mu.Lock()
	defer w.mu.Unlock()
	last := len(w.idle) - 1
	if last < 0 {
		return nil
	}
	c := w.idle[last]
	w.idle[last] = nil
	w.idle = w.idle[:last]
	return c
}

// put keeps a connection whose exchange is complete.
func (w *wire) put(c *wireConn) {
	if cap(c.out) > maxKeptOut {
		c.out = nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || len(w.idle) >= w.size {
		c.nc.Close()
		return
	}
	if len(w.idle) == 0 {
		w.sweep.Reset(w.keepAlive)
	}
	w.idle = append(w.idle, c)
}

// expire closes what was idle for too long.
func (w *wire) expire() {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	w.idle = slices.DeleteFunc(w.idle, func(c *wireConn) bool {
		if now.Before(c.until) {
			return false
		}
		c.nc.Close()
		return true
	})
	if len(w.idle) > 0 {
		w.sweep.Reset(w.keepAlive / 2)
	}
}

// closeIdle closes what is idle, and has the rest closed when it is returned.
func (w *wire) closeIdle() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.sweep.Stop()
	for _, c := range w.idle {
		c.nc.Close()
	}
	w.idle = nil
}

// methods are what http.ReadResponse wants to know of a request.
var methods = map[string]*http.Request{
	http.MethodPost:   {Method: http.MethodPost},
	http.MethodGet:    {Method: http.MethodGet},
	http.MethodDelete: {Method: http.MethodDelete},
}

// exchange writes the request and reads the head of its answer.
func (c *wireConn) exchange(r *request) (*http.Response, error) {
	if err := c.write(r); err != nil {
		return nil, err
	}
	c.left = maxHeaderBytes
	defer func() { c.left = -1 }()
	for range maxInterim {
		res, err := http.ReadResponse(c.r, methods[r.method])
		if err == nil && res.StatusCode == http.StatusSwitchingProtocols {
			return nil, errGarbage
		}
		if err != nil || res.StatusCode >= http.StatusOK {
			return res, err
		}
	}
	return nil, errInterim
}

// write writes the request at once.
func (c *wireConn) write(r *request) error {
	c.out = append(append(c.out[:0], r.method...), ' ')
	c.out = append(append(c.out, r.url.RequestURI()...), " HTTP/1.1\r\nHost: "...)
	c.out = append(append(c.out, r.url.Host...), "\r\n"...)
	c.keys = c.keys[:0]
	for key := range r.header {
		c.keys = append(c.keys, key)
	}
	slices.Sort(c.keys)
	for _, key := range c.keys {
		for _, value := range r.header[key] {
			if strings.ContainsAny(value, "\r\n\x00") {
				return &notSentError{errors.New("a header has a value with a line break in it: " + key)}
			}
			c.out = append(append(append(c.out, key...), ": "...), value...)
			c.out = append(c.out, "\r\n"...)
		}
	}
	if r.method == http.MethodPost || len(r.body) > 0 {
		c.out = append(c.out, "Content-Length: "...)
		c.out = append(strconv.AppendInt(c.out, int64(len(r.body)), 10), "\r\n"...)
	}
	c.out = append(append(c.out, "\r\n"...), r.body...)
	n, err := c.nc.Write(c.out)
	if err != nil && n == 0 {
		return &notSentError{err}
	}
	return err
}

// response gives the answer away. The connection comes back with the end of the
// body.
func (w *wire) response(ctx context.Context, c *wireConn, stop func() bool, res *http.Response) *response {
	b := &wireBody{ctx: ctx, c: c, from: res.Body, stop: stop, keep: w.stays(c, res)}
	if res.ContentLength == 0 {
		b.release(true)
	}
	return &response{status: res.StatusCode, header: res.Header, length: res.ContentLength, body: b}
}

// stays reports whether c may be used after this answer, and notes until when.
func (w *wire) stays(c *wireConn, res *http.Response) bool {
	idle := w.keepAlive
	if announced, ok := announcedIdle(res.Header.Get("Keep-Alive")); ok {
		idle = min(idle, announced-time.Second)
	}
	c.until = time.Now().Add(idle)
	return !res.Close && c.raw != nil && idle > 0
}

// announcedIdle reads the time after which an upstream closes idle connections.
func announcedIdle(value string) (time.Duration, bool) {
	for parameter := range strings.SplitSeq(value, ",") {
		name, seconds, _ := strings.Cut(strings.TrimSpace(parameter), "=")
		if n, err := strconv.ParseUint(seconds, 10, 16); err == nil && strings.EqualFold(name, "timeout") {
			return time.Duration(n) * time.Second, true
		}
	}
	return 0, false
}

// A wireBody is the body of an answer, with the connection that it comes by.
type wireBody struct {
	ctx  context.Context
	c    *wireConn // nil: given back
	from io.ReadCloser
	stop func() bool
	keep bool
}

func (b *wireBody) Read(p []byte) (int, error) {
	if b.c == nil {
		return 0, io.EOF
	}
	n, err := b.from.Read(p)
	switch {
	case err == nil:
	case err == io.EOF:
		b.release(true)
	default:
		b.release(false)
		if b.ctx.Err() != nil {
			err = context.Cause(b.ctx)
		}
	}
	return n, err
}

// Close gives the connection back, also if what is left of the body is here
// already: the end of a stream comes with its last event.
func (b *wireBody) Close() error {
	if b.c == nil {
		return nil
	}
	b.c.dry = true
	var rest [512]byte
	var err error
	for err == nil {
		_, err = b.from.Read(rest[:])
	}
	b.release(err == io.EOF)
	return nil
}

// release ends the exchange; complete says that its answer was read.
func (b *wireBody) release(complete bool) {
	c := b.c
	b.c = nil
	untouched := b.stop()
	c.dry = false
	if complete && untouched && b.keep && c.r.Buffered() == 0 {
		c.w.put(c)
		return
	}
	c.nc.Close()
}
