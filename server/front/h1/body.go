package h1

import (
	"io"
	"time"
)

// maxDiscarded is how much of a body that the handler did not want is read, so that
// the connection can go on; with more to come it is closed.
const maxDiscarded = 256 << 10

// A body is that of a connection's present request.
type body struct {
	c    *conn
	left int64 // not read yet
	err  error // why no more can be read
}

func (b *body) Read(p []byte) (int, error) {
	switch {
	case b.err != nil:
		return 0, b.err
	case b.left == 0:
		return 0, io.EOF
	}
	n, err := b.c.read(p[:min(int64(len(p)), b.left)])
	if b.left -= int64(n); b.left == 0 {
		b.c.watch.arm()
		return n, io.EOF
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	b.err = err
	return n, err
}

func (b *body) Close() error { return nil }

// settle reads what the handler left of the body, and reports whether the
// connection can go on behind it.
func (b *body) settle() bool {
	if b.left > maxDiscarded {
		return false
	}
	var waste []byte
	for b.left > 0 && b.err == nil {
		if waste == nil {
			waste = make([]byte, min(b.left, bufferSize))
		}
		_, _ = b.Read(waste)
	}
	return b.err == nil
}

// bodyDeadline bounds how long the body may take. For one that is here already,
// which is nearly all of them, there is nothing to bound.
func (c *conn) bodyDeadline(t time.Time) error {
	missing := c.body.left > int64(c.w-c.r)
	if !missing && !c.deadline {
		return nil
	}
	c.deadline = missing && !t.IsZero()
	return c.nc.SetReadDeadline(t)
}
