package fsm

import (
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"github.com/mcpraft/mcpraft/fsm/record"
)

// maxFoundBytes bounds what the entries that a moment remembers take, roughly.
const maxFoundBytes = 8 << 20

// A moment is a snapshot of Pebble that all Views of one state share: to take one
// costs as much as to read several records.
type moment struct {
	store *store
	snap  *pebble.Snapshot
	meta  Meta
	uses  atomic.Int64 // Views, and newest while it is the newest; the last one closes it
	found found
}

// newest is the moment that the next View gets, if nothing was applied meanwhile.
// It is let go with each Apply: while a snapshot is open, Pebble keeps what was
// overwritten since.
type newest struct {
	mu     sync.Mutex
	moment *moment
}

// now is the moment of the newest applied state. Who gets it releases it.
func (m *Machine) now() (*moment, error) {
	m.newest.mu.Lock()
	defer m.newest.mu.Unlock()
	if at := m.newest.moment; at != nil && at.meta.Index == m.meta.Load().Index {
		at.uses.Add(1)
		return at, nil
	}
	at, err := m.takeMoment()
	if err != nil {
		return nil, err
	}
	m.newest.replaceLocked(at)
	return at, nil
}

// takeMoment makes a moment with two uses: of the caller and of newest.
func (m *Machine) takeMoment() (*moment, error) {
	s, err := m.use()
	if err != nil {
		return nil, err
	}
	at := &moment{store: s, snap: s.db.NewSnapshot()}
	at.uses.Store(2)
	// Read from the snapshot: m.Meta may be a batch older or newer.
	if at.meta, err = readMeta(at.snap, m.meta.Load()); err != nil {
		at.release()
		at.release()
		return nil, err
	}
	return at, nil
}

// forget lets the newest moment go: it is of the past.
func (n *newest) forget() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.replaceLocked(nil)
}

func (n *newest) replaceLocked(at *moment) {
	if n.moment != nil {
		n.moment.release()
	}
	n.moment = at
}

// release gives up one use.
func (at *moment) release() {
	if at.uses.Add(-1) > 0 {
		return
	}
	_ = at.snap.Close() // the only error is that it was closed before
	at.store.release()
}

// found are the registry entries that the Views of one moment have looked up. A
// moment never changes, so they need no invalidation: an entry that many ask for
// is read and decoded once until something is applied. When it is full it stays
// as it is.
type found struct {
	mu      sync.RWMutex
	entries map[foundName]record.Entry
	bytes   int
}

type foundName struct {
	scope record.Scope
	typ   record.EntryType
	key   string
}

func (f *found) get(name foundName) (record.Entry, bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	e, ok := f.entries[name]
	return e, ok
}

func (f *found) put(name foundName, e record.Entry) {
	size := entrySize(&e)
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.entries[name]; ok || f.bytes+size > maxFoundBytes {
		return
	}
	if f.entries == nil {
		f.entries = make(map[foundName]record.Entry)
	}
	f.entries[name] = e
	f.bytes += size
}

// entrySize is roughly the memory that e takes in a map.
func entrySize(e *record.Entry) int {
	const fixed = 512 // the structs, and a map of few pairs
	size := fixed + len(e.Key) + len(e.OwnerNode) + len(e.Location) + len(e.Principal.Issuer) + len(e.Principal.Subject)
	for k, v := range e.Metadata { // order: a sum has none
		size += 64 + len(k) + len(v)
	}
	return size
}
