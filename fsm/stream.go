package fsm

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"hash/crc32"
	"io"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

// The snapshot stream (docs/format/snapshot.md):
//
//	header   magic [8], format u16, n u32, meta [n], CRC32C u32
//	block    n u32, pairs [n], CRC32C u32 of {number of the block u64, n, pairs}
//	…
//	trailer  0 u32, number of pairs u64, digest [16], SHA-256 [32] of all before
//
// A pair is: length of the key and length of the value as uvarints, key, value.
// Pairs are in strictly growing order of their keys. All integers are big-endian.
const (
	streamMagic   = "mcpraftS"
	streamFormat  = 1
	blockTarget   = 256 << 10 // a block is closed before the pair that would pass it
	maxBlockBytes = 1 << 20   // a single pair may pass blockTarget
	maxMetaBytes  = 128 << 10

	headerOverhead = len(streamMagic) + 2 + 4 + 4
	blockOverhead  = 4 + 4
	trailerBytes   = 4 + 8 + 16 + sha256.Size
)

func pairBytes(key, value []byte) int {
	return uvarintBytes(len(key)) + uvarintBytes(len(value)) + len(key) + len(value)
}

func uvarintBytes(n int) int {
	size := 1
	for ; n >= 0x80; n >>= 7 {
		size++
	}
	return size
}

// A blockSizer adds up the bytes of blocks; streamWriter cuts them in the same
// places.
type blockSizer struct {
	total int64 // of closed blocks
	open  int   // bytes of pairs in the open block
}

func (b *blockSizer) add(n int) (closed bool) {
	if b.open > 0 && b.open+n > blockTarget {
		b.close()
		closed = true
	}
	b.open += n
	return closed
}

func (b *blockSizer) close() {
	if b.open > 0 {
		b.total += int64(b.open + blockOverhead)
		b.open = 0
	}
}

// A streamWriter writes a snapshot stream.
type streamWriter struct {
	w      *bufio.Writer
	sha    hash.Hash
	out    io.Writer // both
	sizer  blockSizer
	block  []byte
	blocks uint64
	count  uint64
	sum    sum
	hash   hasher
}

func newStreamWriter(w io.Writer) *streamWriter {
	s := &streamWriter{w: bufio.NewWriterSize(w, 64<<10), sha: sha256.New()}
	s.out = io.MultiWriter(s.w, s.sha)
	return s
}

func encodeHeader(m Meta) ([]byte, error) {
	meta, err := record.Marshal(m)
	if err != nil {
		return nil, err
	}
	b := binary.BigEndian.AppendUint16([]byte(streamMagic), streamFormat)
	b = binary.BigEndian.AppendUint32(b, uint32(len(meta)))
	b = append(b, meta...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli)), nil
}

func (s *streamWriter) header(m Meta) error {
	b, err := encodeHeader(m)
	if err != nil {
		return err
	}
	_, err = s.out.Write(b)
	return err
}

func (s *streamWriter) pair(key, value []byte) error {
	if s.sizer.add(pairBytes(key, value)) {
		if err := s.flushBlock(); err != nil {
			return err
		}
	}
	s.block = binary.AppendUvarint(s.block, uint64(len(key)))
	s.block = binary.AppendUvarint(s.block, uint64(len(value)))
	s.block = append(append(s.block, key...), value...)
	s.count++
	s.sum.add(s.hash.pair(key, value))
	return nil
}

func (s *streamWriter) flushBlock() error {
	if len(s.block) == 0 {
		return nil
	}
	var head [4]byte
	binary.BigEndian.PutUint32(head[:], uint32(len(s.block)))
	tail := binary.BigEndian.AppendUint32(nil, blockChecksum(s.blocks, s.block))
	for _, part := range [][]byte{head[:], s.block, tail} {
		if _, err := s.out.Write(part); err != nil {
			return err
		}
	}
	s.blocks++
	s.block = s.block[:0]
	return nil
}

// blockChecksum covers the position of a block, so that blocks cannot change
// places.
func blockChecksum(number uint64, pairs []byte) uint32 {
	var head [12]byte
	binary.BigEndian.PutUint64(head[:8], number)
	binary.BigEndian.PutUint32(head[8:], uint32(len(pairs)))
	return crc32.Update(crc32.Checksum(head[:], castagnoli), castagnoli, pairs)
}

func (s *streamWriter) trailer() error {
	if err := s.flushBlock(); err != nil {
		return err
	}
	d := s.sum.digest()
	b := binary.BigEndian.AppendUint64(make([]byte, 4), s.count)
	if _, err := s.out.Write(append(b, d[:]...)); err != nil {
		return err
	}
	if _, err := s.w.Write(s.sha.Sum(nil)); err != nil {
		return err
	}
	return s.w.Flush()
}

// A streamReader reads a snapshot stream and trusts nothing in it. Its memory is
// bounded by maxBlockBytes.
type streamReader struct {
	r      *bufio.Reader
	sha    hash.Hash
	block  []byte // of pairs not read yet
	buf    []byte
	blocks uint64
	count  uint64
	sum    sum
	hash   hasher
	last   []byte // key
}

func newStreamReader(r io.Reader) *streamReader {
	return &streamReader{r: bufio.NewReaderSize(r, 64<<10), sha: sha256.New()}
}

func damaged(format string, args ...any) error {
	return fault.New(fault.Integrity, "snapshot is damaged: "+format, args...).
		WithHint("nothing was changed; take another snapshot or backup")
}

// read fills n bytes of s.buf and hashes them.
func (s *streamReader) read(n int) ([]byte, error) {
	if cap(s.buf) < n {
		s.buf = make([]byte, n)
	}
	b := s.buf[:n]
	if _, err := io.ReadFull(s.r, b); err != nil {
		return nil, damaged("it ends early: %w", err)
	}
	s.sha.Write(b)
	return b, nil
}

// ReadSnapshotMeta reads the meta at the head of a snapshot stream and not much
// further. Only Restore and Seed verify the rest of it.
func ReadSnapshotMeta(r io.Reader) (Meta, error) { return newStreamReader(r).header() }

func (s *streamReader) header() (m Meta, err error) {
	head, err := s.read(headerOverhead - 4)
	if err != nil {
		return m, err
	}
	checksum := crc32.Checksum(head, castagnoli)
	if string(head[:len(streamMagic)]) != streamMagic {
		return m, damaged("it starts with %x, which is no snapshot", head[:len(streamMagic)])
	}
	if format := binary.BigEndian.Uint16(head[len(streamMagic):]); format != streamFormat {
		return m, fault.New(fault.Unsupported, "snapshot has format %d, this binary reads %d", format, streamFormat)
	}
	n := binary.BigEndian.Uint32(head[len(streamMagic)+2:])
	if n > maxMetaBytes {
		return m, damaged("its meta has %d bytes", n)
	}
	b, err := s.read(int(n) + 4)
	if err != nil {
		return m, err
	}
	if crc32.Update(checksum, castagnoli, b[:n]) != binary.BigEndian.Uint32(b[n:]) {
		return m, damaged("checksum of the header")
	}
	return m, record.Unmarshal(b[:n], &m)
}

// next is the next pair, valid until the next call; io.EOF after a trailer that
// verifies. A pair says nothing until then.
func (s *streamReader) next() (p pair, err error) {
	if len(s.block) == 0 {
		if err := s.nextBlock(); err != nil {
			return p, err
		}
	}
	keyLen, n := binary.Uvarint(s.block)
	valueLen, k := binary.Uvarint(s.block[max(n, 0):])
	rest := s.block[max(n, 0)+max(k, 0):]
	if n <= 0 || k <= 0 || keyLen > uint64(len(rest)) || valueLen > uint64(len(rest))-keyLen {
		return p, damaged("block %d does not decode", s.blocks-1)
	}
	p = pair{rest[:keyLen:keyLen], rest[keyLen : keyLen+valueLen : keyLen+valueLen]}
	s.block = rest[keyLen+valueLen:]
	if bytes.Compare(p.key, s.last) <= 0 || bytes.Compare(p.key, replicatedLower) < 0 || bytes.Compare(p.key, replicatedUpper) >= 0 {
		return p, damaged("key %x is out of place in block %d", p.key, s.blocks-1)
	}
	s.last = append(s.last[:0], p.key...)
	s.count++
	s.sum.add(s.hash.pair(p.key, p.value))
	return p, nil
}

func (s *streamReader) nextBlock() error {
	head, err := s.read(4)
	if err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(head)
	if n == 0 {
		return s.trailer()
	}
	if n > maxBlockBytes {
		return damaged("block %d has %d bytes", s.blocks, n)
	}
	b, err := s.read(int(n) + 4)
	if err != nil {
		return err
	}
	if blockChecksum(s.blocks, b[:n]) != binary.BigEndian.Uint32(b[n:]) {
		return damaged("checksum of block %d", s.blocks)
	}
	s.blocks++
	s.block = b[:n]
	return nil
}

// trailer verifies count, digest and hash, and that nothing follows.
func (s *streamReader) trailer() error {
	b, err := s.read(8 + 16)
	if err != nil {
		return err
	}
	d := s.sum.digest()
	if binary.BigEndian.Uint64(b) != s.count || !bytes.Equal(b[8:], d[:]) {
		return damaged("its trailer speaks of other pairs")
	}
	want := s.sha.Sum(nil)
	b, err = s.read(sha256.Size)
	if err != nil {
		return err
	}
	if !bytes.Equal(b, want) {
		return damaged("its SHA-256")
	}
	if _, err := s.r.ReadByte(); err != io.EOF {
		return damaged("bytes follow its trailer")
	}
	return io.EOF
}
