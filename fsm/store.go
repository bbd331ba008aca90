package fsm

import (
	"fmt"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// formatVersion is the format of our databases. It is stated because Pebble's
// default is its oldest one; raising it makes older binaries refuse the files.
const formatVersion = pebble.FormatTableFormatV6

// A store is one Pebble database with the count of those who use it: the
// Machine while it is the current one, each View, each Snapshot. Whoever gives
// up the last use closes it, and removes its files if a restore replaced it.
type store struct {
	o       *Options
	dir     string
	number  uint64
	db      *pebble.DB
	users   atomic.Int64
	retired atomic.Bool   // replaced: the files go with the last user
	drained chan struct{} // closed when the database is closed
	err     error         // of closing; read after drained
	stalls  atomic.Uint64 // times that Pebble made writers wait
	stalled atomic.Bool   // it does so now
	failed  atomic.Pointer[fault.Error]
}

// release gives up one use.
func (s *store) release() {
	if s.users.Add(-1) > 0 {
		return
	}
	s.err = s.db.Close()
	if s.retired.Load() {
		if s.err == nil {
			s.err = s.o.FS.RemoveAll(s.dir)
		}
		if s.err != nil {
			s.o.Notice("a state that was replaced cannot be removed, the next start tries again: " + s.err.Error())
		}
	}
	close(s.drained)
}

func (s *store) isDrained() bool {
	select {
	case <-s.drained:
		return true
	default:
		return false
	}
}

// openStore opens the database of a number that CURRENT names; the caller has
// the first use.
func openStore(dir string, number uint64, o *Options, cache *pebble.Cache) (*store, error) {
	return newStore(dir, number, o, cache, number == firstDB)
}

// createStore makes the empty database of a number.
func createStore(dir string, number uint64, o *Options, cache *pebble.Cache) (*store, error) {
	return newStore(dir, number, o, cache, true)
}

func newStore(dir string, number uint64, o *Options, cache *pebble.Cache, mayBeNew bool) (*store, error) {
	path := o.FS.PathJoin(dir, dbName(number))
	s := &store{o: o, dir: path, number: number, drained: make(chan struct{})}
	po := pebbleOptions(o, cache)
	po.Logger, po.EventListener = databaseLogger{s}, s.events()
	po.ErrorIfNotExists = !mayBeNew
	var err error
	if s.db, err = pebble.Open(path, po); err != nil {
		return nil, fault.New(fault.Integrity, "the state in %s does not open: %w", path, err).
			WithHint("another process may be using the directory; if not, the disk is full or damaged: make room, or re-seed this node from its peers")
	}
	s.users.Store(1)
	return s, nil
}

// maxMemTables bounds the memtables in memory: one that is written to, the
// others on their way to disk.
const maxMemTables = 4

// newBlockCache makes a cache that holds CacheBytes of blocks. Pebble takes the
// memory of memtables out of it, so that is added: without, a full set of
// memtables would leave nothing for blocks.
func newBlockCache(o *Options) *pebble.Cache {
	return pebble.NewCache(o.CacheBytes + maxMemTables*o.MemTableBytes)
}

// pebbleOptions are for a database that must never make apply wait: the write
// stall limits are far above what compaction lets come up.
func pebbleOptions(o *Options, cache *pebble.Cache) *pebble.Options {
	po := &pebble.Options{
		FS:                          orderedFS{o.FS},
		Cache:                       cache,
		FormatMajorVersion:          formatVersion,
		MemTableSize:                uint64(o.MemTableBytes),
		MemTableStopWritesThreshold: maxMemTables,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       24,
		LBaseMaxBytes:               64 << 20,
		BytesPerSync:                512 << 10,
		WALBytesPerSync:             1 << 20, // the WAL is not synced by commits; this keeps write-back smooth
		MaxOpenFiles:                1000,
	}
	for i := range po.Levels {
		po.Levels[i].FilterPolicy = bloom.FilterPolicy(10) // most reads of apply ask whether a new id is taken
		po.Levels[i].BlockSize = 8 << 10                   // apply reads single records; a larger block costs it more to unpack
		po.Levels[i].IndexBlockSize = 256 << 10            // one level of index: two cost a second search per read
	}
	po.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionFastest })
	return po
}

// databaseLogger takes the place of Pebble's logger, which writes to the
// terminal and exits by itself.
type databaseLogger struct{ s *store }

func (databaseLogger) Infof(string, ...any) {}

func (l databaseLogger) Errorf(format string, args ...any) {
	l.s.o.Notice("pebble: " + fmt.Sprintf(format, args...))
}

// Fatalf is called when Pebble cannot go on: a WAL, manifest or commit failed.
// Pebble expects it not to return, and reports success if it does.
func (l databaseLogger) Fatalf(format string, args ...any) {
	err := fault.New(fault.Integrity, "the state cannot be written: %w", fmt.Errorf(format, args...)).
		WithHint("check the disk, then start the node again; it re-reads its log")
	l.s.failed.CompareAndSwap(nil, err)
	l.s.o.Fatal(err)
}

// failure is what Pebble could not go on from, or nil.
func (s *store) failure() error {
	if err := s.failed.Load(); err != nil {
		return err
	}
	return nil
}

// cause is what Pebble says of a read that failed. To that of a damaged file it
// joins an error whose text is none for people.
func cause(err error) error {
	if i := pebble.ExtractDataCorruptionInfo(err); i != nil {
		return i.Details
	}
	return err
}

// events turns what Pebble reports into notices and faults.
func (s *store) events() *pebble.EventListener {
	return &pebble.EventListener{
		BackgroundError: func(err error) {
			s.o.Notice("pebble: background work failed and is tried again: " + err.Error())
		},
		DataCorruption: func(i pebble.DataCorruptionInfo) {
			s.o.Fatal(fault.New(fault.Integrity, "the state on disk is damaged: %s: %w", i.Path, i.Details).
				WithHint("check the disk and re-seed this node from its peers"))
		},
		DiskSlow: func(i pebble.DiskSlowInfo) { s.o.Notice("pebble: " + i.String()) },
		WriteStallBegin: func(i pebble.WriteStallBeginInfo) {
			s.stalls.Add(1)
			s.stalled.Store(true)
			s.o.Notice("pebble: " + i.String())
		},
		WriteStallEnd: func() { s.stalled.Store(false) },
	}
}
