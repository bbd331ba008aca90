package logstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// initialMmap is the address space reserved for the file: while the file is
// smaller, an append never waits for readers to end. It costs no memory.
const initialMmap = 4 << 30

// lockTimeout is how long an open waits for the process that holds the file: a
// predecessor that is about to exit.
const lockTimeout = time.Second

// OpenBolt opens the file at path, or creates it in a directory that exists. It
// fails with a Conflict when another process holds the file and with Integrity
// when the file is damaged. The free list is not written with every commit, so
// opening reads the whole file once.
func OpenBolt(path string) (Base, error) {
	_, err := os.Stat(path)
	created := errors.Is(err, os.ErrNotExist)
	b, err := openBolt(path, false)
	if err != nil {
		return nil, err
	}
	if created {
		if err := syncDir(filepath.Dir(path)); err != nil {
			return nil, errors.Join(err, b.Close())
		}
	}
	return b, nil
}

func openBolt(path string, readOnly bool) (*bolt, error) {
	var store *raftboltdb.BoltStore
	err := contain(func() (err error) {
		store, err = raftboltdb.New(raftboltdb.Options{
			Path: path,
			BoltOptions: &bbolt.Options{
				Timeout:         lockTimeout,
				NoFreelistSync:  true,
				FreelistType:    bbolt.FreelistMapType,
				InitialMmapSize: initialMmap,
				ReadOnly:        readOnly,
			},
		})
		return err
	})
	switch {
	case err == nil:
		return &bolt{store, path}, nil
	case errors.Is(err, os.ErrNotExist):
		return nil, fault.New(fault.NotFound, "raft log (%s): %w", path, err).
			WithHint("check the path of the data directory")
	case errors.Is(err, berrors.ErrTimeout):
		return nil, fault.New(fault.Conflict, "raft log (%s): another process holds the file", path).
			WithHint("a server or an offline command runs on this data directory: stop it, or use another data directory")
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrChecksum), errors.Is(err, berrors.ErrVersionMismatch),
		fault.Of(err) == fault.Integrity:
		return nil, fault.New(fault.Integrity, "raft log (%s): the file is damaged or is no raft log: %w", path, err).
			WithHint("%s", hintDamaged)
	default:
		return nil, fault.New(fault.Unavailable, "raft log (%s): open: %w", path, err).
			WithHint("check that the directory exists, that this user may write it, and that its disk has space")
	}
}

// syncDir makes the name of a new file durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return errors.Join(d.Sync(), d.Close())
}

// contain runs f and turns a panic into an error: bbolt panics when it meets a
// page that makes no sense, and the memory map faults where the disk cannot
// read the file. Neither must end the process without a word on what to do.
func contain(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fault.New(fault.Integrity, "bbolt: %v", r).WithHint("%s", hintDamaged)
		}
	}()
	return f()
}

// bolt is a raft-boltdb store whose panics are errors.
type bolt struct {
	store *raftboltdb.BoltStore
	path  string
}

// Bytes is the size of the file, less its free pages: the file never shrinks.
func (b *bolt) Bytes() int64 {
	info, err := os.Stat(b.path)
	if err != nil {
		return 0
	}
	return max(0, info.Size()-int64(b.store.Stats().FreeAlloc))
}

func (b *bolt) FirstIndex() (index uint64, err error) {
	err = contain(func() error { index, err = b.store.FirstIndex(); return err })
	return index, err
}

func (b *bolt) LastIndex() (index uint64, err error) {
	err = contain(func() error { index, err = b.store.LastIndex(); return err })
	return index, err
}

func (b *bolt) GetLog(index uint64, log *raft.Log) error {
	return contain(func() error { return b.store.GetLog(index, log) })
}

func (b *bolt) StoreLog(log *raft.Log) error { return b.StoreLogs([]*raft.Log{log}) }

func (b *bolt) StoreLogs(logs []*raft.Log) error {
	return contain(func() error { return b.store.StoreLogs(logs) })
}

func (b *bolt) DeleteRange(first, last uint64) error {
	return contain(func() error { return b.store.DeleteRange(first, last) })
}

func (b *bolt) Set(key, value []byte) error {
	return contain(func() error { return b.store.Set(key, value) })
}

func (b *bolt) SetUint64(key []byte, value uint64) error {
	return contain(func() error { return b.store.SetUint64(key, value) })
}

func (b *bolt) Get(key []byte) (value []byte, err error) {
	err = contain(func() error { value, err = b.store.Get(key); return err })
	return value, err
}

func (b *bolt) GetUint64(key []byte) (value uint64, err error) {
	err = contain(func() error { value, err = b.store.GetUint64(key); return err })
	return value, err
}

func (b *bolt) Close() error { return contain(b.store.Close) }
