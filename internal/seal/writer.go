package seal

import (
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"io"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// chunkBytes is the plaintext of every chunk but the last, which has 0 to
// chunkBytes; 0 only if it is the first as well.
const chunkBytes = 64 << 10

// A Policy says how objects are written: compressed or not, by which cipher, for
// the newest key of each file of the ring. The zero Policy writes plain bytes with
// checksums.
type Policy struct {
	Compression Compression
	Cipher      Cipher
	Ring        Ring
}

// Validate reports why p cannot be used, or nil.
func (p Policy) Validate() error {
	if p.Cipher != None && p.Ring.Empty() {
		return fault.New(fault.Invalid, "encryption by %v needs a key", p.Cipher).WithHint("name at least one key file, better two in different hands")
	}
	return nil
}

// A Writer seals what is written to it. It is for one goroutine.
type Writer struct {
	compressor io.WriteCloser
	chunks     *chunkWriter
	closed     bool
}

// NewWriter seals into w. The context says what the object is (kind, cluster,
// place); it is not stored, and a reader must know it. The header is written at
// once. The object is whole when Close returned nil; w is not closed.
func (p Policy) NewWriter(w io.Writer, context string) (*Writer, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	h, key, err := newHeader(p, context)
	if err != nil {
		return nil, err
	}
	a, err := h.chunkAEAD(key)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(append(h.encode(), h.auth[:]...)); err != nil {
		return nil, err
	}
	chunks := &chunkWriter{w: w, chunkState: chunkState{aead: a, auth: h.auth}, plain: make([]byte, 0, chunkBytes)}
	compressor, err := h.compression.writer(chunks)
	if err != nil {
		return nil, err
	}
	return &Writer{compressor: compressor, chunks: chunks}, nil
}

func (w *Writer) Write(p []byte) (int, error) {
	if w.closed {
		return 0, errClosed
	}
	return w.compressor.Write(p)
}

// Close writes what is left and the mark of the end. After an error of Write the
// object is not whole, and Close says so again.
func (w *Writer) Close() error {
	if w.closed {
		return errClosed
	}
	w.closed = true
	if err := w.compressor.Close(); err != nil {
		return err
	}
	return w.chunks.Close()
}

var errClosed = errors.New("seal: the writer is closed")

// chunkState is what both sides of a stream of chunks know.
type chunkState struct {
	aead   cipher.AEAD
	auth   [authBytes]byte
	number uint64 // of the next chunk
}

// chunkAEAD is the cipher of the chunks behind h.
func (h *header) chunkAEAD(key []byte) (cipher.AEAD, error) {
	k, err := derive(key, h.auth[:], "chunks")
	if err != nil {
		return nil, err
	}
	return h.cipher.aead(k)
}

// aad binds a chunk to its object, its place and the end.
func (s *chunkState) aad(final bool) []byte {
	b := make([]byte, 0, authBytes+8+1)
	b = binary.BigEndian.AppendUint64(append(b, s.auth[:]...), s.number)
	if final {
		return append(b, 1)
	}
	return append(b, 0)
}

// nonce gives the last chunk a number of its own, so that no two messages ever
// share one, not even a chunk that was sealed both as last and not.
func (s *chunkState) nonce(final bool) []byte {
	n := s.number << 1
	if final {
		n |= 1
	}
	return nonce(s.aead, n)
}

// A chunkWriter holds back one chunk, because only Close knows which is the last.
type chunkWriter struct {
	chunkState
	w      io.Writer
	plain  []byte
	sealed []byte // buffer
	err    error
}

func (c *chunkWriter) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		if len(c.plain) == chunkBytes {
			c.flush(false)
		}
		if c.err != nil {
			return n, c.err
		}
		take := min(len(p), chunkBytes-len(c.plain))
		c.plain = append(c.plain, p[:take]...)
		p, n = p[take:], n+take
	}
	return n, nil
}

func (c *chunkWriter) flush(final bool) {
	if c.err != nil {
		return
	}
	c.sealed = c.aead.Seal(c.sealed[:0], c.nonce(final), c.plain, c.aad(final))
	_, c.err = c.w.Write(c.sealed)
	c.plain = c.plain[:0]
	c.number++
}

// Close seals the last chunk.
func (c *chunkWriter) Close() error {
	c.flush(true)
	return c.err
}
