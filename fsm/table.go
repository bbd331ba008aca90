package fsm

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

// A table holds records of one type. Its indexes are keys without a value that
// lead to a record; they are written in the same batch as the record.
type table[T any] struct {
	key     func(scope record.Scope, v *T) []byte
	indexes func(scope record.Scope, v *T) [][]byte // nil: none; as many and in the same order for every record
}

// get is the record under key, or nil.
func (tb *table[T]) get(t *tx, key []byte) *T {
	data := t.get(key)
	if data == nil {
		return nil
	}
	v := new(T)
	if err := record.Unmarshal(data, v); err != nil {
		t.fail(decodeFault(key, err))
		return nil
	}
	return v
}

// put stores v in place of old, which is what the table holds under v's key, or
// nil.
func (tb *table[T]) put(t *tx, old, v *T) {
	t.put(tb.key(t.scope, v), t.encode(v))
	if tb.indexes == nil {
		return
	}
	fresh := tb.indexes(t.scope, v)
	if old == nil {
		for _, key := range fresh {
			t.putIndex(key)
		}
		return
	}
	for i, was := range tb.indexes(t.scope, old) {
		if !bytes.Equal(was, fresh[i]) {
			t.removeIndex(was)
			t.putIndex(fresh[i])
		}
	}
}

// remove deletes old, which is what the table holds under its key.
func (tb *table[T]) remove(t *tx, old *T) {
	t.remove(tb.key(t.scope, old))
	if tb.indexes == nil {
		return
	}
	for _, key := range tb.indexes(t.scope, old) {
		t.removeIndex(key)
	}
}

// compare judges a compare-and-set of the record that messages call what, a
// string or something that is made one only when it is told; want 0 creates it.
func compare(exists bool, what any, revision, want uint64) (Outcome, bool) {
	switch {
	case want == 0 && exists:
		return rejectAt(revision, fault.Conflict, "%s exists already at revision %d; name that revision to change it", what, revision), false
	case want != 0 && !exists:
		return reject(fault.NotFound, "%s does not exist", what), false
	case want != 0 && want != revision:
		return rejectAt(revision, fault.Precondition, "%s is at revision %d, not %d; read it again", what, revision, want), false
	}
	return Outcome{}, true
}

// match is compare for a record that must exist; want 0 accepts any revision.
func match(exists bool, what any, revision, want uint64) (Outcome, bool) {
	if !exists {
		return reject(fault.NotFound, "%s does not exist", what), false
	}
	if want == 0 {
		return Outcome{}, true
	}
	return compare(exists, what, revision, want)
}

// A counter is a number in the state: version byte, then 64 bits big-endian.
// One that is 0 has no key.

func (t *tx) count(key []byte) uint64 {
	data := t.get(key)
	if data == nil {
		return 0
	}
	n, err := decodeCount(data)
	if err != nil {
		t.fail(decodeFault(key, err))
	}
	return n
}

func (t *tx) setCount(key []byte, n uint64) {
	if n == 0 {
		t.remove(key)
		return
	}
	t.put(key, binary.BigEndian.AppendUint64(append(make([]byte, 0, 9), record.Version), n))
}

// addCount moves a counter by delta, 1 or -1. One that would go below 0 means
// that the state is damaged.
func (t *tx) addCount(key []byte, delta int) {
	n := int64(t.count(key)) + int64(delta)
	if n < 0 {
		t.fail(decodeFault(key, fault.New(fault.Integrity, "counter would fall below 0")))
		return
	}
	t.setCount(key, uint64(n))
}

func decodeCount(data []byte) (uint64, error) {
	if len(data) != 9 || data[0] != record.Version {
		return 0, fault.New(fault.Integrity, "counter has bytes %x", data[:min(len(data), 16)])
	}
	return binary.BigEndian.Uint64(data[1:]), nil
}

// textIndex is a key that leads from texts to the record named id.
func textIndex(id tableID, scope record.Scope, name string, texts ...string) []byte {
	k := id.key(scope)
	for _, text := range texts {
		k = appendPart(k, text)
	}
	return append(slices.Grow(k, len(name)), name...)
}
