package frame

import (
	"context"
	"fmt"
	"sync"
)

// calls is the calling half of a connection: what was asked and not yet answered.
type calls struct {
	slots chan struct{} // one token per call in flight

	mu      sync.Mutex
	last    uint64           // newest id
	waiting map[uint64]*call // nil after the end
	free    []*call          // for reuse; at most MaxInFlight. No sync.Pool: its channels would cross synctest bubbles
	err     error            // why it ended
}

// A call waits for its answer. Whoever removes it from calls.waiting fills it in
// and sends on done, once. Its caller releases it, unless it gave up: then it keeps
// its slot until the peer has answered, and who removes it releases it.
type call struct {
	done      chan struct{} // capacity 1
	abandoned bool          // guarded by calls.mu
	status    uint8
	answer    []byte
	err       error
}

func newCalls(maxInFlight int) calls {
	return calls{slots: make(chan struct{}, maxInFlight), waiting: make(map[uint64]*call)}
}

// Call sends body to the peer's handler of op and waits for its answer, which
// belongs to the caller. Body may be reused once Call has returned. Any number of
// calls may run at once; beyond Options.MaxInFlight they wait their turn. When
// ctx ends the peer is told to give up and the error is the context's cause. The
// error says whether the call may have been run: see [ErrNotRun].
//
// A handler may call back over its own connection.
func (c *Conn) Call(ctx context.Context, op uint16, body []byte) (status uint8, answer []byte, err error) {
	if len(body) > c.o.MaxBody {
		return 0, nil, notRun(fmt.Errorf("%w: %d bytes to send, the limit is %d", ErrTooLarge, len(body), c.o.MaxBody))
	}
	if err := c.acquire(ctx); err != nil {
		return 0, nil, notRun(err)
	}
	id, w, err := c.calls.add()
	if err != nil {
		return 0, nil, notRun(err)
	}
	if err := c.out.put(ctx, header{id: id, op: op}, body); err != nil {
		c.calls.withdraw(id)
		return 0, nil, notRun(err)
	}
	select {
	case <-w.done:
	case <-ctx.Done():
		if c.calls.abandon(id) {
			c.out.putControl(header{id: id, flags: flagCancel})
			return 0, nil, context.Cause(ctx)
		}
		<-w.done // the answer won the race
	}
	defer c.calls.release(w)
	return w.status, w.answer, w.err
}

// acquire waits for one of the MaxInFlight slots.
func (c *Conn) acquire(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	select {
	case c.calls.slots <- struct{}{}: // without the cost of a wider select
		return nil
	default:
	}
	select {
	case c.calls.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-c.ended:
		return c.Err()
	}
}

// add registers a call for which a slot was acquired.
func (s *calls) add() (uint64, *call, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting == nil {
		<-s.slots
		return 0, nil, s.err
	}
	var w *call
	if n := len(s.free); n > 0 {
		w, s.free = s.free[n-1], s.free[:n-1]
	} else {
		w = &call{done: make(chan struct{}, 1)}
	}
	s.last++
	s.waiting[s.last] = w
	return s.last, w, nil
}

// release takes back a call that nobody will finish any more, and its slot.
func (s *calls) release(w *call) {
	s.mu.Lock()
	s.releaseLocked(w)
	s.mu.Unlock()
}

func (s *calls) releaseLocked(w *call) {
	*w = call{done: w.done}
	s.free = append(s.free, w)
	<-s.slots
}

// withdraw removes a call that was not sent, unless the connection has ended.
func (s *calls) withdraw(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.waiting[id]; w != nil {
		delete(s.waiting, id)
		s.releaseLocked(w)
	}
}

// abandon leaves a call to whoever finishes it, unless that has happened.
func (s *calls) abandon(id uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.waiting[id]
	if w != nil {
		w.abandoned = true
	}
	return w != nil
}

// finish delivers an answer. It reports false if nobody asked.
func (s *calls) finish(h header, answer []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.waiting[h.id]
	if w == nil {
		return false
	}
	delete(s.waiting, h.id)
	switch {
	case w.abandoned:
		s.releaseLocked(w)
		return true
	case h.flags&flagReason != 0:
		w.err = reason(h.status).err()
	default:
		w.status, w.answer = h.status, answer
	}
	w.done <- struct{}{}
	return true
}

// fail ends every call with err, and those to come. Nothing is reused any more.
func (s *calls) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.waiting {
		w.err = err
		w.done <- struct{}{} // has room even if nobody listens
	}
	s.waiting, s.err = nil, err
}
