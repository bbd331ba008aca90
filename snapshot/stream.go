package snapshot

import (
	"crypto/sha256"
	"hash"
	"io"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/seal"
	"github.com/mcpraft/mcpraft/internal/strictjson"
)

// A Stream is a snapshot file as it arrives, from a connection that cannot be read
// twice. It is for one goroutine.
type Stream struct {
	Description

	held  *heldBack
	plain io.Reader
	n     int64 // bytes of the state that were read
}

// NewStream reads the beginning of a snapshot file.
func NewStream(r io.Reader, ring seal.Ring) (*Stream, error) {
	held := &heldBack{r: r, hash: sha256.New()}
	head, err := readHead(held)
	if err != nil {
		return nil, inStream(err)
	}
	s := &Stream{held: held}
	if err := strictjson.DecodeBytes(head[fileHeadBytes:len(head)-4], &s.Description); err != nil {
		return nil, inStream(fault.New(fault.Integrity, "its description is not readable: %v", err))
	}
	if err := s.State.Validate(); err != nil {
		return nil, inStream(fault.New(fault.Integrity, "its description is not valid: %v", err))
	}
	if s.plain, err = ring.NewReader(held, fileContext(head)); err != nil {
		return nil, inStream(err)
	}
	return s, nil
}

// Read reads the state. io.EOF means that all of the file verified.
func (s *Stream) Read(p []byte) (int, error) {
	n, err := s.plain.Read(p)
	s.n += int64(n)
	if err == io.EOF {
		if bad := s.verify(); bad != nil {
			err = bad
		}
	}
	if err != nil && err != io.EOF {
		err = inStream(err)
	}
	return n, err
}

// WriteTo writes the state.
func (s *Stream) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, struct{ io.Reader }{s}) // hides WriteTo, which io.Copy would call
}

// verify compares what was read with the trailer.
func (s *Stream) verify() error {
	rest := s.held.rest
	t, ok := decodeTrailer(rest)
	if !ok || t.stored != s.held.n || t.plain != s.n || t.digest != s.State.Digest {
		return fault.New(fault.Integrity, "it does not end with its trailer: it was cut, or bytes were changed")
	}
	s.held.hash.Write(rest[:len(rest)-sha256.Size])
	if Hash(s.held.hash.Sum(nil)) != t.sum {
		return fault.New(fault.Integrity, "its SHA-256 does not match: bytes were changed")
	}
	return nil
}

// Reseal makes a snapshot file of another, with the protection of p. What arrives
// must be in the clear or open with a key of p.
func Reseal(w io.Writer, r io.Reader, p seal.Policy) error {
	s, err := NewStream(r, p.Ring)
	if err != nil {
		return err
	}
	return WriteFile(w, p, s.State, s, Origin{Creator: s.Creator})
}

func inStream(err error) error {
	if k := fault.Of(err); k == fault.Integrity || k == fault.Unsupported {
		return fault.New(k, "the snapshot that arrived: %v", err)
	}
	return err
}

// A heldBack reads all but the last bytes of a stream, the trailer, which are in
// rest at the end. It counts and hashes what it reads out.
type heldBack struct {
	r    io.Reader
	hash hash.Hash
	n    int64
	err  error  // of r
	rest []byte // read from r, not yet read out; part of buffer

	buffer []byte
}

const heldBackBuffer = 64 << 10

func (h *heldBack) Read(p []byte) (int, error) {
	for len(h.rest) <= trailerBytes && h.err == nil {
		h.fill()
	}
	free := len(h.rest) - trailerBytes
	if free <= 0 {
		return 0, h.err
	}
	n := copy(p, h.rest[:free])
	h.hash.Write(p[:n])
	h.n += int64(n)
	h.rest = h.rest[n:]
	return n, nil
}

// fill reads once from the stream, behind what is held.
func (h *heldBack) fill() {
	if h.buffer == nil {
		h.buffer = make([]byte, heldBackBuffer)
	}
	if cap(h.rest)-len(h.rest) == 0 || h.rest == nil {
		h.rest = h.buffer[:copy(h.buffer, h.rest)]
	}
	var n int
	n, h.err = h.r.Read(h.rest[len(h.rest):cap(h.rest)])
	h.rest = h.rest[:len(h.rest)+n]
}
