package wal

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"io"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/seal"
)

// What is sealed behind the header, docs/format/segment.md:
//
//	entry   kind u8, index and term as uvarints (what they are more than those of
//	        the entry before), log time u64, length as uvarint, data
//	…
//	footer  0 u8, last index u64, last log time u64, entries u64, SHA-256 of the
//	        entries [32]
const (
	footerKind  = 0
	footerBytes = 8 + 8 + 8 + sha256.Size

	// MaxEntryBytes bounds the data of one entry: an envelope has at most 256 KiB.
	MaxEntryBytes = 1 << 20
)

// A Footer says what a segment held.
type Footer struct {
	Last     uint64         // index that it ends with; at or behind its last entry
	LastTime record.LogTime // the highest of its entries, or the first log time of its header if that is higher
	Count    uint64         // entries
	Digest   [sha256.Size]byte
}

// order is what writer and reader hold a sequence of entries to.
type order struct {
	index, term uint64
	footer      Footer // so far, without Last and Digest
}

func newOrder(h Header) order {
	return order{index: h.First - 1, footer: Footer{LastTime: h.FirstTime}}
}

func (o *order) next(e Entry) error {
	switch {
	case e.Index <= o.index:
		return fault.New(fault.Invalid, "entry %d cannot follow index %d", e.Index, o.index)
	case e.Term < o.term:
		return fault.New(fault.Invalid, "entry %d has term %d, behind term %d", e.Index, e.Term, o.term)
	case e.Kind != Commands && e.Kind != Configuration:
		return fault.New(fault.Invalid, "entry %d has the unknown kind %d", e.Index, e.Kind)
	case len(e.Data) > MaxEntryBytes:
		return fault.New(fault.TooLarge, "entry %d has %d bytes, the limit is %d", e.Index, len(e.Data), MaxEntryBytes)
	}
	o.index, o.term = e.Index, e.Term
	o.footer.LastTime = max(o.footer.LastTime, e.LogTime)
	o.footer.Count++
	return nil
}

// A Writer writes one segment. It is for one goroutine.
type Writer struct {
	header Header
	order  order
	stored *measured
	sealed *seal.Writer
	plain  *bufio.Writer // into sealed and digest
	digest hash.Hash
	buf    []byte
	bytes  int64
}

// measured counts and hashes what is stored.
type measured struct {
	w    io.Writer
	hash hash.Hash
	n    int64
}

func (m *measured) Write(p []byte) (int, error) {
	n, err := m.w.Write(p)
	m.hash.Write(p[:n])
	m.n += int64(n)
	return n, err
}

// NewWriter begins a segment in w, protected by p. Its bytes differ each time, also
// for the same entries; their digest does not.
func NewWriter(w io.Writer, p seal.Policy, h Header) (*Writer, error) {
	if err := h.Validate(); err != nil {
		return nil, err
	}
	stored := &measured{w: w, hash: sha256.New()}
	if _, err := stored.Write(h.encode()); err != nil {
		return nil, err
	}
	sealed, err := p.NewWriter(stored, h.context())
	if err != nil {
		return nil, err
	}
	digest := sha256.New()
	plain := bufio.NewWriterSize(io.MultiWriter(digest, sealed), 32<<10)
	return &Writer{header: h, order: newOrder(h), stored: stored, sealed: sealed, plain: plain, digest: digest}, nil
}

// Append adds one entry: its index is above and its term not below those before
// it. An error of kind Invalid or TooLarge adds nothing; after any other the segment
// is lost.
func (w *Writer) Append(e Entry) error {
	index, term := w.order.index, w.order.term
	if err := w.order.next(e); err != nil {
		return err
	}
	w.buf = append(w.buf[:0], byte(e.Kind))
	w.buf = binary.AppendUvarint(w.buf, e.Index-index)
	w.buf = binary.AppendUvarint(w.buf, e.Term-term)
	w.buf = binary.BigEndian.AppendUint64(w.buf, uint64(e.LogTime))
	w.buf = binary.AppendUvarint(w.buf, uint64(len(e.Data)))
	w.bytes += int64(len(w.buf) + len(e.Data))
	if _, err := w.plain.Write(w.buf); err != nil {
		return err
	}
	_, err := w.plain.Write(e.Data)
	return err
}

// Bytes is how much was appended, before compression.
func (w *Writer) Bytes() int64 { return w.bytes }

// Count is how many entries were appended.
func (w *Writer) Count() uint64 { return w.order.footer.Count }

// A Segment is a finished one.
type Segment struct {
	Header Header
	Footer Footer
	Hash   [sha256.Size]byte // SHA-256 of the whole object as it is stored
	Size   int64             // of it, in bytes
}

// Ref is the name of s.
func (s Segment) Ref() Ref {
	return Ref{
		Cluster: s.Header.Cluster, Timeline: s.Header.Timeline, Sequence: s.Header.Sequence,
		First: s.Header.First, Last: s.Footer.Last, FirstTime: record.LogTimeAt(s.Header.FirstTime.Time()),
		Tag: TagOf(s.Hash), Previous: TagOf(s.Header.Previous), Size: s.Size,
	}
}

// Finish ends the segment at the index last, which is that of its last entry, or
// behind it if what follows had no entries to keep. The writer of the underlying
// bytes is not closed.
func (w *Writer) Finish(last uint64) (Segment, error) {
	if last < w.order.index || last < w.header.First {
		return Segment{}, fault.New(fault.Invalid, "a segment from index %d on cannot end at %d, behind an entry of index %d", w.header.First, last, w.order.index)
	}
	if err := w.plain.Flush(); err != nil {
		return Segment{}, err
	}
	footer := w.order.footer
	footer.Last = last
	w.digest.Sum(footer.Digest[:0])
	if _, err := w.sealed.Write(footer.encode()); err != nil {
		return Segment{}, err
	}
	if err := w.sealed.Close(); err != nil {
		return Segment{}, err
	}
	s := Segment{Header: w.header, Footer: footer, Size: w.stored.n}
	w.stored.hash.Sum(s.Hash[:0])
	return s, nil
}

func (f Footer) encode() []byte {
	b := []byte{footerKind}
	b = binary.BigEndian.AppendUint64(b, f.Last)
	b = binary.BigEndian.AppendUint64(b, uint64(f.LastTime))
	b = binary.BigEndian.AppendUint64(b, f.Count)
	return append(b, f.Digest[:]...)
}

// decodeFooter reads what encode writes behind the kind.
func decodeFooter(b *[footerBytes]byte) (f Footer) {
	f.Last = binary.BigEndian.Uint64(b[0:])
	f.LastTime = record.LogTime(binary.BigEndian.Uint64(b[8:]))
	f.Count = binary.BigEndian.Uint64(b[16:])
	copy(f.Digest[:], b[24:])
	return f
}
