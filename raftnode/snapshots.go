package raftnode

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/internal/fault"
)

// liveSnapshot names the durable state in raft's list of snapshots.
const liveSnapshot = "state"

// snapshots is raft's snapshot store. Its list is the durable state machine and
// nothing else: a driven snapshot syncs it and copies no byte, a node that needs
// a snapshot is streamed a consistent view of it, and after a restart raft
// continues at the state's own index.
//
// A received snapshot is spooled to a file first, because raft wants all of it
// before it stops applying, and is then restored by machine.Restore.
type snapshots struct {
	fs     vfs.FS
	dir    string
	fsm    *fsm.Machine
	log    raft.LogStore
	opened *spool // by raft's state machine goroutine, between Open and Restore

	damaged func(error) // the state on this disk is not what was written to it

	mu     sync.Mutex // guards spools and last
	spools map[string]*spool
	last   int
}

// spool is a snapshot that came over the network.
type spool struct {
	path string
	meta raft.SnapshotMeta

	// divergent: the log went on past the snapshot when it arrived, or held
	// another entry at its index. Raft forgets such a tail on disk but not in
	// memory, then refuses what the leader sends and gets the same snapshot again,
	// for ever (hashicorp/raft issue 697). The node restarts raft to end that.
	divergent bool
}

// marker is installed.json: the last installed snapshot. It explains a log that
// does not hold the entry at the state's index.
type marker struct {
	Index uint64 `json:"index"`
	Term  uint64 `json:"term"`
}

func newSnapshots(fs vfs.FS, dir string, m *fsm.Machine, log raft.LogStore, damaged func(error)) (*snapshots, error) {
	s := &snapshots{fs: fs, dir: dir, fsm: m, log: log, damaged: damaged, spools: make(map[string]*spool)}
	path := fs.PathJoin(dir, spoolDir)
	if err := fs.RemoveAll(path); err != nil {
		return nil, fmt.Errorf("spool of snapshots: %w", err)
	}
	return s, fs.MkdirAll(path, 0o750)
}

func (s *snapshots) mark(index, term uint64) error {
	return writeJSON(s.fs, s.dir, markerFile, marker{Index: index, Term: term})
}

// List names the durable state, or nothing when there is none.
func (s *snapshots) List() ([]*raft.SnapshotMeta, error) {
	if s.fsm.Meta().Index == 0 {
		return nil, nil
	}
	if err := s.fsm.Sync(); err != nil {
		return nil, err
	}
	meta, err := snapshotMeta(s.fsm.Meta(), 0)
	if err != nil {
		return nil, err
	}
	return []*raft.SnapshotMeta{meta}, nil
}

// Open streams the durable state, or a received snapshot to machine.Restore.
func (s *snapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	if id != liveSnapshot {
		return s.openSpool(id)
	}
	if err := s.fsm.Sync(); err != nil {
		return nil, nil, err
	}
	snap, err := s.fsm.Snapshot()
	if err != nil {
		return nil, nil, err
	}
	size, err := snap.Size()
	if err == nil {
		var meta *raft.SnapshotMeta
		if meta, err = snapshotMeta(snap.Meta(), size); err == nil {
			return meta, &stream{snap: snap, damaged: s.damaged}, nil
		}
	}
	snap.Close()
	return nil, nil, err
}

func (s *snapshots) openSpool(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	s.mu.Lock()
	sp := s.spools[id]
	s.mu.Unlock()
	if sp == nil {
		return nil, nil, fault.New(fault.NotFound, "snapshot %q is not here", id)
	}
	f, err := s.fs.Open(sp.path)
	if err != nil {
		return nil, nil, err
	}
	s.opened = sp
	return &sp.meta, &spoolReader{File: f, done: func() error { return s.drop(id) }}, nil
}

// drop forgets a received snapshot and its file.
func (s *snapshots) drop(id string) error {
	s.mu.Lock()
	sp := s.spools[id]
	delete(s.spools, id)
	s.mu.Unlock()
	if sp == nil {
		return nil
	}
	return removeIfExists(s.fs, sp.path)
}

// Create takes a driven snapshot (nothing is written to the sink) or receives
// one. Raft has at most one of each under way.
func (s *snapshots) Create(version raft.SnapshotVersion, index, term uint64, c raft.Configuration, ci uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	s.mu.Lock()
	s.last++
	id := fmt.Sprintf("%d-%d-%d", term, index, s.last)
	s.mu.Unlock()
	return &sink{store: s, spool: &spool{
		path: s.fs.PathJoin(s.dir, spoolDir, id),
		meta: raft.SnapshotMeta{
			Version: version, ID: id, Index: index, Term: term,
			Configuration: c, ConfigurationIndex: ci,
		},
	}}, nil
}

// divergent reports whether raft would keep a tail in memory that a snapshot at
// index and term replaces.
func (s *snapshots) divergent(index, term uint64) (bool, error) {
	last, err := s.log.LastIndex()
	if err != nil || last < index {
		return false, err
	}
	if last > index {
		return true, nil
	}
	var l raft.Log
	if err := s.log.GetLog(last, &l); err != nil {
		return false, err
	}
	return l.Term != term, nil
}

// sink receives one snapshot. Its file is made by the first write.
type sink struct {
	store *snapshots
	spool *spool
	file  vfs.File
}

func (k *sink) ID() string {
	if k.file == nil {
		return liveSnapshot
	}
	return k.spool.meta.ID
}

func (k *sink) Write(p []byte) (int, error) {
	if k.file == nil {
		f, err := k.store.fs.Create(k.spool.path, vfs.WriteCategoryUnspecified)
		if err != nil {
			return 0, err
		}
		k.file = f
	}
	n, err := k.file.Write(p)
	k.spool.meta.Size += int64(n)
	return n, err
}

// Close completes the snapshot. A driven one is complete as it is: the state was
// synced by witness.Persist.
func (k *sink) Close() error {
	if k.file == nil {
		return nil
	}
	if err := k.file.Close(); err != nil {
		return err
	}
	divergent, err := k.store.divergent(k.spool.meta.Index, k.spool.meta.Term)
	if err != nil {
		return err
	}
	k.spool.divergent = divergent
	k.store.mu.Lock()
	defer k.store.mu.Unlock()
	k.store.spools[k.spool.meta.ID] = k.spool
	return nil
}

func (k *sink) Cancel() error {
	if k.file == nil {
		return nil
	}
	return errors.Join(k.file.Close(), removeIfExists(k.store.fs, k.spool.path))
}

// spoolReader reads a received snapshot and removes it when it is closed: raft
// restores it once.
type spoolReader struct {
	vfs.File
	done func() error
}

func (r *spoolReader) Close() error { return errors.Join(r.File.Close(), r.done()) }

// stream sends a snapshot of the state. Raft's transport uses WriteTo; Read is
// there because io.ReadCloser has it.
type stream struct {
	snap    *fsm.Snapshot
	damaged func(error)
	pipe    *io.PipeReader // nil until the first Read
	sent    sync.WaitGroup
}

func (s *stream) WriteTo(w io.Writer) (int64, error) {
	n, err := s.snap.WriteTo(w)
	if fault.Of(err) == fault.Integrity {
		s.damaged(err)
	}
	return n, err
}

func (s *stream) Read(p []byte) (int, error) {
	if s.pipe == nil {
		r, w := io.Pipe()
		s.pipe = r
		s.sent.Go(func() {
			_, err := s.WriteTo(w)
			w.CloseWithError(err) // nil means EOF
		})
	}
	return s.pipe.Read(p)
}

func (s *stream) Close() error {
	if s.pipe != nil {
		_ = s.pipe.Close() // ends the writer; has no error
		s.sent.Wait()
	}
	s.snap.Close()
	return nil
}

// snapshotMeta is what raft knows of a state.
func snapshotMeta(m fsm.Meta, size int64) (*raft.SnapshotMeta, error) {
	c, err := decodeConfiguration(m.Configuration)
	if err != nil {
		return nil, err
	}
	return &raft.SnapshotMeta{
		Version: raft.SnapshotVersionMax, ID: liveSnapshot, Index: m.Index, Term: m.Term,
		Configuration: c, ConfigurationIndex: m.ConfigurationIndex, Size: size,
	}, nil
}

// decodeConfiguration is raft.DecodeConfiguration without its panic.
func decodeConfiguration(data []byte) (c raft.Configuration, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fault.New(fault.Integrity, "the membership in the state does not decode: %v", r)
		}
	}()
	return raft.DecodeConfiguration(data), nil
}
