package fsm

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

// Exactly once
//
// A producer numbers its commands 1, 2, 3 … and may send them again, in any
// order. Its window is the set of sequences above the floor that were applied,
// each with its outcome; the floor is the highest sequence of which the producer
// said that it and all below are answered. A sequence
//
//   - in the window gets its first outcome again,
//   - at or below the floor, or of a producer that is unknown or closed, is
//     refused as OutcomeUnknown: it may have been applied, nothing tells,
//   - more than MaxUnacknowledged above the floor is refused as Overloaded.
//
// Windows are held in memory. What an entry adds to one is stored as one pack
// under {producer, entry}, in the batch of the entry's effects. A pack is
// deleted when the floor has passed all of it; the newest pack of a producer
// stays, because it holds the floor.

// ProducerLinger is how long, in log time, a superseded producer is kept before
// it may be closed: a command of it can still be on its way.
const ProducerLinger = 24 * time.Hour

// maxCloseProducers bounds one CloseProducers; each may have MaxUnacknowledged
// packs to delete.
const maxCloseProducers = 16

var producers = table[record.Producer]{
	key: func(scope record.Scope, p *record.Producer) []byte { return producerKey(p.ID) },
}

func producerKey(id record.ID) []byte { return append(tableProducer.key(0), id[:]...) }

// producerOfNodeKey leads from a node to the id of its current producer.
func producerOfNodeKey(node string) []byte { return tableProducerOfNode.textKey(0, node) }

func packPrefix(id record.ID) []byte { return append(tableWindow.key(0), id[:]...) }

func packKey(id record.ID, index uint64) []byte {
	return binary.BigEndian.AppendUint64(packPrefix(id), index)
}

// A pack is what one entry added to a window.
type pack struct {
	Floor    uint64      `cbor:"1,keyasint,omitempty"`
	Outcomes []sequenced `cbor:"2,keyasint,omitempty"` // in the order of application
}

type sequenced struct {
	_        struct{} `cbor:",toarray"`
	Sequence uint64
	Outcome  Outcome
}

func (p *pack) last() (last uint64) {
	for i := range p.Outcomes {
		last = max(last, p.Outcomes[i].Sequence)
	}
	return last
}

// A window is the memory of one producer.
type window struct {
	producer record.ID
	floor    uint64
	outcomes map[uint64]Outcome // those above floor
	packs    []storedPack       // in the order of entries

	// Of the entry that is being applied:
	fresh   []sequenced
	touched bool // to be written at the end of the entry
	closed  bool
}

// A storedPack is what deleting a pack needs to know, so that it costs no read.
type storedPack struct {
	index uint64
	last  uint64 // highest sequence in it
	sum   sum    // its part of the digest
}

func newWindow(id record.ID) *window {
	return &window{producer: id, outcomes: make(map[uint64]Outcome)}
}

// loadWindows reads the windows of all producers.
func loadWindows(r pebble.Reader) (map[record.ID]*window, error) {
	windows := make(map[record.ID]*window)
	var hash hasher
	for kv, err := range scan(r, tableProducer.key(0)) {
		if err != nil {
			return nil, err
		}
		var p record.Producer
		if err := record.Unmarshal(kv.value, &p); err != nil {
			return nil, decodeFault(kv.key, err)
		}
		windows[p.ID] = newWindow(p.ID)
	}
	prefix := tableWindow.key(0)
	for kv, err := range scan(r, prefix) {
		if err != nil {
			return nil, err
		}
		id, index, err := splitPackKey(kv.key[len(prefix):])
		w := windows[id]
		if err == nil && w == nil {
			err = errors.New("its producer is not open")
		}
		var p pack
		if err == nil {
			err = record.Unmarshal(kv.value, &p)
		}
		if err != nil {
			return nil, decodeFault(kv.key, err)
		}
		w.load(index, &p, hash.pair(kv.key, kv.value))
	}
	return windows, nil
}

func splitPackKey(tail []byte) (id record.ID, index uint64, err error) {
	if len(tail) != len(id)+8 {
		return id, 0, errors.New("the key has the wrong length")
	}
	copy(id[:], tail)
	return id, binary.BigEndian.Uint64(tail[len(id):]), nil
}

// load adds a stored pack; packs come in the order of entries.
func (w *window) load(index uint64, p *pack, s sum) {
	w.packs = append(w.packs, storedPack{index, p.last(), s})
	for _, o := range p.Outcomes {
		w.outcomes[o.Sequence] = o.Outcome
	}
	w.raise(p.Floor)
}

// raise moves the floor up and forgets the outcomes below it.
func (w *window) raise(floor uint64) bool {
	if floor <= w.floor {
		return false
	}
	// No outcome lies more than MaxUnacknowledged above the old floor.
	for s := w.floor + 1; s <= min(floor, w.floor+MaxUnacknowledged); s++ {
		delete(w.outcomes, s)
	}
	w.floor = floor
	return true
}

// recall looks a proposal up in the window of its producer. With done it must
// not be applied, and o is the answer.
func (t *tx) recall(p *Proposal) (o Outcome, done bool) {
	if p.Producer.IsZero() {
		return Outcome{}, false
	}
	w := t.state.windows[p.Producer]
	if w == nil {
		return reject(fault.OutcomeUnknown, "producer %v is not open; command %d may have been applied while it was", p.Producer, p.Sequence), true
	}
	if w.raise(p.Acked) {
		t.touch(w)
	}
	if p.Sequence <= w.floor {
		return reject(fault.OutcomeUnknown, "command %d of producer %v is at or below %d, which were all answered", p.Sequence, p.Producer, w.floor), true
	}
	if p.Sequence-w.floor > MaxUnacknowledged {
		return reject(fault.Overloaded, "command %d of producer %v is more than %d above %d, the last that all were answered", p.Sequence, p.Producer, MaxUnacknowledged, w.floor), true
	}
	if o, ok := w.outcomes[p.Sequence]; ok {
		o.Replayed = true
		return o, true
	}
	return Outcome{}, false
}

// remember puts the outcome of a proposal into the window of its producer.
func (t *tx) remember(p *Proposal, o Outcome) {
	w := t.state.windows[p.Producer]
	if w == nil { // at most once is not needed, or the command closed its own producer
		return
	}
	o.Replayed = false
	w.outcomes[p.Sequence] = o
	w.fresh = append(w.fresh, sequenced{Sequence: p.Sequence, Outcome: o})
	t.touch(w)
}

func (t *tx) touch(w *window) {
	if !w.touched {
		w.touched = true
		t.windows = append(t.windows, w)
	}
}

// storeWindows writes what the entry added to windows and deletes the packs
// that the floors have passed. It is called once at the end of each entry, so
// how entries are batched leaves no trace.
func (t *tx) storeWindows() {
	for _, w := range t.windows {
		if !w.closed {
			t.dropPacks(w)
			t.storePack(w)
		}
		w.fresh, w.touched = nil, false
	}
	t.windows = t.windows[:0]
}

func (t *tx) dropPacks(w *window) {
	kept := w.packs[:0]
	for _, stored := range w.packs {
		if stored.last > w.floor {
			kept = append(kept, stored)
		} else {
			t.deletePack(w.producer, stored)
		}
	}
	w.packs = kept
}

func (t *tx) deletePack(id record.ID, stored storedPack) {
	t.sum.sub(stored.sum)
	if err := t.batch.Delete(packKey(id, stored.index), nil); err != nil {
		t.fail(err)
	}
}

func (t *tx) storePack(w *window) {
	p := pack{Floor: w.floor, Outcomes: w.fresh}
	key, value := packKey(w.producer, t.index), t.encode(p)
	s := t.hash.pair(key, value)
	t.sum.add(s)
	w.packs = append(w.packs, storedPack{t.index, p.last(), s})
	if err := t.batch.Set(key, value, nil); err != nil {
		t.fail(err)
	}
}

// supersedeProducer ends the reign of a node's current producer.
func (t *tx) supersedeProducer(node string) {
	key := producerOfNodeKey(node)
	value := t.get(key)
	if value == nil {
		return
	}
	t.remove(key)
	if old := t.currentProducer(key, value); old != nil {
		old.Superseded, old.Revision = t.now, t.revision
		producers.put(t, old, old)
	}
}

// currentProducer reads the producer that a producerOfNode key leads to.
func (t *tx) currentProducer(key, value []byte) *record.Producer {
	var id record.ID
	if len(value) != 1+len(id) || value[0] != record.Version {
		t.fail(decodeFault(key, errors.New("the value has the wrong length or version")))
		return nil
	}
	copy(id[:], value[1:])
	return producers.get(t, producerKey(id))
}

// OpenProducer begins the numbering of a process of a node; the node's producer
// of before, if any, is superseded. Opening it again changes nothing.
type OpenProducer struct {
	ID   record.ID `cbor:"1,keyasint"`
	Node string    `cbor:"2,keyasint"`
}

func (*OpenProducer) kind() kind { return kindOpenProducer }

func (c *OpenProducer) validate() error {
	return (&record.Producer{ID: c.ID, Node: c.Node}).Validate()
}

func (c *OpenProducer) apply(t *tx) Outcome {
	old := producers.get(t, producerKey(c.ID))
	switch {
	case old == nil:
	case old.Node != c.Node:
		return reject(fault.Conflict, "producer %v belongs to node %s, not %s", c.ID, quote(old.Node), quote(c.Node))
	case old.Superseded != 0:
		return reject(fault.Conflict, "producer %v of node %s is superseded; open a new one", c.ID, quote(c.Node))
	default:
		return accept()
	}
	t.supersedeProducer(c.Node)
	producers.put(t, nil, &record.Producer{ID: c.ID, Node: c.Node, Opened: t.now, Revision: t.revision})
	t.put(producerOfNodeKey(c.Node), append([]byte{record.Version}, c.ID[:]...))
	t.state.windows[c.ID] = newWindow(c.ID)
	return accept()
}

func (*OpenProducer) rejections() []rejection {
	return []rejection{{fault.Conflict, "the id belongs to another node, or is superseded"}}
}

// CloseProducers forgets producers that were superseded ProducerLinger ago, at
// most maxCloseProducers at once; others in the list are skipped. It answers
// Counts.
type CloseProducers struct {
	IDs []record.ID `cbor:"1,keyasint"`
}

func (*CloseProducers) kind() kind { return kindCloseProducers }

func (c *CloseProducers) validate() error {
	if len(c.IDs) == 0 || len(c.IDs) > maxCloseProducers {
		return fault.New(fault.Invalid, "batch has %d producers, want 1 to %d", len(c.IDs), maxCloseProducers)
	}
	return nil
}

func (c *CloseProducers) apply(t *tx) Outcome {
	var n Counts
	for _, id := range c.IDs {
		p := producers.get(t, producerKey(id))
		if p == nil || !Closable(p, t.now) {
			n.Skipped++
			continue
		}
		producers.remove(t, p)
		w := t.state.windows[id]
		for _, stored := range w.packs {
			t.deletePack(id, stored)
		}
		w.closed = true
		delete(t.state.windows, id)
		n.Changed++
	}
	return acceptCounts(t, n)
}

func (*CloseProducers) rejections() []rejection { return nil }

// Closable reports whether p may be closed at now.
func Closable(p *record.Producer, now record.LogTime) bool {
	return p.Superseded != 0 && p.Superseded.Add(ProducerLinger) <= now
}
