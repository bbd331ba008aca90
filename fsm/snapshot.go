package fsm

import (
	"io"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// A Snapshot is the state after one entry, to be written as a stream. It holds
// a View: applying goes on beside it. It is for one goroutine.
type Snapshot struct {
	view *View
	size int64 // 0: not known yet
}

// Snapshot opens a Snapshot of the newest applied state. It is cheap; Size and
// WriteTo read everything. The caller closes it.
func (m *Machine) Snapshot() (*Snapshot, error) {
	v, err := m.View()
	if err != nil {
		return nil, err
	}
	return &Snapshot{view: v}, nil
}

// SnapshotOf makes a Snapshot of what v shows, and takes v over: closing the
// Snapshot closes it.
func SnapshotOf(v *View) *Snapshot { return &Snapshot{view: v} }

// Meta is where the state of s stands.
func (s *Snapshot) Meta() Meta { return s.view.Meta() }

// Close ends s. It may be called again.
func (s *Snapshot) Close() { s.view.Close() }

// Size is the exact number of bytes that WriteTo writes. The first call reads
// all of the state to find out.
func (s *Snapshot) Size() (int64, error) {
	if s.size > 0 {
		return s.size, nil
	}
	header, err := encodeHeader(s.Meta())
	if err != nil {
		return 0, err
	}
	var blocks blockSizer
	for kv, err := range scanRange(s.view.snap, replicatedLower, replicatedUpper) {
		if err != nil {
			return 0, err
		}
		blocks.add(pairBytes(kv.key, kv.value))
	}
	blocks.close()
	s.size = int64(len(header)) + blocks.total + int64(trailerBytes)
	return s.size, nil
}

// WriteTo writes the stream. What is read is checked against the digest of the
// state; if it is not that, the trailer is not written, so that damage does not
// spread: such a stream never restores.
func (s *Snapshot) WriteTo(w io.Writer) (int64, error) {
	counted := &countingWriter{w: w}
	out := newStreamWriter(counted)
	err := s.write(out)
	return counted.n, err
}

func (s *Snapshot) write(out *streamWriter) error {
	if err := out.header(s.Meta()); err != nil {
		return err
	}
	for kv, err := range scanRange(s.view.snap, replicatedLower, replicatedUpper) {
		if err == nil {
			err = out.pair(kv.key, kv.value)
		}
		if err != nil {
			return err
		}
	}
	if got, want := out.sum.digest(), s.Meta().Digest; got != want {
		return fault.New(fault.Integrity, "the state on disk has digest %v at index %d, it should have %v", got, s.Meta().Index, want).
			WithHint("check the disk and re-seed this node from its peers")
	}
	return out.trailer()
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
