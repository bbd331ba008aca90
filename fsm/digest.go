package fsm

import (
	"encoding/binary"
	"math/bits"

	"github.com/zeebo/xxh3"

	"github.com/mcpraft/mcpraft/fsm/record"
)

// A sum is a digest in the making: the sum modulo 2^128 of the hashes of all
// replicated pairs. Addition commutes, so neither the order of writes nor the
// layout on disk matters, and a pair that is overwritten is subtracted.
//
// It tells replicas apart that differ by accident. It is no defence against
// somebody who chooses pairs to collide: xxh3 is not cryptographic.
type sum struct{ hi, lo uint64 }

func sumOf(d record.Digest) sum {
	return sum{binary.BigEndian.Uint64(d[:8]), binary.BigEndian.Uint64(d[8:])}
}

func (s sum) digest() (d record.Digest) {
	binary.BigEndian.PutUint64(d[:8], s.hi)
	binary.BigEndian.PutUint64(d[8:], s.lo)
	return d
}

func (s *sum) add(o sum) {
	var carry uint64
	s.lo, carry = bits.Add64(s.lo, o.lo, 0)
	s.hi, _ = bits.Add64(s.hi, o.hi, carry)
}

func (s *sum) sub(o sum) {
	var borrow uint64
	s.lo, borrow = bits.Sub64(s.lo, o.lo, 0)
	s.hi, _ = bits.Sub64(s.hi, o.hi, borrow)
}

// A hasher hashes pairs. The length of the key goes first, so that no two pairs
// have the same input.
type hasher struct{ buf []byte }

func (h *hasher) pair(key, value []byte) sum {
	h.buf = binary.BigEndian.AppendUint32(h.buf[:0], uint32(len(key)))
	h.buf = append(h.buf, key...)
	h.buf = append(h.buf, value...)
	u := xxh3.Hash128(h.buf)
	return sum{u.Hi, u.Lo}
}
