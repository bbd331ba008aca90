package frame

import (
	"context"
	"runtime/debug"
	"sync"
)

const (
	keepBody    = 64 << 10 // largest body buffer that is kept for reuse, bytes
	idleWorkers = 64       // workers of one connection that wait for the next call
)

// A Handler serves the calls of the peer.
type Handler interface {
	// ServeFrame answers one call. It is called from many goroutines, at most
	// Options.MaxConcurrent of a connection at once. ctx ends when the caller
	// gives up or the connection ends; the answer is dropped then. body is valid
	// until ServeFrame returns, and answer must not change afterwards.
	ServeFrame(ctx context.Context, op uint16, body []byte) (status uint8, answer []byte)
}

// A HandlerFunc is a function that serves as a Handler.
type HandlerFunc func(ctx context.Context, op uint16, body []byte) (status uint8, answer []byte)

// ServeFrame calls f.
func (f HandlerFunc) ServeFrame(ctx context.Context, op uint16, body []byte) (uint8, []byte) {
	return f(ctx, op, body)
}

// A request is a call of the peer, from its arrival to its answer.
type request struct {
	id   uint64
	op   uint16
	body []byte

	ctx       context.Context
	cancel    context.CancelFunc
	cancelled bool // by the caller; guarded by requests.mu
}

var requestPool = sync.Pool{New: func() any { return new(request) }}

func newRequest(h header) *request {
	r := requestPool.Get().(*request)
	r.id, r.op = h.id, h.op
	if cap(r.body) < h.size {
		r.body = make([]byte, h.size)
	}
	r.body = r.body[:h.size]
	return r
}

func (r *request) free() {
	if r.cancel != nil {
		r.cancel()
	}
	body := r.body[:0]
	if cap(body) > keepBody {
		body = nil
	}
	*r = request{body: body}
	requestPool.Put(r)
}

// requests is the serving half of a connection. The reader adds, workers take.
//
// A call stops running just before its answer is queued, because its caller may
// send the next one as soon as it sees the answer; it keeps its worker busy until
// the answer has found room.
type requests struct {
	queue chan *request // never full: its capacity is the most that may be running

	mu       sync.Mutex
	running  map[uint64]*request
	held     int           // bytes of the bodies of running
	busy     int           // requests admitted and not yet answered or dropped
	workers  int           // goroutines; busy ≤ workers, or workers is at its maximum
	draining chan struct{} // not nil: take nothing more; closed when busy is 0
}

func newRequests(maxInFlight int) requests {
	return requests{queue: make(chan *request, maxInFlight), running: make(map[uint64]*request)}
}

// admit makes room for a call with a body of size bytes, or says why not. Only
// the reader admits, and begins what it admitted before the next.
func (c *Conn) admit(size int) reason {
	if c.o.Handler == nil {
		return reasonNone
	}
	s := &c.requests
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.draining != nil:
		return reasonDraining
	case len(s.running) >= c.o.MaxInFlight, s.held > 0 && s.held+size > c.o.MaxBuffered:
		return reasonBusy
	default:
		s.busy++
		s.held += size
		return 0
	}
}

// begin hands an admitted call to a worker. It reports false if its id is
// running already.
func (c *Conn) begin(ctx context.Context, r *request) bool {
	if c.o.CallTimeout > 0 {
		r.ctx, r.cancel = context.WithTimeout(ctx, c.o.CallTimeout)
	} else {
		r.ctx, r.cancel = context.WithCancel(ctx)
	}
	s := &c.requests
	s.mu.Lock()
	if _, ok := s.running[r.id]; ok {
		s.mu.Unlock()
		return false
	}
	s.running[r.id] = r
	spawn := s.busy > s.workers && s.workers < c.o.MaxConcurrent
	if spawn {
		s.workers++
	}
	s.mu.Unlock()
	s.queue <- r
	if spawn {
		c.wg.Go(c.work)
	}
	return true
}

// cancelRequest tells the handler of id, if it is still running, that its caller
// has gone away.
func (c *Conn) cancelRequest(id uint64) {
	s := &c.requests
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.running[id]; r != nil {
		r.cancelled = true
		r.cancel()
	}
}

// work serves requests until the connection ends or too many workers idle.
func (c *Conn) work() {
	for r := range c.requests.queue {
		c.serve(r)
		if c.retire() {
			return
		}
	}
}

// retire ends the busy time of a worker and reports whether it shall exit.
func (c *Conn) retire() bool {
	s := &c.requests
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy--
	if s.busy == 0 && s.draining != nil {
		close(s.draining)
	}
	if s.workers-s.busy <= idleWorkers {
		return false
	}
	s.workers--
	return true
}

func (c *Conn) serve(r *request) {
	answer := header{id: r.id, op: r.op, flags: flagAnswer}
	var body []byte
	if r.ctx.Err() != context.Canceled { // one that is out of time says so itself
		answer, body = c.handle(r, answer)
	}
	s := &c.requests
	s.mu.Lock()
	delete(s.running, r.id)
	s.held -= len(r.body)
	if r.cancelled {
		answer, body = answer.because(reasonCancelled), nil
	}
	s.mu.Unlock()
	// An error here is the end of the connection, which Run reports.
	_ = c.out.put(context.Background(), answer, body)
	r.free()
}

// handle lets the handler complete the answer h.
func (c *Conn) handle(r *request, h header) (answer header, body []byte) {
	if c.o.Panicked != nil {
		defer func() {
			if v := recover(); v != nil {
				c.o.Panicked(r.op, v, debug.Stack())
				answer, body = h.because(reasonPanic), nil
			}
		}()
	}
	h.status, body = c.o.Handler.ServeFrame(r.ctx, r.op, r.body)
	if len(body) > c.o.MaxBody {
		return h.because(reasonAnswer), nil
	}
	return h, body
}

// drain stops taking calls and returns a channel that closes when none is left.
func (s *requests) drain() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining == nil {
		s.draining = make(chan struct{})
		if s.busy == 0 {
			close(s.draining)
		}
	}
	return s.draining
}
