package wal

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"io"
	"iter"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/blob"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/seal"
)

// A Reader reads one segment and trusts nothing in it. Its memory is bounded, and
// does not grow with the segment. It is for one goroutine.
//
// Entries that it gives out before an error are right: each has verified. A
// recovery that stops at damage therefore stops exactly before it.
type Reader struct {
	header Header
	footer Footer
	order  order
	stored *hashedReader
	plain  *bufio.Reader
	digest hash.Hash // of plain, up to the footer
	want   *Ref      // what the segment must be; nil: anything
	err    error
}

// hashedReader hashes what is read.
type hashedReader struct {
	r    io.Reader
	hash hash.Hash
	n    int64
}

func (h *hashedReader) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	h.hash.Write(p[:n])
	h.n += int64(n)
	return n, err
}

// NewReader reads a segment from src, to its end, by any key of the ring.
func NewReader(src io.Reader, ring seal.Ring) (*Reader, error) { return newReader(src, ring, nil) }

func newReader(src io.Reader, ring seal.Ring, want *Ref) (*Reader, error) {
	r := &Reader{stored: &hashedReader{r: src, hash: sha256.New()}, digest: sha256.New(), want: want}
	var err error
	if r.header, err = ReadHeader(r.stored); err != nil {
		return nil, r.explain(err)
	}
	if want != nil && !want.names(r.header) {
		return nil, r.damage(fault.New(fault.Integrity, "it holds segment %d of timeline %s from index %d on", r.header.Sequence, r.header.Timeline, r.header.First))
	}
	sealed, err := ring.NewReader(r.stored, r.header.context())
	if err != nil {
		return nil, r.explain(err)
	}
	r.plain = bufio.NewReaderSize(sealed, 32<<10)
	r.order = newOrder(r.header)
	return r, nil
}

// names reports whether r is the name of a segment with that header.
func (r Ref) names(h Header) bool {
	return r.Cluster == h.Cluster && r.Timeline == h.Timeline && r.Sequence == h.Sequence && r.First == h.First &&
		r.Previous == TagOf(h.Previous)
}

// Header is the header; it is verified.
func (r *Reader) Header() Header { return r.header }

// Footer is the footer, once Next has returned io.EOF.
func (r *Reader) Footer() Footer { return r.footer }

// Hash is that of the stored bytes, once Next has returned io.EOF.
func (r *Reader) Hash() (sum [sha256.Size]byte) {
	r.stored.hash.Sum(sum[:0])
	return sum
}

// Next is the next entry; io.EOF after a footer that verifies, at the end of the
// object. Its data belongs to the caller. Damage is an error of kind Integrity that
// says which indexes it costs; what is wrong with the source comes as it is.
func (r *Reader) Next() (Entry, error) {
	if r.err != nil {
		return Entry{}, r.err
	}
	e, err := r.next()
	if err != nil && err != io.EOF {
		err = r.damage(err)
	}
	r.err = err
	return e, err
}

// Entries is every entry that is left; the last pair has the error if there is one.
func (r *Reader) Entries() iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for {
			e, err := r.Next()
			if err == io.EOF || !yield(e, err) || err != nil {
				return
			}
		}
	}
}

func (r *Reader) next() (Entry, error) {
	kind, err := r.plain.ReadByte()
	if err != nil {
		return Entry{}, shortened("front of its footer", err)
	}
	if kind == footerKind {
		return Entry{}, r.end()
	}
	in := &hashedReader{r: r.plain, hash: r.digest}
	r.digest.Write([]byte{kind})
	e, err := readEntry(in, r.order)
	if err != nil {
		return Entry{}, shortened("an entry", err)
	}
	e.Kind = Kind(kind)
	if err := r.order.next(e); err != nil {
		return Entry{}, fault.New(fault.Integrity, "%v", err)
	}
	return e, nil
}

// readEntry reads an entry behind its kind.
func readEntry(r *hashedReader, o order) (e Entry, err error) {
	index, err := binary.ReadUvarint(r)
	if err != nil {
		return e, err
	}
	term, err := binary.ReadUvarint(r)
	if err != nil {
		return e, err
	}
	e.Index, e.Term = o.index+index, o.term+term
	if e.Index < o.index || e.Term < o.term {
		return e, fault.New(fault.Integrity, "index or term behind %d is out of range", o.index)
	}
	var at [8]byte
	if _, err := io.ReadFull(r, at[:]); err != nil {
		return e, err
	}
	e.LogTime = record.LogTime(binary.BigEndian.Uint64(at[:]))
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return e, err
	}
	if n > MaxEntryBytes {
		return e, fault.New(fault.Integrity, "entry %d has %d bytes", e.Index, n)
	}
	e.Data = make([]byte, n)
	_, err = io.ReadFull(r, e.Data)
	return e, err
}

// ReadByte is for uvarints.
func (h *hashedReader) ReadByte() (byte, error) {
	var b [1]byte
	_, err := io.ReadFull(h, b[:])
	return b[0], err
}

// end reads the footer and the end of the object.
func (r *Reader) end() error {
	var b [footerBytes]byte
	if _, err := io.ReadFull(r.plain, b[:]); err != nil {
		return shortened("its footer", err)
	}
	got, want := decodeFooter(&b), r.order.footer
	want.Last = max(got.Last, r.order.index, r.header.First)
	r.digest.Sum(want.Digest[:0])
	if got != want {
		return fault.New(fault.Integrity, "its footer speaks of %d entries up to index %d, there are %d others", got.Count, got.Last, want.Count)
	}
	if _, err := r.plain.ReadByte(); err != io.EOF {
		if err == nil {
			err = fault.New(fault.Integrity, "bytes follow its footer")
		}
		return err
	}
	r.footer = got
	if r.want != nil && (r.want.Last != got.Last || r.want.Tag != TagOf(r.Hash())) {
		return fault.New(fault.Integrity, "it is not the object that its name says (it ends at index %d, its hash begins with %v)", got.Last, TagOf(r.Hash()))
	}
	return io.EOF
}

// explain tells a segment that this binary or these keys cannot read from one whose
// header was changed so that it looks like that: the name has its hash.
func (r *Reader) explain(err error) error {
	k := fault.Of(err)
	if r.want == nil || k != fault.Unsupported && k != fault.Forbidden {
		return r.damage(err)
	}
	if _, readErr := io.Copy(io.Discard, r.stored); readErr != nil {
		return readErr
	}
	if TagOf(r.Hash()) != r.want.Tag {
		err = fault.New(fault.Integrity, "its SHA-256 is not the one in its name: bytes were changed")
	}
	return r.damage(err)
}

// damage adds to an error of kind Integrity what it costs.
func (r *Reader) damage(err error) error {
	if fault.Of(err) != fault.Integrity {
		return err
	}
	what, first, last := "segment", r.header.First, uint64(0)
	if r.want != nil {
		what, first, last = r.want.String(), r.want.First, r.want.Last
	}
	if r.order.index >= first {
		first = r.order.index + 1
	}
	cost := "everything from index %d on is lost"
	args := []any{first}
	if last > 0 {
		cost, args = "indexes %d to %d are lost", append(args, last)
	}
	e := fault.New(fault.Integrity, what+" is damaged: %v; "+cost, append([]any{err}, args...)...)
	if first > 0 {
		e = e.WithHint("what comes before can be restored with --to-index %d; for what comes after, a later backup is needed", first-1)
	}
	return e
}

// Open reads the segment of that name from a store and verifies that it is the one
// that the name says. The caller closes it.
func Open(ctx context.Context, s blob.Store, ring seal.Ring, ref Ref) (*OpenSegment, error) {
	body, err := s.Get(ctx, ref.Name(), blob.Range{})
	if fault.Of(err) == fault.NotFound {
		return nil, fault.New(fault.Integrity, "%s is missing in %s; indexes %d to %d are lost", ref, s, ref.First, ref.Last)
	}
	if err != nil {
		return nil, err
	}
	r, err := newReader(body, ring, &ref)
	if err != nil {
		return nil, errors.Join(err, body.Close())
	}
	return &OpenSegment{Reader: r, body: body}, nil
}

// An OpenSegment is a Reader of a segment in a store.
type OpenSegment struct {
	*Reader
	body io.Closer
}

// Close ends the connection to the store.
func (o *OpenSegment) Close() error { return o.body.Close() }
