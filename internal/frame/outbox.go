package frame

import (
	"context"
	"sync"
)

// keepBuffer is the largest buffer, in bytes, that an idle connection keeps.
const keepBuffer = 256 << 10

// An outbox is the queue between many senders and the one writer: frames are
// appended to a buffer, which the writer takes whole.
type outbox struct {
	limit int           // bytes; a frame enters an empty buffer whatever its size
	wake  chan struct{} // capacity 1; tells the writer that there is something

	mu      sync.Mutex
	buf     []byte        // complete frames, in order
	spare   []byte        // what the writer gave back, empty
	writing bool          // the writer holds a buffer
	change  chan struct{} // closed when room appears or the end comes; nil if nobody waits
	err     error         // not nil after the end
}

func newOutbox(limit int) *outbox {
	return &outbox{limit: limit, wake: make(chan struct{}, 1)}
}

// put queues a frame, waiting for room until ctx or the connection ends. The
// body is copied.
func (o *outbox) put(ctx context.Context, h header, body []byte) error {
	for {
		o.mu.Lock()
		if o.err != nil {
			defer o.mu.Unlock()
			return o.err
		}
		if len(o.buf) == 0 || len(o.buf)+headerSize+len(body) <= o.limit {
			o.buf = h.append(o.buf, body)
			o.mu.Unlock()
			o.ring()
			return nil
		}
		change := o.changeLocked()
		o.mu.Unlock()
		select {
		case <-change:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// putControl queues a frame without a body and without waiting for room. That
// stays bounded: a cancel follows a call that did find room, and pings keep a
// slow beat that ends with the connection.
func (o *outbox) putControl(h header) {
	o.mu.Lock()
	if o.err == nil {
		o.buf = h.append(o.buf, nil)
	}
	o.mu.Unlock()
	o.ring()
}

func (o *outbox) ring() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// take gives the writer everything that is queued, nil if that is nothing. The
// writer hands the buffer back to done before it takes the next.
func (o *outbox) take() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.buf) == 0 {
		return nil
	}
	buf := o.buf
	o.buf, o.spare = o.spare, nil
	o.writing = true
	o.changedLocked()
	return buf
}

func (o *outbox) done(buf []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if cap(buf) <= keepBuffer {
		o.spare = buf[:0]
	}
	o.writing = false
	o.changedLocked()
}

// flush waits until everything queued so far has been written.
func (o *outbox) flush(ctx context.Context) error {
	for {
		o.mu.Lock()
		if o.err != nil || len(o.buf) == 0 && !o.writing {
			defer o.mu.Unlock()
			return o.err
		}
		change := o.changeLocked()
		o.mu.Unlock()
		select {
		case <-change:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// close ends the outbox: what is queued is dropped, who waits gets err.
func (o *outbox) close(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.err, o.buf, o.spare = err, nil, nil
	o.changedLocked()
}

func (o *outbox) changeLocked() <-chan struct{} {
	if o.change == nil {
		o.change = make(chan struct{})
	}
	return o.change
}

func (o *outbox) changedLocked() {
	if o.change != nil {
		close(o.change)
		o.change = nil
	}
}
