package logstore

import (
	"errors"
	"fmt"
	"iter"

	"github.com/hashicorp/raft"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// Tail says where a log begins and ends. The node of a lost quorum that has the
// highest {LastTerm, LastIndex} is the one to recover from.
type Tail struct {
	FirstIndex  uint64 // 0 when the log is empty
	LastIndex   uint64
	LastTerm    uint64 // of the entry at LastIndex
	CurrentTerm uint64 // newest term that the node has seen
}

func (t Tail) String() string {
	return fmt.Sprintf("entries %d to %d, last term %d, current term %d", t.FirstIndex, t.LastIndex, t.LastTerm, t.CurrentTerm)
}

// Reader reads the log of a node that does not run. Its methods may be called
// concurrently.
type Reader struct {
	base *bolt
	path string
}

// OpenReadOnly opens the log at path without changing it. Several readers may
// be open at once. It fails with NotFound when there is no file, with Conflict
// when a server runs on it and with Integrity when it is damaged.
func OpenReadOnly(path string) (*Reader, error) {
	base, err := openBolt(path, true)
	if err != nil {
		return nil, err
	}
	return &Reader{base, path}, nil
}

// Tail reads where the log begins and ends.
func (r *Reader) Tail() (Tail, error) { return readTail(r, r.base) }

// Entries are the entries from index from (or the first one after it) to the
// last, in order, each verified, committed or not. The last pair carries the
// error, if there is one.
func (r *Reader) Entries(from uint64) iter.Seq2[raft.Log, error] { return readEntries(r, from) }

// FirstIndex is the index of the oldest entry, 0 when the log is empty.
func (r *Reader) FirstIndex() (uint64, error) { return r.base.FirstIndex() }

// LastIndex is the index of the newest entry, 0 when the log is empty.
func (r *Reader) LastIndex() (uint64, error) { return r.base.LastIndex() }

// GetLog reads and verifies one entry; raft.ErrLogNotFound when it is not there.
func (r *Reader) GetLog(index uint64, log *raft.Log) error {
	if err := r.base.GetLog(index, log); err != nil {
		return err
	}
	return verifyRead(r.path, index, log)
}

// Close releases the file.
func (r *Reader) Close() error { return r.base.Close() }

// entries is the reading half of a raft.LogStore.
type entries interface {
	FirstIndex() (uint64, error)
	LastIndex() (uint64, error)
	GetLog(index uint64, log *raft.Log) error
}

// keyCurrentTerm is where raft keeps its term (api.go of the library).
var keyCurrentTerm = []byte("CurrentTerm")

func readTail(logs entries, stable raft.StableStore) (Tail, error) {
	term, err := stable.GetUint64(keyCurrentTerm)
	if err != nil && !isAbsent(err) {
		return Tail{}, err
	}
	first, err := logs.FirstIndex()
	if err != nil {
		return Tail{}, err
	}
	last, err := logs.LastIndex()
	if err != nil {
		return Tail{}, err
	}
	t := Tail{FirstIndex: first, LastIndex: last, CurrentTerm: term}
	if last == 0 {
		return t, nil
	}
	var l raft.Log
	if err := logs.GetLog(last, &l); err != nil {
		return Tail{}, err
	}
	t.LastTerm = l.Term
	return t, nil
}

func readEntries(logs entries, from uint64) iter.Seq2[raft.Log, error] {
	return func(yield func(raft.Log, error) bool) {
		first, err := logs.FirstIndex()
		if err != nil {
			yield(raft.Log{}, err)
			return
		}
		last, err := logs.LastIndex()
		if err != nil {
			yield(raft.Log{}, err)
			return
		}
		for index := max(from, first, 1); index <= last; index++ {
			var l raft.Log
			if err := logs.GetLog(index, &l); err != nil {
				yield(raft.Log{}, missing(index, err))
				return
			}
			if !yield(l, nil) {
				return
			}
		}
	}
}

// missing turns an entry that is not there into an error that says so.
func missing(index uint64, err error) error {
	if !errors.Is(err, raft.ErrLogNotFound) {
		return err
	}
	return fault.New(fault.NotFound, "raft log: entry %d is missing", index).
		WithHint("it was cut off while it was read, or the log has a hole and this is a damaged disk: %s", hintDamaged)
}
