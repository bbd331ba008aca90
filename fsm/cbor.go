package fsm

import (
	"encoding/binary"
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/mcpraft/mcpraft/fsm/record"
)

// The frame of an envelope, all but the bodies of its commands, is read and
// written by hand: every command passes here several times on every node, and the
// general decoder costs more than applying it. The bytes are those that the
// encoder of record writes, and nothing else is accepted.

// Major types of CBOR (RFC 8949 section 3.1) that an envelope is framed with.
const (
	cborUint  = 0 << 5
	cborBytes = 2 << 5
	cborText  = 3 << 5
	cborArray = 4 << 5
	cborMap   = 5 << 5
)

// appendHead writes the head of a CBOR item in its shortest form.
func appendHead(b []byte, major byte, n uint64) []byte {
	switch {
	case n < 24:
		return append(b, major|byte(n))
	case n < 1<<8:
		return append(b, major|24, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, major|25), uint16(n))
	case n < 1<<32:
		return binary.BigEndian.AppendUint32(append(b, major|26), uint32(n))
	default:
		return binary.BigEndian.AppendUint64(append(b, major|27), n)
	}
}

// readHead reads a head that appendHead wrote; a longer form than needed is not
// accepted.
func readHead(b []byte, major byte) (n uint64, rest []byte, ok bool) {
	if len(b) == 0 || b[0]&0xe0 != major {
		return 0, nil, false
	}
	info := b[0] & 0x1f
	if info < 24 {
		return uint64(info), b[1:], true
	}
	if info > 27 {
		return 0, nil, false
	}
	size := 1 << (info - 24)
	if len(b) < 1+size {
		return 0, nil, false
	}
	for _, c := range b[1 : 1+size] {
		n = n<<8 | uint64(c)
	}
	least := [...]uint64{24, 1 << 8, 1 << 16, 1 << 32}[info-24]
	return n, b[1+size:], n >= least
}

func appendText(b []byte, text string) []byte {
	return append(appendHead(b, cborText, uint64(len(text))), text...)
}

// A cborReader takes items from the front of rest. The first mistake sticks, and
// what is read after it means nothing.
type cborReader struct {
	rest []byte
	err  error
}

func (r *cborReader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}

// head is the number in a head of that major type.
func (r *cborReader) head(major byte) uint64 {
	n, rest, ok := readHead(r.rest, major)
	if !ok {
		r.fail("no item of major type %d in its shortest form at %x", major>>5, r.rest[:min(len(r.rest), 16)])
		return 0
	}
	r.rest = rest
	return n
}

func (r *cborReader) uint(limit uint64) uint64 {
	n := r.head(cborUint)
	if n > limit {
		r.fail("%d is above %d", n, limit)
	}
	return n
}

// bytes is the content of a string of that major type; it is part of rest.
func (r *cborReader) bytes(major byte) []byte {
	size := r.head(major)
	if size > uint64(len(r.rest)) {
		r.fail("a string of %d bytes, %d are left", size, len(r.rest))
		return nil
	}
	var data []byte
	data, r.rest = r.rest[:size], r.rest[size:]
	return data
}

// text reads a text. One that equals like shares its memory.
func (r *cborReader) text(like string) string {
	data := r.bytes(cborText)
	if string(data) == like {
		return like
	}
	if !utf8.Valid(data) {
		r.fail("a text is not valid UTF-8")
	}
	return string(data)
}

// fixed reads a byte string that fills into.
func (r *cborReader) fixed(into []byte) {
	if data := r.bytes(cborBytes); copy(into, data) != len(into) || len(data) != len(into) {
		r.fail("a byte string of %d, want %d", len(data), len(into))
	}
}

// principal reads {1: issuer, 2: subject}.
func (r *cborReader) principal(like record.Principal) (p record.Principal) {
	if r.head(cborMap) != 2 || r.uint(math.MaxUint64) != 1 {
		r.fail("a principal is not a map of issuer and subject")
	}
	p.Issuer = r.text(like.Issuer)
	if r.uint(math.MaxUint64) != 2 {
		r.fail("a principal has no subject")
	}
	p.Subject = r.text(like.Subject)
	return p
}

// item reads whatever v is, with the decoder of records.
func (r *cborReader) item(v any) {
	if r.err != nil {
		return
	}
	rest, err := record.DecodeFirst(r.rest, v)
	if err != nil {
		r.err = err
		return
	}
	r.rest = rest
}
