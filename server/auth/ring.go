package auth

import (
	"crypto/rand"
	"fmt"
	"slices"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/seal"
)

// How keys come and go.
const (
	DefaultRotation = 90 * 24 * time.Hour // that a key is used
	Grace           = 7 * 24 * time.Hour  // that it still verifies and opens afterwards
	Settle          = time.Minute         // that nodes know a key before it is used
)

const (
	ringVersion = 1
	ringPurpose = "key ring" // under the root keys
	macKeyBytes = 32
	maxRingKeys = 32
)

// A ring is the content of record.KeyRing once it is opened. Its bytes
// (docs/format/key-ring.md) are a version byte and CBOR.
type ring struct {
	Keys []ringKey `cbor:"1,keyasint"` // in the order of their ids
}

// A ringKey is one generation of keys. It is first upcoming (Used 0), then the
// current one, then former (Retired not 0) for Grace. One that API tokens were
// hashed with stays as long as they do, for their hashes alone.
type ringKey struct {
	ID      uint32         `cbor:"1,keyasint"` // 1, 2, 3 …
	MAC     []byte         `cbor:"2,keyasint"` // macKeyBytes
	Sealer  []byte         `cbor:"3,keyasint"` // a seal.Key as text; empty when only hashes are verified
	Created record.LogTime `cbor:"4,keyasint"`
	Used    record.LogTime `cbor:"5,keyasint,omitempty"` // 0: not yet
	Retired record.LogTime `cbor:"6,keyasint,omitempty"` // 0: not yet
}

// hashesOnly reports whether nothing but hashes of API tokens may be verified.
func (k *ringKey) hashesOnly() bool { return len(k.Sealer) == 0 }

func newRingKey(id uint32, now record.LogTime) (ringKey, error) {
	sealer, err := seal.NewKey()
	if err != nil {
		return ringKey{}, err
	}
	k := ringKey{ID: id, MAC: make([]byte, macKeyBytes), Sealer: seal.FormatKeys(sealer), Created: now}
	rand.Read(k.MAC)
	return k, nil
}

func encodeRing(r ring) ([]byte, error) {
	if err := r.validate(); err != nil {
		return nil, err
	}
	body, err := record.Encode(r)
	if err != nil {
		return nil, err
	}
	return append([]byte{ringVersion}, body...), nil
}

func decodeRing(data []byte) (ring, error) {
	if len(data) == 0 {
		return ring{}, fault.New(fault.Integrity, "the key ring is empty")
	}
	if data[0] != ringVersion {
		return ring{}, fault.New(fault.Unsupported, "the key ring has version %d, this binary reads %d", data[0], ringVersion)
	}
	var r ring
	if err := record.Decode(data[1:], &r); err != nil {
		return ring{}, fault.New(fault.Integrity, "the key ring does not decode: %w", err)
	}
	return r, r.validate()
}

// validate reports the first mistake of r: there is exactly one current key, at
// most one upcoming, and it is the last.
func (r *ring) validate() error {
	bad := func(format string, args ...any) error {
		return fault.New(fault.Integrity, "the key ring is not valid: "+format, args...)
	}
	if n := len(r.Keys); n == 0 || n > maxRingKeys {
		return bad("it has %d keys, want 1 to %d", n, maxRingKeys)
	}
	current := 0
	for i, k := range r.Keys {
		switch {
		case k.ID == 0 || i > 0 && k.ID <= r.Keys[i-1].ID:
			return bad("ids do not ascend")
		case len(k.MAC) != macKeyBytes:
			return bad("key %d has %d bytes, want %d", k.ID, len(k.MAC), macKeyBytes)
		case k.Used == 0 && (i != len(r.Keys)-1 || k.Retired != 0):
			return bad("key %d is not in use and not the last", k.ID)
		case k.hashesOnly() && k.Retired == 0:
			return bad("key %d cannot seal and is not retired", k.ID)
		case k.Used != 0 && k.Retired == 0:
			current++
		}
	}
	if current != 1 {
		return bad("%d keys are in use, want 1", current)
	}
	return nil
}

// current is the key that is used. r is valid.
func (r *ring) current() *ringKey {
	return &r.Keys[slices.IndexFunc(r.Keys, func(k ringKey) bool { return k.Used != 0 && k.Retired == 0 })]
}

// upcoming is the key that will be used next, nil if there is none.
func (r *ring) upcoming() *ringKey {
	if last := &r.Keys[len(r.Keys)-1]; last.Used == 0 {
		return last
	}
	return nil
}

// add appends an upcoming key.
func (r *ring) add(now record.LogTime) error {
	if len(r.Keys) == maxRingKeys {
		return fault.New(fault.Quota, "the key ring has %d keys, the limit; API tokens still need key %d", maxRingKeys, r.Keys[0].ID).
			WithHint("make the oldest API tokens anew (mcpraft token ls)")
	}
	k, err := newRingKey(r.Keys[len(r.Keys)-1].ID+1, now)
	if err == nil {
		r.Keys = append(r.Keys, k)
	}
	return err
}

// firstRing is the ring of a cluster that has none: its key is used at once,
// because nothing was made with another.
func firstRing(now record.LogTime) (ring, error) {
	k, err := newRingKey(1, now)
	k.Used = now
	return ring{Keys: []ringKey{k}}, err
}

// A policy says when keys are replaced.
type policy struct {
	rotation, grace, settle time.Duration
}

// step does what is due at now, and returns when the next thing is. hashed
// reports whether an API token needs the key of that id.
func (p policy) step(r *ring, now record.LogTime, hashed func(id uint32) bool) (changed bool, wait time.Duration, err error) {
	next := now.Add(p.rotation)
	due := func(t record.LogTime) bool {
		if t > now {
			next = min(next, t)
		}
		return t <= now
	}
	switch upcoming := r.upcoming(); {
	case upcoming == nil && due(r.current().Used.Add(p.rotation)):
		if err := r.add(now); err != nil {
			return false, 0, err
		}
		changed = true
		due(now.Add(p.settle))
	case upcoming != nil && due(upcoming.Created.Add(p.settle)):
		r.current().Retired, upcoming.Used = now, now
		changed = true
	}
	kept := r.Keys[:0]
	for _, k := range r.Keys {
		switch {
		case k.Retired == 0 || !due(k.Retired.Add(p.grace)):
		case !hashed(k.ID):
			changed = true
			continue
		case !k.hashesOnly():
			k.Sealer, changed = nil, true
		}
		kept = append(kept, k)
	}
	r.Keys = kept
	return changed, next.Sub(now), nil
}

// openRing opens and decodes the replicated record.
func openRing(root seal.Ring, stored record.KeyRing) (ring, error) {
	plain, err := root.Open(ringPurpose, nil, stored.Sealed)
	if fault.Of(err) == fault.Forbidden {
		err = fault.New(fault.Forbidden, "auth.key_file of this node does not open the key ring of the cluster: %w", err).
			WithHint("every node needs the same key file: copy it from a node that is ready")
	}
	if err != nil {
		return ring{}, err
	}
	return decodeRing(plain)
}

// sealRing is r as the replicated record holds it.
func sealRing(root seal.Ring, r ring) ([]byte, error) {
	plain, err := encodeRing(r)
	if err != nil {
		return nil, err
	}
	sealed, err := root.Seal(ringPurpose, nil, plain)
	if err != nil {
		return nil, fmt.Errorf("sealing the key ring: %w", err)
	}
	return sealed, nil
}
