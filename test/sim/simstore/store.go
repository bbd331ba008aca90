// Package simstore keeps a Raft log, term and vote in one append-only file on a
// vfs.FS, for simulations: bbolt opens only real files. On
// vfs.NewCrashableMem, what was not synced vanishes at a crash, as on a disk.
//
// Every write is one record, synced before it returns: {length u32, CRC32C u32,
// body}, big endian; the body is one byte of kind and its fields. Open replays
// the file and writes what is left of it into a new one, so the file shrinks at
// each start and only then. All entries are also held in memory: a simulation's
// log is small.
package simstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"maps"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/mcpraft/mcpraft/internal/fault"
)

const (
	fileName = "raft.log"
	newName  = "raft.log.new"

	headerBytes = 8
	category    = vfs.WriteCategoryUnspecified
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errNotFound answers for a key that is not there: raft compares the text.
var errNotFound = errors.New("not found")

// Store is a logstore.Base. Its methods may be called concurrently.
type Store struct {
	mu   sync.RWMutex
	file vfs.File // nil when closed
	state
}

// state is what a file says when it is replayed.
type state struct {
	logs []raft.Log // consecutive indexes
	keys map[string][]byte
}

// Open opens the store in dir, which is created when it does not exist. A
// damaged record at the end is a write that a crash tore, and is dropped; one
// with a whole record behind it, or a gap in the entries, is an error.
func Open(fsys vfs.FS, dir string) (*Store, error) {
	if err := fsys.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("simstore: %w", err)
	}
	path := fsys.PathJoin(dir, fileName)
	data, err := readFile(fsys, path)
	if err != nil {
		return nil, fmt.Errorf("simstore: read %s: %w", path, err)
	}
	s := &Store{state: state{keys: make(map[string][]byte)}}
	if err := s.replay(data); err != nil {
		return nil, fault.New(fault.Integrity, "simstore: %s: %w", path, err)
	}
	if s.file, err = rewrite(fsys, dir, s.snapshot()); err != nil {
		return nil, fmt.Errorf("simstore: rewrite %s: %w", path, err)
	}
	return s, nil
}

// readFile is the content of a file, empty when there is none.
func readFile(fsys vfs.FS, path string) ([]byte, error) {
	f, err := fsys.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(f)
	return data, errors.Join(err, f.Close())
}

// rewrite puts a file with the given content in the place of the old one, at
// once, and leaves it open for appending.
func rewrite(fsys vfs.FS, dir string, data []byte) (vfs.File, error) {
	f, err := fsys.Create(fsys.PathJoin(dir, newName), category)
	if err != nil {
		return nil, err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync())
	err = errors.Join(err, fsys.Rename(fsys.PathJoin(dir, newName), fsys.PathJoin(dir, fileName)))
	if err == nil {
		err = syncDir(fsys, dir)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func syncDir(fsys vfs.FS, dir string) error {
	for _, d := range []string{dir, fsys.PathDir(dir)} {
		f, err := fsys.OpenDir(d)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// replay applies the records of a file.
func (s *state) replay(data []byte) error {
	for at := 0; at < len(data); {
		body, ok := record(data[at:])
		if !ok {
			return torn(data, at)
		}
		if err := s.apply(body); err != nil {
			return fmt.Errorf("record at byte %d: %w", at, err)
		}
		at += headerBytes + len(body)
	}
	return nil
}

// record is the body of the record that b begins with, if it is whole.
func record(b []byte) ([]byte, bool) {
	if len(b) < headerBytes {
		return nil, false
	}
	n := uint64(binary.BigEndian.Uint32(b))
	if n == 0 || n > uint64(len(b)-headerBytes) {
		return nil, false
	}
	body := b[headerBytes : headerBytes+n]
	return body, crc32.Checksum(body, castagnoli) == binary.BigEndian.Uint32(b[4:])
}

// torn is nil when nothing whole follows the damaged record at a position: only
// the last write can be unsynced.
func torn(data []byte, at int) error {
	for next := at + 1; next < len(data); next++ {
		if _, ok := record(data[next:]); ok {
			return fmt.Errorf("record at byte %d is damaged and a whole one follows at byte %d", at, next)
		}
	}
	return nil
}

// write makes a record of body durable and applies it.
func (s *Store) write(body []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		return errors.New("simstore: closed")
	}
	if _, err := s.file.Write(frame(nil, body)); err != nil {
		return err
	}
	if err := s.file.Sync(); err != nil {
		return err
	}
	return s.apply(body)
}

func frame(dst, body []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(body)))
	dst = binary.BigEndian.AppendUint32(dst, crc32.Checksum(body, castagnoli))
	return append(dst, body...)
}

// snapshot is a file that replays to s.
func (s *state) snapshot() []byte {
	var data []byte
	for _, key := range slices.Sorted(maps.Keys(s.keys)) {
		data = frame(data, setRecord([]byte(key), s.keys[key]))
	}
	for i := range s.logs {
		data = frame(data, storeRecord([]*raft.Log{&s.logs[i]}))
	}
	return data
}

// Close releases the file.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		return nil
	}
	f := s.file
	s.file = nil
	return f.Close()
}

// The raft.LogStore and raft.StableStore.

func (s *Store) FirstIndex() (uint64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.first(), nil
}

func (s *Store) LastIndex() (uint64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.last(), nil
}

func (s *Store) GetLog(index uint64, log *raft.Log) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.logs) == 0 || index < s.first() || index > s.last() {
		return raft.ErrLogNotFound
	}
	*log = s.logs[index-s.first()]
	return nil
}

func (s *Store) StoreLog(log *raft.Log) error { return s.StoreLogs([]*raft.Log{log}) }

func (s *Store) StoreLogs(logs []*raft.Log) error {
	if len(logs) == 0 {
		return nil
	}
	return s.write(storeRecord(logs))
}

func (s *Store) DeleteRange(first, last uint64) error { return s.write(deleteRecord(first, last)) }

func (s *Store) Set(key, value []byte) error { return s.write(setRecord(key, value)) }

func (s *Store) SetUint64(key []byte, value uint64) error {
	return s.Set(key, binary.BigEndian.AppendUint64(nil, value))
}

func (s *Store) Get(key []byte) ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	value, ok := s.keys[string(key)]
	if !ok {
		return nil, errNotFound
	}
	return slices.Clone(value), nil
}

func (s *Store) GetUint64(key []byte) (uint64, error) {
	value, err := s.Get(key)
	if err != nil {
		return 0, err
	}
	if len(value) != 8 {
		return 0, fmt.Errorf("simstore: %s is no number", key)
	}
	return binary.BigEndian.Uint64(value), nil
}
