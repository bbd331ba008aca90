package seal

import (
	"errors"
	"io"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// A Reader reads what a Writer sealed. It is for one goroutine, and needs no
// Close.
type Reader struct {
	plain io.Reader
	info  Info
	err   error
}

// NewReader reads a sealed object from r, to its end: io.EOF means that all of it
// verified and nothing follows. It is an error of kind Forbidden if none of r's
// keys opens the object, and Integrity if it does not verify or is not the object
// of that context. What is wrong with src comes through as it is.
func (r Ring) NewReader(src io.Reader, context string) (*Reader, error) {
	h, err := readHeader(src)
	if err != nil {
		return nil, err
	}
	key, err := h.open(r, context)
	if err != nil {
		return nil, err
	}
	a, err := h.chunkAEAD(key)
	if err != nil {
		return nil, err
	}
	chunks := &chunkReader{src: src, chunkState: chunkState{aead: a, auth: h.auth}, sealed: make([]byte, 0, chunkBytes+a.Overhead()+1)}
	plain, err := h.compression.reader(chunks)
	if err != nil {
		return nil, err
	}
	return &Reader{plain: plain, info: Info{h.cipher, h.compression, h.ids()}}, nil
}

// Info is what the header says; it is verified.
func (r *Reader) Info() Info { return r.info }

func (r *Reader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.plain.Read(p)
	if e, ours := errors.AsType[*chunkError](err); ours {
		err = e.error // what stands behind the decompressor
	} else if err != nil && err != io.EOF {
		err = damaged("it does not decompress: %w", err)
	}
	r.err = err
	return n, err
}

// A chunkError comes from below the decompressor, not from it.
type chunkError struct{ error }

func (e *chunkError) Unwrap() error { return e.error }

// A chunkReader opens chunks one by one.
type chunkReader struct {
	chunkState
	src    io.Reader
	sealed []byte // of the next chunk, and one byte more if another follows
	buffer []byte
	plain  []byte // not read yet; part of buffer
	err    error  // after plain
}

func (c *chunkReader) Read(p []byte) (int, error) {
	for len(c.plain) == 0 {
		if c.err != nil {
			return 0, c.err
		}
		c.next()
	}
	n := copy(p, c.plain)
	c.plain = c.plain[n:]
	return n, nil
}

// next opens the next chunk into plain, or sets err; io.EOF after the last.
func (c *chunkReader) next() {
	err := c.open()
	if err != nil && err != io.EOF {
		err = &chunkError{err}
	}
	c.err = err
}

func (c *chunkReader) open() error {
	final, err := c.fill()
	if err != nil {
		return err
	}
	chunk := c.sealed
	if !final {
		chunk = chunk[:len(chunk)-1]
	}
	if len(chunk) < c.aead.Overhead() {
		return damaged("it ends early, in chunk %d", c.number)
	}
	plain, err := c.aead.Open(c.buffer[:0], c.nonce(final), chunk, c.aad(final))
	if err != nil {
		return c.explain(chunk, final)
	}
	c.number++
	if final && len(plain) == 0 && c.number > 1 {
		return damaged("its last chunk is empty") // a Writer makes none; one form only
	}
	c.plain, c.buffer = plain, plain
	if final {
		return io.EOF
	}
	c.sealed = append(c.sealed[:0], c.sealed[len(c.sealed)-1])
	return nil
}

// fill reads until sealed has a whole chunk and the first byte behind it, or the
// source ends: then this is the last chunk.
func (c *chunkReader) fill() (final bool, err error) {
	have := len(c.sealed)
	c.sealed = c.sealed[:cap(c.sealed)]
	n, err := readUpTo(c.src, c.sealed[have:])
	c.sealed = c.sealed[:have+n]
	if err == io.EOF {
		return true, nil
	}
	return false, err
}

// explain finds out why a chunk does not open.
func (c *chunkReader) explain(chunk []byte, final bool) error {
	if final {
		if _, err := c.aead.Open(nil, c.nonce(false), chunk, c.aad(false)); err == nil {
			return damaged("it ends early, after chunk %d", c.number)
		}
	} else if _, err := c.aead.Open(nil, c.nonce(true), chunk, c.aad(true)); err == nil {
		return damaged("bytes follow its last chunk")
	}
	return damaged("chunk %d does not verify (bytes were changed, cut or moved)", c.number)
}

// readUpTo fills b. The error is io.EOF if src ended before b was full, with what
// was read, and an error of src otherwise; io.ErrUnexpectedEOF is one of those: a
// connection that broke is not an object that is short.
func readUpTo(src io.Reader, b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var m int
		m, err = src.Read(b[n:])
		n += m
	}
	if n == len(b) {
		return n, nil
	}
	return n, err
}

// readAll fills b; an end before that is damage.
func readAll(src io.Reader, b []byte) error {
	_, err := readUpTo(src, b)
	if err == io.EOF {
		return fault.New(fault.Integrity, "sealed object is damaged: it ends in its header")
	}
	return err
}
