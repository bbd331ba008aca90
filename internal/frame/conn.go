package frame

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const (
	readBuffer = 64 << 10  // bytes
	writeChunk = 256 << 10 // bytes that WriteTimeout is given for
)

// Options of a connection. The zero value is a client with the default limits.
type Options struct {
	// Handler serves the calls of the peer; nil refuses them.
	Handler Handler

	// MaxBody is the largest body in bytes, of a call or an answer, that is sent
	// or taken. A larger one from the peer ends the connection. 0 means 1 MiB.
	MaxBody int

	// MaxInFlight is the most calls of ours that wait for answers (more wait for
	// their turn) and the most of the peer's that run or wait for a handler (more
	// are refused with ErrBusy). Both ends should have the same. 0 means 1,024.
	MaxInFlight int

	// MaxConcurrent is the most handlers that run at once. 0 means MaxInFlight.
	MaxConcurrent int

	// MaxBuffered is the most bytes of frames that wait to be sent, and of bodies
	// that the peer has sent and that are not answered. 0 means 16 MiB; it is at
	// least room for one frame.
	MaxBuffered int

	// IdleTimeout ends a connection on which nothing was received for so long. A
	// quarter of it after the last frame the peer is asked for a sign of life, so
	// that an unused connection to a living peer stays. 0 means 30 s.
	IdleTimeout time.Duration

	// WriteTimeout ends a connection whose peer takes longer than this to read
	// 256 KiB. 0 means 10 s.
	WriteTimeout time.Duration

	// CallTimeout ends the context of a handler that takes longer than this. 0
	// means never.
	CallTimeout time.Duration

	// Panicked is told the operation, value and stack of a handler that panicked;
	// the caller gets ErrHandler and the connection goes on. nil lets the panic
	// end the process.
	Panicked func(op uint16, value any, stack []byte)
}

func (o Options) withDefaults() Options {
	o.MaxBody = or(o.MaxBody, 1<<20)
	o.MaxInFlight = or(o.MaxInFlight, 1024)
	o.MaxConcurrent = or(o.MaxConcurrent, o.MaxInFlight)
	o.MaxBuffered = max(or(o.MaxBuffered, 16<<20), o.MaxBody+headerSize)
	o.IdleTimeout = or(o.IdleTimeout, 30*time.Second)
	o.WriteTimeout = or(o.WriteTimeout, 10*time.Second)
	return o
}

func or[T int | time.Duration](v, fallback T) T {
	if v > 0 {
		return v
	}
	return fallback
}

// A Conn is one end of a connection. Call, Close and Shutdown may be used by any
// number of goroutines at once.
type Conn struct {
	o  Options
	nc net.Conn

	calls    calls
	requests requests
	out      *outbox
	received atomic.Uint64 // reads that brought bytes; the watch looks for change

	wg    sync.WaitGroup // the writer, the watch and the workers; Run waits
	once  sync.Once      // guards err and the closing of ended
	err   error          // why the connection ended
	ended chan struct{}

	runs    atomic.Bool
	stopped chan struct{} // closed when Run returns
}

// NewConn makes a connection over nc, which it owns from now on. Nothing is sent
// or received until Run.
func NewConn(nc net.Conn, o Options) *Conn {
	o = o.withDefaults()
	return &Conn{
		o:        o,
		nc:       nc,
		calls:    newCalls(o.MaxInFlight),
		requests: newRequests(o.MaxInFlight),
		out:      newOutbox(o.MaxBuffered),
		ended:    make(chan struct{}),
		stopped:  make(chan struct{}),
	}
}

// Run serves the connection until ctx ends, either end closes it, or a limit is
// broken. It then waits for its handlers, whose context has ended, and returns
// why: nil after Close or Shutdown, else an error of this package or the cause of
// ctx. It is called once.
func (c *Conn) Run(ctx context.Context) error {
	if c.runs.Swap(true) {
		return errors.New("frame: Run called twice")
	}
	defer close(c.stopped)
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(ctx, func() { c.end(context.Cause(ctx)) })

	c.wg.Go(c.write)
	c.wg.Go(c.watch)
	c.end(c.read(ctx))

	stop()
	cancel(c.err)
	close(c.requests.queue)
	c.wg.Wait()
	if errors.Is(c.err, ErrClosed) {
		return nil
	}
	return c.err
}

// Close ends the connection at once: calls in flight fail with ErrClosed, the
// contexts of handlers end. It returns when Run has. A handler must not call it.
func (c *Conn) Close() error {
	c.end(ErrClosed)
	if c.runs.Load() {
		<-c.stopped
	}
	return nil
}

// Shutdown refuses new calls of the peer with ErrDraining, waits until those that
// run are answered and the answers are sent, and closes the connection. If ctx
// ends first the connection is closed at once and the error is the cause of ctx.
func (c *Conn) Shutdown(ctx context.Context) error {
	defer c.Close()
	select {
	case <-c.requests.drain():
	case <-c.ended:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err := c.out.flush(ctx); err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// Done is closed when the connection has ended; calls fail from then on.
func (c *Conn) Done() <-chan struct{} { return c.ended }

// Err is why the connection ended: nil while it lives, ErrClosed after Close.
func (c *Conn) Err() error {
	select {
	case <-c.ended:
		return c.err
	default:
		return nil
	}
}

// end is the one way a connection ends. The first reason stands.
func (c *Conn) end(err error) {
	c.once.Do(func() {
		c.err = err
		close(c.ended)
		c.nc.Close() // the only use of its error would be to hide err
		c.out.close(err)
		c.calls.fail(err)
	})
}

// read handles frames in the order of their arrival until the connection ends.
func (c *Conn) read(ctx context.Context) error {
	r := bufio.NewReaderSize(reader{c}, readBuffer)
	for {
		head, err := r.Peek(headerSize)
		if err != nil {
			return gone(err, len(head))
		}
		h, err := parseHeader(head, c.o.MaxBody)
		if err != nil {
			return err
		}
		_, _ = r.Discard(headerSize) // it is buffered
		if err := c.receive(ctx, h, r); err != nil {
			return err
		}
	}
}

// A reader reads from the network and notes that the peer lives.
type reader struct{ c *Conn }

func (r reader) Read(p []byte) (int, error) {
	n, err := r.c.nc.Read(p)
	if n > 0 {
		r.c.received.Add(1)
	}
	return n, err
}

func (c *Conn) receive(ctx context.Context, h header, r *bufio.Reader) error {
	switch {
	case h.flags == flagCancel:
		c.cancelRequest(h.id)
		return nil
	case h.flags == flagPing:
		return c.out.put(ctx, h.answer(), nil)
	case h.flags == flagPing|flagAnswer:
		return nil // that it came is all there is to know
	case h.flags&flagAnswer != 0:
		return c.receiveAnswer(h, r)
	default:
		return c.receiveCall(ctx, h, r)
	}
}

func (c *Conn) receiveAnswer(h header, r *bufio.Reader) error {
	var body []byte
	if h.size > 0 {
		body = make([]byte, h.size)
		if n, err := io.ReadFull(r, body); err != nil {
			return gone(err, headerSize+n)
		}
	}
	if !c.calls.finish(h, body) {
		return fmt.Errorf("%w: an answer to %d, which was not asked or is answered", ErrProtocol, h.id)
	}
	return nil
}

// receiveCall takes a call or refuses it. A refusal waits for room to send it, so
// that a peer that does not read is not read from either.
func (c *Conn) receiveCall(ctx context.Context, h header, r *bufio.Reader) error {
	if why := c.admit(h.size); why != 0 {
		if n, err := r.Discard(h.size); err != nil {
			return gone(err, headerSize+n)
		}
		return c.out.put(ctx, h.answer().because(why), nil)
	}
	q := newRequest(h)
	if n, err := io.ReadFull(r, q.body); err != nil {
		return gone(err, headerSize+n)
	}
	if !c.begin(ctx, q) {
		return fmt.Errorf("%w: two calls with id %d at once", ErrProtocol, h.id)
	}
	return nil
}

// gone says how the stream of the peer ended, n bytes into a frame.
func gone(err error, n int) error {
	if n > 0 && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)) {
		err = fmt.Errorf("%d bytes into a frame: %w", n, io.ErrUnexpectedEOF)
	}
	return fmt.Errorf("%w: %w", ErrPeerGone, err)
}

// write sends what is queued until the connection ends.
func (c *Conn) write() {
	for {
		select {
		case <-c.out.wake:
		case <-c.ended:
			return
		}
		// Let those who are ready to run add their frames to this write. With 256
		// callers that is worth a factor of four in calls per second.
		runtime.Gosched()
		buf := c.out.take()
		if buf == nil {
			continue // the last write had it
		}
		if err := c.send(buf); err != nil {
			c.end(err)
			return
		}
		c.out.done(buf)
	}
}

func (c *Conn) send(buf []byte) error {
	for len(buf) > 0 {
		chunk := buf[:min(len(buf), writeChunk)]
		_ = c.nc.SetWriteDeadline(time.Now().Add(c.o.WriteTimeout)) // its error is that of the write
		n, err := c.nc.Write(chunk)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("%w: %d bytes not taken within %v", ErrStalled, len(chunk)-n, c.o.WriteTimeout)
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrPeerGone, err)
		}
		buf = buf[n:]
	}
	return nil
}

// watch pings a silent peer and gives it up after IdleTimeout.
func (c *Conn) watch() {
	const signs = 4 // per IdleTimeout
	tick := time.NewTicker(c.o.IdleTimeout / signs)
	defer tick.Stop()
	seen, silent := c.received.Load(), 0
	for {
		select {
		case <-tick.C:
		case <-c.ended:
			return
		}
		if now := c.received.Load(); now != seen {
			seen, silent = now, 0
			continue
		}
		if silent++; silent == signs {
			c.end(ErrSilent)
			return
		}
		c.out.putControl(header{flags: flagPing})
	}
}
