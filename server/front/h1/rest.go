package h1

import (
	"bytes"
	"net"
	"sync"
)

// A rest is the listener by which net/http gets the connections that are not for
// the lane.
type rest struct {
	addr  net.Addr
	conns chan net.Conn
	once  sync.Once
	done  chan struct{} // closed by Close
}

func newRest(addr net.Addr) *rest {
	return &rest{addr: addr, conns: make(chan net.Conn), done: make(chan struct{})}
}

// hand gives nc away, with what was read of it; if it reports false, nobody takes
// it any more.
func (l *rest) hand(nc net.Conn, begin []byte) bool {
	if len(begin) > 0 {
		nc = &handed{Conn: nc, begin: bytes.Clone(begin)}
	}
	select {
	case l.conns <- nc:
		return true
	case <-l.done:
		return false
	}
}

func (l *rest) Accept() (net.Conn, error) {
	select {
	case nc := <-l.conns:
		return nc, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *rest) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *rest) Addr() net.Addr { return l.addr }

// A handed connection begins with what the lane has read of it.
type handed struct {
	net.Conn
	begin []byte
}

func (c *handed) Read(p []byte) (int, error) {
	if len(c.begin) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.begin)
	if c.begin = c.begin[n:]; len(c.begin) == 0 {
		c.begin = nil // it may be large, and connections live long
	}
	return n, nil
}

// CloseWrite is what net/http calls before it closes a connection on which the
// client is still sending.
func (c *handed) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
