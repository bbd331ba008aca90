package logstore

import (
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/hashicorp/raft"
)

// layer is one layer of the chain; each embeds the next and overrides what it
// changes.
type layer = raft.LogStore

// stable is the other half of the chain; only the deadline stands before it.
type stable = raft.StableStore

// Base is what keeps the log and the stable store on disk. Every write is
// durable when it returns. A batch of StoreLogs is atomic or, after an error or
// a crash, a prefix of the batch.
type Base interface {
	raft.LogStore
	raft.StableStore
	io.Closer
}

// Defaults of Options.
const (
	DefaultDeadline   = 5 * time.Second
	DefaultCacheBytes = 32 << 20
)

// Options of a chain.
type Options struct {
	// Path names the base in messages.
	Path string

	// Deadline is how long one disk operation may take; 0 means 5 s. It is what
	// a hung disk costs before the node gives up, and with it its leadership.
	Deadline time.Duration

	// Fatal is called once, with the first failure, before the operation that
	// met it returns: it must not wait for raft or for the store. It says why
	// and ends the process. nil means panic.
	Fatal func(error)

	// Floor is the newest index that may be cut off the front of the log:
	// min(durable index of the state machine, newest archived index). Called at
	// every prefix delete, from any goroutine. nil means nothing may be cut.
	Floor func() uint64

	// CacheBytes bounds the newest entries held in memory, their bookkeeping
	// included; 0 means 32 MiB.
	CacheBytes int64

	// Metrics counts; nil means nobody looks.
	Metrics *Metrics
}

func (o Options) withDefaults() Options {
	if o.Deadline == 0 {
		o.Deadline = DefaultDeadline
	}
	if o.Fatal == nil {
		o.Fatal = func(err error) { panic(err) }
	}
	if o.Floor == nil {
		o.Floor = func() uint64 { return 0 }
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = DefaultCacheBytes
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	return o
}

// Store is the whole chain: the raft.LogStore and the raft.StableStore of one
// node. Its methods may be called concurrently, as raft does; raft itself never
// has two writes of entries under way.
type Store struct {
	layer
	stable
	disk    *deadline
	failure *failure
}

var (
	_ raft.LogStore          = (*Store)(nil)
	_ raft.StableStore       = (*Store)(nil)
	_ raft.MonotonicLogStore = (*Store)(nil)
)

// Chain puts the layers around base and owns it from then on: Close closes it.
func Chain(base Base, o Options) *Store {
	o = o.withDefaults()
	f := newFailure(o.Fatal)
	disk := newDeadline(base, o, f)
	guarded := &guard{layer: disk, floor: o.Floor, path: o.Path, failure: f}
	summed := &checksum{layer: guarded, path: o.Path, failure: f}
	counted := &measured{layer: summed, metrics: o.Metrics}
	cached := newCache(counted, o, f)
	return &Store{layer: cached, stable: disk, disk: disk, failure: f}
}

// IsMonotonic is true: the log has no gaps.
func (s *Store) IsMonotonic() bool { return true }

// Err is the failure after which nothing is written any more, or nil.
func (s *Store) Err() error { return s.failure.get() }

// Close waits for the operations under way and closes the base, together at
// most Options.Deadline. When that does not suffice, the disk hangs: Close
// returns an error, and one goroutine stays behind that only the end of the
// process ends.
func (s *Store) Close() error { return s.disk.close() }

// Bytes is what the entries take on the disk, without what is free for new ones; 0
// if the base cannot tell.
func (s *Store) Bytes() int64 {
	if b, ok := s.disk.base.(interface{ Bytes() int64 }); ok {
		return b.Bytes()
	}
	return 0
}

// Tail reads where the log begins and ends.
func (s *Store) Tail() (Tail, error) { return readTail(s, s) }

// Entries are the entries from index from (or the first one after it) to the
// last, in order, each verified. The last pair carries the error, if there is
// one; entries cut off while the caller reads are such an error.
func (s *Store) Entries(from uint64) iter.Seq2[raft.Log, error] { return readEntries(s, from) }

// at is path as a suffix of a message.
func at(path string) string {
	if path == "" {
		return ""
	}
	return fmt.Sprintf(" (%s)", path)
}
