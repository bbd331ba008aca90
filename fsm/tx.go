package fsm

import (
	"bytes"
	"errors"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/zeebo/xxh3"

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
	cells map[string]int // positions in order
	order []cell         // what was read or written, oldest first
	links []indexKey     // keys without a value, in the order of the changes
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

// A cell is one key as the batch sees it.
type cell struct {
	key     string
	hash    uint64
	value   []byte // nil means no such key
	written bool
}

// An indexKey is one change of a key without a value.
type indexKey struct {
	key     []byte
	removed bool
}

func (t *tx) fail(err error) {
	if t.err == nil {
		t.err = err
	}
}

// get is the value of key as of this command, nil if there is none. The caller
// does not change it.
func (t *tx) get(key []byte) []byte { return t.cell(key).value }

// cell is the cell of key; it is valid until the next call.
func (t *tx) cell(key []byte) *cell {
	if i, ok := t.cells[string(key)]; ok {
		return &t.order[i]
	}
	c := cell{key: string(key), hash: xxh3.Hash(key)}
	if value, ok := t.state.hot.get(c.hash, c.key); ok {
		t.hits++
		c.value = value
	} else {
		t.misses++
		c.value = t.read(key, c.hash)
	}
	t.cells[c.key] = len(t.order)
	t.order = append(t.order, c)
	return &t.order[len(t.order)-1]
}

func (t *tx) read(key []byte, hash uint64) []byte {
	if !t.state.keys.mayHold(hash) {
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

// put sets key to value, which is not nil and belongs to t from now on.
func (t *tx) put(key, value []byte) {
	c := t.cell(key)
	if c.value != nil {
		if bytes.Equal(c.value, value) {
			return
		}
		t.sum.sub(t.hash.pair(key, c.value))
	}
	t.note(key)
	t.state.keys.add(c.hash)
	t.sum.add(t.hash.pair(key, value))
	c.value, c.written = value, true
}

// remove deletes key; without such a key it does nothing.
func (t *tx) remove(key []byte) {
	c := t.cell(key)
	if c.value == nil {
		return
	}
	t.note(key)
	t.sum.sub(t.hash.pair(key, c.value))
	c.value, c.written = nil, true
}

// putIndex and removeIndex keep keys without a value that no command reads.
// The record that they point to says whether they exist, so they cost no read:
// putIndex is for a key that is not there, removeIndex for one that is.
func (t *tx) putIndex(key []byte) {
	t.sum.add(t.hash.pair(key, nil))
	t.links = append(t.links, indexKey{key: key})
}

func (t *tx) removeIndex(key []byte) {
	t.sum.sub(t.hash.pair(key, nil))
	t.links = append(t.links, indexKey{key: key, removed: true})
}

// write puts what has changed into Pebble's batch: a key that many commands have
// written, such as a counter, once; and in the order of keys, which is how Pebble
// inserts them with the least search.
func (t *tx) write() {
	written := make([]cell, 0, len(t.order))
	for i := range t.order {
		if t.order[i].written {
			written = append(written, t.order[i])
		}
	}
	slices.SortFunc(written, func(a, b cell) int { return strings.Compare(a.key, b.key) })
	for i := range written {
		t.writePair([]byte(written[i].key), written[i].value, written[i].value == nil)
	}
	slices.SortStableFunc(t.links, func(a, b indexKey) int { return bytes.Compare(a.key, b.key) })
	for i := range t.links {
		if last := i == len(t.links)-1 || !bytes.Equal(t.links[i].key, t.links[i+1].key); last {
			t.writePair(t.links[i].key, nil, t.links[i].removed)
		}
	}
}

func (t *tx) writePair(key, value []byte, removed bool) {
	var err error
	if removed {
		err = t.batch.Delete(key, nil)
	} else {
		err = t.batch.Set(key, value, nil)
	}
	if err != nil {
		t.fail(err)
	}
}

// settle hands what the batch read and wrote to the cache, after the commit.
func (t *tx) settle() {
	for i := range t.order {
		c := &t.order[i]
		switch {
		case len(c.value) > maxHotValue:
			t.state.hot.set(c.hash, c.key, nil)
		case c.value != nil || c.written:
			t.state.hot.set(c.hash, c.key, c.value)
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
