package fsm

import (
	"github.com/cockroachdb/pebble/v2"
	"github.com/zeebo/xxh3"
)

// A keyFilter knows which keys are certainly not in the state, so that a command
// that makes something new need not ask the database: on a busy node such a
// question costs more than the rest of the command, a cache miss for each step
// through a memtable that grows to tens of megabytes.
//
// It is a Bloom filter in blocks of one cache line: a question touches one line.
// Keys are never taken out; what was deleted costs a read that finds nothing. At
// a million keys about one absent key in a million is asked for in vain, at ten
// million one in ten. Only apply uses it.
type keyFilter struct{ blocks []filterBlock }

type filterBlock [8]uint64

const (
	filterBlockBits = 17 // 131,072 blocks of 64 bytes: 8 MiB
	filterProbes    = 4
)

func newKeyFilter() *keyFilter {
	return &keyFilter{blocks: make([]filterBlock, 1<<filterBlockBits)}
}

// unread reports whether commands never read the keys of a table: indexes and
// windows. Every other table is in the filter, a new one too unless it is named
// here: a key that is missing from it would not be found by this node alone.
func unread(id tableID) bool {
	switch id {
	case tableSessionByUser, tableSessionByClient, tableSessionByState, tableSessionByOwner,
		tableIdempotencyByExpiry, tableWindow:
		return true
	}
	return false
}

// loadFilter is the filter of what r holds.
func loadFilter(r pebble.Reader) (*keyFilter, error) {
	f := newKeyFilter()
	for id := tableMeta + 1; id < tableLocal; id++ {
		if unread(id) {
			continue
		}
		for kv, err := range scan(r, []byte{byte(id)}) {
			if err != nil {
				return nil, err
			}
			f.add(xxh3.Hash(kv.key))
		}
	}
	return f, nil
}

// add takes in a key by its hash.
func (f *keyFilter) add(h uint64) {
	block := &f.blocks[h>>(64-filterBlockBits)]
	for range filterProbes {
		block[h&7] |= 1 << (h >> 3 & 63)
		h >>= 9
	}
}

// mayHold reports false only for the hash of a key that was never added.
func (f *keyFilter) mayHold(h uint64) bool {
	block := &f.blocks[h>>(64-filterBlockBits)]
	for range filterProbes {
		if block[h&7]&(1<<(h>>3&63)) == 0 {
			return false
		}
		h >>= 9
	}
	return true
}
