package wal

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"io"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

// The header of a segment (docs/format/segment.md), in the clear so that a chain
// can be read without keys:
//
//	magic [8], format u16, cluster [16], timeline u32 u32, sequence u64,
//	first index u64, first log time u64, SHA-256 of the previous segment [32],
//	CRC32C u32
//
// All integers are big-endian.
const (
	magic  = "mcpraftW"
	format = 1

	// HeaderBytes is the size of the header: a range read of that many bytes is
	// enough for ReadHeader.
	HeaderBytes = len(magic) + 2 + 16 + 4 + 4 + 8 + 8 + 8 + sha256.Size + 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A Header says which part of which history a segment holds, and what it follows.
type Header struct {
	Cluster   record.ID
	Timeline  record.Timeline
	Sequence  uint64 // 1 for the first of a timeline
	First     uint64 // index that the segment begins with; the one after the previous segment's last, unless there is a gap
	FirstTime record.LogTime
	Previous  [sha256.Size]byte // hash of the previous segment as it is stored; zero for sequence 1
}

// Validate reports why h cannot be the header of a segment, or nil.
func (h Header) Validate() error {
	switch {
	case h.Cluster.IsZero() || h.Timeline.IsZero():
		return fault.New(fault.Invalid, "a segment needs a cluster and a timeline")
	case h.Sequence == 0 || h.First == 0:
		return fault.New(fault.Invalid, "a segment has a sequence and a first index from 1 on, not %d and %d", h.Sequence, h.First)
	case (h.Sequence == 1) != (h.Previous == [sha256.Size]byte{}):
		return fault.New(fault.Invalid, "segment %d follows %x: exactly the first one follows nothing", h.Sequence, h.Previous[:4])
	}
	return nil
}

func (h Header) encode() []byte {
	b := make([]byte, 0, HeaderBytes)
	b = append(b, magic...)
	b = binary.BigEndian.AppendUint16(b, format)
	b = append(b, h.Cluster[:]...)
	b = binary.BigEndian.AppendUint32(b, h.Timeline.Number)
	b = binary.BigEndian.AppendUint32(b, h.Timeline.Salt)
	b = binary.BigEndian.AppendUint64(b, h.Sequence)
	b = binary.BigEndian.AppendUint64(b, h.First)
	b = binary.BigEndian.AppendUint64(b, uint64(h.FirstTime))
	b = append(b, h.Previous[:]...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// ReadHeader reads the first HeaderBytes of a segment. Its checksum finds accidents;
// only a Reader verifies that the header belongs to what follows.
func ReadHeader(r io.Reader) (h Header, err error) {
	var buf [HeaderBytes]byte
	if _, err := io.ReadFull(r, buf[:]); err != nil {
		return h, shortened("its header", err)
	}
	b, ok := bytes.CutPrefix(buf[:], []byte(magic))
	if !ok {
		return h, fault.New(fault.Integrity, "it begins with %x, which is no segment", buf[:len(magic)])
	}
	if f := binary.BigEndian.Uint16(b); f != format {
		return h, fault.New(fault.Unsupported, "segment has format %d, this binary reads %d", f, format)
	}
	sum := binary.BigEndian.Uint32(buf[HeaderBytes-4:])
	if crc32.Checksum(buf[:HeaderBytes-4], castagnoli) != sum {
		return h, fault.New(fault.Integrity, "the checksum of its header does not match")
	}
	b = b[2:]
	copy(h.Cluster[:], b)
	h.Timeline = record.Timeline{Number: binary.BigEndian.Uint32(b[16:]), Salt: binary.BigEndian.Uint32(b[20:])}
	h.Sequence = binary.BigEndian.Uint64(b[24:])
	h.First = binary.BigEndian.Uint64(b[32:])
	h.FirstTime = record.LogTime(binary.BigEndian.Uint64(b[40:]))
	copy(h.Previous[:], b[48:])
	if err := h.Validate(); err != nil {
		return Header{}, fault.New(fault.Integrity, "its header is not valid: %v", err)
	}
	return h, nil
}

// context binds the sealed part of a segment to its header.
func (h Header) context() string {
	sum := sha256.Sum256(h.encode())
	return "mcpraft segment " + hex.EncodeToString(sum[:])
}

// shortened is err, or damage where err says that the source ended.
func shortened(where string, err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fault.New(fault.Integrity, "it ends in %s", where)
	}
	return err
}
