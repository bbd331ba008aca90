package memnet

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// A conn is one end of a connection. All state is guarded by net.mu.
type conn struct {
	net           *Network
	local, remote addr
	in, out       *flow // in is the other end's out
	other         *conn

	closed bool // by Close, here
	gone   bool // by Kill, here: the other end learns of it when it can
	reset  bool // broken
}

// A flow is the bytes on their way from one end to the other.
type flow struct {
	cond     *sync.Cond
	segments []segment
	size     int // bytes of segments
	fin      time.Time
	ended    bool // nothing follows; the reader sees it from fin on

	readBy, writeBy deadline
}

// A segment is what one Write sent, or what is left of it.
type segment struct {
	data []byte
	at   time.Time // when it arrives
}

// A deadline is a time after which to give up; zero is never.
type deadline struct {
	at    time.Time
	timer *time.Timer // wakes those who wait
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

// pipe makes the two ends of a connection, from dialler to listener.
func pipe(n *Network, dialler, listener addr) (near, far *conn) {
	there := &flow{cond: sync.NewCond(&n.mu)}
	back := &flow{cond: sync.NewCond(&n.mu)}
	near = &conn{net: n, local: dialler, remote: listener, in: back, out: there}
	far = &conn{net: n, local: listener, remote: dialler, in: there, out: back}
	near.other, far.other = far, near
	n.conns[near] = struct{}{}
	n.conns[far] = struct{}{}
	return near, far
}

// between reports whether c carries packets from one host to the other.
func (c *conn) between(from, to string) bool {
	return c.local.host == from && c.remote.host == to || c.local.host == to && c.remote.host == from
}

// LocalAddr is this end's address.
func (c *conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr is the other end's address.
func (c *conn) RemoteAddr() net.Addr { return c.remote }

func (c *conn) fail(op string, err error) error {
	return &net.OpError{Op: op, Net: "mem", Source: c.local, Addr: c.remote, Err: err}
}

// Read waits for bytes that have arrived.
func (c *conn) Read(b []byte) (int, error) {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	for {
		n, err := c.readLocked(b)
		if err == io.EOF {
			return 0, io.EOF
		}
		if err != nil {
			return 0, c.fail("read", err)
		}
		if n > 0 || len(b) == 0 {
			return n, nil
		}
		c.in.cond.Wait()
	}
}

// readLocked is 0, nil when there is nothing yet.
func (c *conn) readLocked(b []byte) (int, error) {
	switch {
	case c.closed || c.gone:
		return 0, net.ErrClosed
	case c.reset:
		return 0, syscall.ECONNRESET
	case c.in.readBy.passed():
		return 0, os.ErrDeadlineExceeded
	case !c.net.passesLocked(c.remote.host, c.local.host):
		return 0, nil
	}
	n := c.in.take(b)
	if n == 0 && c.in.ended && len(c.in.segments) == 0 && !time.Now().Before(c.in.fin) {
		return 0, io.EOF
	}
	return n, nil
}

// take moves bytes that have arrived into b and makes room for the writer.
func (f *flow) take(b []byte) (n int) {
	now := time.Now()
	for len(f.segments) > 0 && n < len(b) && !now.Before(f.segments[0].at) {
		s := &f.segments[0]
		k := copy(b[n:], s.data)
		n += k
		if s.data = s.data[k:]; len(s.data) == 0 {
			f.segments = f.segments[1:]
		}
	}
	if n > 0 {
		f.size -= n
		f.cond.Broadcast()
	}
	return n
}

// Write waits for room in the window, not for the reader.
func (c *conn) Write(b []byte) (n int, err error) {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	for {
		if err := c.writable(); err != nil {
			return n, c.fail("write", err)
		}
		n += c.out.put(b[n:], c.net.linkLocked(c.local.host, c.remote.host).latency)
		if n == len(b) {
			return n, nil
		}
		c.out.cond.Wait()
	}
}

func (c *conn) writable() error {
	switch {
	case c.closed || c.gone:
		return net.ErrClosed
	case c.reset:
		return syscall.ECONNRESET
	case c.out.writeBy.passed():
		return os.ErrDeadlineExceeded
	case c.other.closed && c.net.modeLocked(c.local.host, c.remote.host) == Pass:
		return syscall.EPIPE
	}
	return nil
}

// put sends what the window has room for.
func (f *flow) put(b []byte, latency time.Duration) int {
	n := min(len(b), Window-f.size)
	if n == 0 {
		return 0
	}
	f.segments = append(f.segments, segment{append([]byte(nil), b[:n]...), time.Now().Add(latency)})
	f.size += n
	f.wakeAfter(latency)
	return n
}

// wakeAfter wakes those who wait, when something has arrived.
func (f *flow) wakeAfter(d time.Duration) *time.Timer {
	if d <= 0 {
		f.cond.Broadcast()
		return nil
	}
	return time.AfterFunc(d, func() {
		f.cond.L.Lock()
		defer f.cond.L.Unlock()
		f.cond.Broadcast()
	})
}

// Close ends this end. The other reads what was sent and then end-of-file.
func (c *conn) Close() error {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	if c.closed || c.gone {
		return c.fail("close", net.ErrClosed)
	}
	c.closed = true
	latency := c.net.linkLocked(c.local.host, c.remote.host).latency
	c.out.ended, c.out.fin = true, time.Now().Add(latency)
	c.out.wakeAfter(latency)
	c.in.segments, c.in.size = nil, 0
	c.leaveLocked()
	return nil
}

// killLocked ends this end without a word. The other end is reset if a packet can
// reach it, and when one can.
func (c *conn) killLocked() {
	if c.closed || c.gone {
		return
	}
	c.gone = true
	c.leaveLocked()
	if c.net.passesLocked(c.local.host, c.remote.host) {
		c.other.resetLocked()
	}
}

func (c *conn) resetLocked() {
	c.reset = true
	c.leaveLocked()
}

// leaveLocked wakes whoever waits on c. An end that is closed, gone or reset needs
// no faults any more.
func (c *conn) leaveLocked() {
	delete(c.net.conns, c)
	for _, f := range []*flow{c.in, c.out} {
		f.cond.Broadcast()
	}
	c.in.readBy.stop()
	c.out.writeBy.stop()
}

// SetDeadline sets both deadlines.
func (c *conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// SetReadDeadline works on reads that wait already, too.
func (c *conn) SetReadDeadline(t time.Time) error { return c.setDeadline(c.in, &c.in.readBy, t) }

// SetWriteDeadline works on writes that wait already, too.
func (c *conn) SetWriteDeadline(t time.Time) error { return c.setDeadline(c.out, &c.out.writeBy, t) }

func (c *conn) setDeadline(f *flow, d *deadline, t time.Time) error {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	if c.closed || c.gone {
		return c.fail("set", net.ErrClosed)
	}
	d.stop()
	d.at = t
	if !t.IsZero() {
		d.timer = f.wakeAfter(time.Until(t))
	} else {
		f.cond.Broadcast()
	}
	return nil
}

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}
