package fsm

import (
	"errors"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

// A tx is one call of Apply: a Pebble batch, what was read and written on the
// way, and the position of the entry and command at hand. A command reads and
// writes through it and nowhere else.
//
// A plain batch is much cheaper than Pebble's indexed one; records that a later
// command of the same batch may read are kept in cells.
//
// Disk errors stick: get then answers "no such key", later errors are dropped,
// and Apply throws the whole batch away and faults. So commands need no error
// handling, and no outcome that was computed past an error is ever seen.
type tx struct {
	state *state
	batch *pebble.Batch
	cells map[string]cell
	order []string // keys of cells, oldest first
	hash  hasher
	sum   sum
	meta  Meta
	err   error

	checks       []Check   // replaced, never changed in place
	mismatch     *Mismatch // the first one, or nil
	checked      bool      // checks or mismatch changed
	reconfigured bool      // the configuration changed
	windows      []*window
	hits, misses uint64
	index, term  uint64 // of the entry
	now          record.LogTime
	scope        record.Scope // of the command
	actor        record.Principal
	revision     uint64 // that the command's changes get if it is accepted
	changes      []Change

	settings   record.SessionSettings // decoded from the value that settingsOf points to
	settingsOf *byte
}

// A cell is the value of one key as the batch sees it; nil means no such key.
type cell struct {
	value   []byte
	written bool
}

func (t *tx) fail(err error) {
	if t.err == nil {
		t.err = err
	}
}

// get is the value of key as of this command, nil if there is none. The caller
// does not change it.
func (t *tx) get(key []byte) []byte {
	if c, ok := t.cells[string(key)]; ok {
		return c.value
	}
	value, ok := t.state.hot.get(key)
	if ok {
		t.hits++
	} else {
		t.misses++
		value = t.read(key)
	}
	t.setCell(string(key), cell{value: value})
	return value
}

func (t *tx) read(key []byte) []byte {
	if !t.state.keys.mayHold(key) {
		return nil
	}
	value, closer, err := t.state.store.db.Get(key)
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		return nil
	case err != nil:
		t.fail(readFault(key, err))
		return nil
	}
	defer closer.Close()
	return append(make([]byte, 0, len(value)), value...) // not nil, even if empty
}

func (t *tx) setCell(key string, c cell) {
	if _, ok := t.cells[key]; !ok {
		t.order = append(t.order, key)
	}
	t.cells[key] = c
}

// put sets key to value, which is not nil and belongs to t from now on.
func (t *tx) put(key, value []byte) {
	old := t.get(key)
	if old != nil {
		if slices.Equal(old, value) {
			return
		}
		t.sum.sub(t.hash.pair(key, old))
	}
	t.note(key)
	t.state.keys.add(key)
	t.sum.add(t.hash.pair(key, value))
	t.setCell(string(key), cell{value: value, written: true})
	if err := t.batch.Set(key, value, nil); err != nil {
		t.fail(err)
	}
}

// remove deletes key; without such a key it does nothing.
func (t *tx) remove(key []byte) {
	old := t.get(key)
	if old == nil {
		return
	}
	t.note(key)
	t.sum.sub(t.hash.pair(key, old))
	t.setCell(string(key), cell{written: true})
	if err := t.batch.Delete(key, nil); err != nil {
		t.fail(err)
	}
}

// putIndex and removeIndex keep keys without a value that no command reads.
// The record that they point to says whether they exist, so they cost no read:
// putIndex is for a key that is not there, removeIndex for one that is.
func (t *tx) putIndex(key []byte) {
	t.sum.add(t.hash.pair(key, nil))
	if err := t.batch.Set(key, nil, nil); err != nil {
		t.fail(err)
	}
}

func (t *tx) removeIndex(key []byte) {
	t.sum.sub(t.hash.pair(key, nil))
	if err := t.batch.Delete(key, nil); err != nil {
		t.fail(err)
	}
}

// settle hands what the batch read and wrote to the cache, after the commit.
func (t *tx) settle() {
	for _, key := range t.order {
		if c := t.cells[key]; c.value != nil || c.written {
			t.state.hot.set(key, c.value)
		}
	}
}

// encode is the stored form of a record. Records are plain data within their
// limits; an error here is a defect of ours, the same on every node.
func (t *tx) encode(v any) []byte {
	data, err := record.Marshal(v)
	if err != nil {
		t.fail(fault.New(fault.Internal, "a record of type %T does not encode: %w", v, err))
	}
	return data
}
