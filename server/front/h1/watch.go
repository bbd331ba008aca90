package h1

import (
	"errors"
	"sync/atomic"
	"time"
)

// watchAfter is how long a request may run before somebody looks whether its
// client is still there.
const watchAfter = 50 * time.Millisecond

var errGone = errors.New("the client has closed the connection")

// A watch notices that the client of a connection has gone while its request runs.
// That takes a read, which may get the beginning of the next request instead: it is
// kept, and nothing more is read then.
type watch struct {
	c     *conn
	timer *time.Timer
	armed bool          // since the request was read; of the connection's goroutine alone
	over  atomic.Bool   // the request is answered: how the read ends says nothing of the client
	ended chan struct{} // capacity 1: look has ended, and n and gone are set
	ahead [1]byte
	n     int // bytes in ahead
	gone  bool
}

func (w *watch) init(c *conn) {
	w.c, w.ended = c, make(chan struct{}, 1)
	w.timer = time.AfterFunc(time.Hour, w.look)
	w.timer.Stop()
}

// arm begins to watch, once nothing of the request is left to be read. What was
// sent ahead says that the client is there.
func (w *watch) arm() {
	if !w.armed && w.c.r == w.c.w {
		w.armed = true
		w.timer.Reset(watchAfter)
	}
}

// look waits, on the timer's goroutine, for what the client does next.
func (w *watch) look() {
	defer func() { w.ended <- struct{}{} }()
	w.n, w.gone = 0, false
	_ = w.c.nc.SetReadDeadline(time.Time{})
	if w.over.Load() { // disarm may have set its deadline before ours
		return
	}
	n, err := w.c.nc.Read(w.ahead[:])
	w.n = n
	if err != nil && !w.over.Load() {
		w.gone = true
		w.c.cancel(errGone)
	}
}

// disarm ends the watch with its request, leaves what was read to the next, and
// reports whether the client is still there.
func (w *watch) disarm() bool {
	if !w.armed {
		return true
	}
	w.armed = false
	if w.timer.Stop() {
		return true
	}
	w.over.Store(true)
	_ = w.c.nc.SetReadDeadline(longAgo) // ends the read
	<-w.ended
	w.over.Store(false)
	w.c.r, w.c.w = 0, copy(w.c.buf, w.ahead[:w.n])
	return !w.gone
}

var longAgo = time.Unix(1, 0)
