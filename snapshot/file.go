package snapshot

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"hash"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/mcpraft/mcpraft/internal/failpoint"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/seal"
	"github.com/mcpraft/mcpraft/internal/strictjson"
)

// A snapshot file (docs/format/snapshot-file.md):
//
//	header   magic [8], format u16, n u32, description as JSON [n], CRC32C u32
//	sealed   the state
//	trailer  magic [8], bytes of the state u64, bytes of the file so far u64,
//	         digest [16], SHA-256 [32] of all before
//
// All integers are big-endian.
const (
	fileMagic     = "mcpraftB"
	trailerMagic  = "mcpraftT"
	fileFormat    = 1
	maxHeadBytes  = 64 << 10
	fileHeadBytes = len(fileMagic) + 2 + 4
	trailerBytes  = len(trailerMagic) + 8 + 8 + len(Digest{}) + sha256.Size
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A Description is what a snapshot file says of itself in front.
type Description struct {
	State   State     `json:"state"`
	Created time.Time `json:"created"`
	Creator string    `json:"creator"`
}

func (d Description) encode() ([]byte, error) {
	text, err := json.Marshal(d)
	if err != nil {
		return nil, err
	}
	if len(text) > maxHeadBytes {
		return nil, fault.New(fault.TooLarge, "the description of a snapshot has %d bytes, the limit is %d", len(text), maxHeadBytes)
	}
	b := binary.BigEndian.AppendUint16([]byte(fileMagic), fileFormat)
	b = binary.BigEndian.AppendUint32(b, uint32(len(text)))
	b = append(b, text...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli)), nil
}

// fileContext binds what is sealed to its header.
func fileContext(head []byte) string {
	sum := sha256.Sum256(head)
	return "mcpraft snapshot file " + hex.EncodeToString(sum[:])
}

// WriteFile writes a snapshot file to w, which may be a connection: whoever is at
// the other end uses CreateFile. It is whole when WriteFile returns nil.
func WriteFile(w io.Writer, p seal.Policy, s State, stream io.WriterTo, o Origin) error {
	s.At = s.LogTime.Time()
	if err := s.Validate(); err != nil {
		return err
	}
	head, err := Description{State: s, Created: time.Now().UTC().Truncate(time.Second), Creator: o.Creator}.encode()
	if err != nil {
		return err
	}
	out := &fileOutput{w: w, hash: sha256.New()}
	if _, err := out.Write(head); err != nil {
		return err
	}
	sealed, err := p.NewWriter(out, fileContext(head))
	if err != nil {
		return err
	}
	plain := &fileOutput{w: sealed, hash: sha256.New()}
	if _, err := stream.WriteTo(plain); err != nil {
		return err
	}
	if err := sealed.Close(); err != nil {
		return err
	}
	t := trailer{plain: plain.n, stored: out.n, digest: s.Digest}
	if _, err := out.Write(t.encode()); err != nil {
		return err
	}
	_, err = w.Write(out.hash.Sum(nil))
	return err
}

// A fileOutput counts and hashes what passes.
type fileOutput struct {
	w    io.Writer
	hash hash.Hash
	n    int64
}

func (f *fileOutput) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	f.hash.Write(p[:n])
	f.n += int64(n)
	return n, err
}

type trailer struct {
	plain, stored int64 // bytes of the state; of the file in front of the trailer
	digest        Digest
	sum           Hash
}

// encode is the trailer without its hash.
func (t trailer) encode() []byte {
	b := binary.BigEndian.AppendUint64([]byte(trailerMagic), uint64(t.plain))
	b = binary.BigEndian.AppendUint64(b, uint64(t.stored))
	return append(b, t.digest[:]...)
}

func decodeTrailer(b []byte) (t trailer, ok bool) {
	rest, ok := bytes.CutPrefix(b, []byte(trailerMagic))
	if !ok || len(b) != trailerBytes {
		return t, false
	}
	t.plain, t.stored = int64(binary.BigEndian.Uint64(rest)), int64(binary.BigEndian.Uint64(rest[8:]))
	copy(t.digest[:], rest[16:])
	copy(t.sum[:], rest[16+len(t.digest):])
	return t, true
}

// CreateFile makes the snapshot file at path out of what write writes: under another
// name, verified as far as that goes without keys, synced, and renamed last. There
// is a file of that name only if all of that succeeded; one that exists already is a
// Conflict. It can be read by its owner only.
func CreateFile(path string, write func(io.Writer) error) (_ *Description, err error) {
	if _, err := os.Lstat(path); err == nil {
		return nil, fault.New(fault.Conflict, "%s exists already", path).WithHint("choose another name; snapshots are never overwritten")
	}
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*.partial") // mode 0600
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	err = write(f)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return nil, err
	}
	d, err := VerifyFile(f.Name(), LevelFiles, seal.Ring{}, nil)
	if err != nil {
		return nil, err
	}
	if err := failpoint.Eval("snapshot/file"); err != nil {
		return nil, err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return nil, err
	}
	return d, syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// A File is an open snapshot file. It is for one goroutine.
type File struct {
	Description
	StateBytes int64     // of the state as a stream; the trailer's word
	Sealed     seal.Info // cipher, compression and the keys that open it

	file    *os.File
	head    []byte
	trailer trailer
}

// OpenFile opens a snapshot file and reads its description and its trailer. That
// says that it is not cut; only Verify says that it is right. The caller closes it.
func OpenFile(path string) (_ *File, err error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fault.New(fault.NotFound, "%s does not exist", path)
	}
	if err != nil {
		return nil, err
	}
	s := &File{file: f}
	err = s.open()
	if fault.Of(err) == fault.Unsupported && s.changed() {
		err = fault.New(fault.Integrity, "its SHA-256 does not match: bytes were changed")
	}
	if err != nil {
		return nil, errors.Join(s.damage(err), f.Close())
	}
	return s, nil
}

// changed reports whether a file that looks like one of a later version is damaged
// instead.
func (s *File) changed() bool {
	err := s.readTrailer()
	if err == nil {
		err = s.verifyHash()
	}
	return fault.Of(err) == fault.Integrity
}

// Close closes the file.
func (s *File) Close() error { return s.file.Close() }

// damage names the file.
func (s *File) damage(err error) error {
	if k := fault.Of(err); k == fault.Integrity || k == fault.Unsupported {
		return fault.New(k, "snapshot file %s: %v", s.file.Name(), err).WithHint("it cannot be restored; use another one")
	}
	return err
}

func (s *File) open() error {
	var err error
	if s.head, err = readHead(s.file); err != nil {
		return err
	}
	text := s.head[fileHeadBytes : len(s.head)-4]
	if err := strictjson.DecodeBytes(text, &s.Description); err != nil {
		return fault.New(fault.Integrity, "its description is not readable: %v", err)
	}
	if err := s.State.Validate(); err != nil {
		return fault.New(fault.Integrity, "its description is not valid: %v", err)
	}
	if s.Sealed, err = seal.Inspect(s.file); err != nil {
		return err
	}
	if err := s.readTrailer(); err != nil {
		return err
	}
	if s.trailer.digest != s.State.Digest {
		return fault.New(fault.Integrity, "its trailer has the digest %v, its description %v", s.trailer.digest, s.State.Digest)
	}
	return nil
}

func (s *File) readTrailer() error {
	info, err := s.file.Stat()
	if err != nil {
		return err
	}
	var b [trailerBytes]byte
	at := info.Size() - int64(len(b))
	if at < int64(len(s.head)) {
		return fault.New(fault.Integrity, "it ends early, after %d bytes", info.Size())
	}
	if _, err := s.file.ReadAt(b[:], at); err != nil {
		return err
	}
	t, ok := decodeTrailer(b[:])
	if !ok || t.stored != at {
		return fault.New(fault.Integrity, "it does not end with a trailer: it was cut, or bytes were added")
	}
	s.trailer, s.StateBytes = t, t.plain
	return nil
}

// verifyHash compares every byte with the hash in the trailer.
func (s *File) verifyHash() error {
	sum := sha256.New()
	size := s.trailer.stored + int64(trailerBytes-len(s.trailer.sum))
	n, err := io.Copy(sum, io.NewSectionReader(s.file, 0, size))
	if err != nil {
		return err
	}
	if n != size || Hash(sum.Sum(nil)) != s.trailer.sum {
		return fault.New(fault.Integrity, "its SHA-256 does not match: bytes were changed")
	}
	return nil
}

// readHead reads the header, with its checksum, and verifies that.
func readHead(r io.Reader) ([]byte, error) {
	head := make([]byte, fileHeadBytes)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, endsIn("its header", err)
	}
	rest, ok := bytes.CutPrefix(head, []byte(fileMagic))
	if !ok {
		return nil, fault.New(fault.Integrity, "it begins with %x, which is no snapshot file", head[:len(fileMagic)])
	}
	if f := binary.BigEndian.Uint16(rest); f != fileFormat {
		return nil, fault.New(fault.Unsupported, "it has format %d, this binary reads %d", f, fileFormat)
	}
	n := binary.BigEndian.Uint32(rest[2:])
	if n > maxHeadBytes {
		return nil, fault.New(fault.Integrity, "its description has %d bytes", n)
	}
	head = append(head, make([]byte, n+4)...)
	if _, err := io.ReadFull(r, head[fileHeadBytes:]); err != nil {
		return nil, endsIn("its header", err)
	}
	body, sum := head[:len(head)-4], head[len(head)-4:]
	if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(sum) {
		return nil, fault.New(fault.Integrity, "the checksum of its header does not match")
	}
	return head, nil
}

func endsIn(where string, err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fault.New(fault.Integrity, "it ends in %s", where)
	}
	return err
}

// Reader reads the state, by any key of the ring. io.EOF means that all of it
// verified. Only one Reader may be in use.
func (s *File) Reader(ring seal.Ring) (io.Reader, error) {
	sealed := io.NewSectionReader(s.file, int64(len(s.head)), s.trailer.stored-int64(len(s.head)))
	r, err := ring.NewReader(sealed, fileContext(s.head))
	if err != nil {
		return nil, s.damage(err)
	}
	return &fileState{file: s, r: r}, nil
}

// fileState compares the length at the end.
type fileState struct {
	file *File
	r    io.Reader
	n    int64
}

func (f *fileState) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	f.n += int64(n)
	if err == io.EOF && f.n != f.file.StateBytes {
		err = fault.New(fault.Integrity, "its state has %d bytes, its trailer says %d", f.n, f.file.StateBytes)
	}
	if err != nil && err != io.EOF {
		err = f.file.damage(err)
	}
	return n, err
}

// VerifyFile checks a snapshot file: at LevelFiles that every byte of it has its
// hash, which needs no key; at LevelDecode also that it decrypts and decompresses.
// If decode is not nil, it is given the state there and reads it to its end.
func VerifyFile(path string, level Level, ring seal.Ring, decode func(io.Reader) error) (*Description, error) {
	if level != LevelFiles && level != LevelDecode {
		return nil, fault.New(fault.Invalid, "a snapshot file is not verified at level %q here", level)
	}
	s, err := OpenFile(path)
	if err != nil {
		return nil, err
	}
	err = s.verify(level, ring, decode)
	return &s.Description, errors.Join(err, s.Close())
}

func (s *File) verify(level Level, ring seal.Ring, decode func(io.Reader) error) error {
	if err := s.verifyHash(); err != nil {
		return s.damage(err)
	}
	if level == LevelFiles {
		return nil
	}
	r, err := s.Reader(ring)
	if err != nil {
		return err
	}
	if decode != nil {
		if err := decode(r); err != nil {
			return err
		}
	}
	_, err = io.Copy(io.Discard, r)
	return err
}
