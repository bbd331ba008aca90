package fsm

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

// Bounds of remembered Idempotency-Keys.
const (
	IdempotencyTTL             = 24 * time.Hour // of log time
	MaxIdempotencyPerPrincipal = 10_000
	MaxIdempotency             = 1_000_000 // in a scope
)

// Idempotency is what an Idempotency-Key of a caller stands for. The principal
// is the proposal's Actor.
type Idempotency struct {
	Route string   `cbor:"1,keyasint"` // method and route pattern, at most 128 bytes
	Key   string   `cbor:"2,keyasint"` // at most 128 bytes
	Hash  BodyHash `cbor:"3,keyasint"` // of the request's body
}

// A BodyHash is the SHA-256 of a request's body.
type BodyHash [sha256.Size]byte

// UnmarshalCBOR takes a byte string of exactly 32.
func (h *BodyHash) UnmarshalCBOR(data []byte) error { return record.DecodeFixed(h[:], data) }

func (i *Idempotency) validate() error {
	if err := record.ValidText("route of the idempotency key", i.Route, 128); err != nil {
		return err
	}
	return record.ValidText("idempotency key", i.Key, 128)
}

// An IdempotencyID names a remembered key of a scope.
type IdempotencyID [sha256.Size]byte

// UnmarshalCBOR takes a byte string of exactly 32.
func (id *IdempotencyID) UnmarshalCBOR(data []byte) error { return record.DecodeFixed(id[:], data) }

// id is a hash of principal, route and key, none of which contains NUL.
func (i *Idempotency) id(actor record.Principal) IdempotencyID {
	b := make([]byte, 0, 256)
	b = appendPart(b, actor.Issuer)
	b = appendPart(b, actor.Subject)
	b = appendPart(b, i.Route)
	b = append(b, i.Key...)
	return sha256.Sum256(b)
}

// remembered is an accepted command that came with an Idempotency-Key.
type remembered struct {
	ID        IdempotencyID    `cbor:"1,keyasint"`
	Principal record.Principal `cbor:"2,keyasint"`
	Hash      BodyHash         `cbor:"3,keyasint"`
	Expires   record.LogTime   `cbor:"4,keyasint"`
	Outcome   Outcome          `cbor:"5,keyasint"`
}

var idempotency = table[remembered]{
	key: func(scope record.Scope, r *remembered) []byte {
		return idempotencyKey(scope, r.ID)
	},
	indexes: func(scope record.Scope, r *remembered) [][]byte {
		return [][]byte{append(expiryKey(scope, r.Expires), r.ID[:]...)}
	},
}

// expiryKey starts the index keys of what expires at that time.
func expiryKey(scope record.Scope, at record.LogTime) []byte {
	return binary.BigEndian.AppendUint64(tableIdempotencyByExpiry.key(scope), uint64(at))
}

func idempotencyKey(scope record.Scope, id IdempotencyID) []byte {
	return append(tableIdempotency.key(scope), id[:]...)
}

func idempotencyCountKey(scope record.Scope) []byte { return tableIdempotencyCount.key(scope) }

func idempotencyCountOfKey(scope record.Scope, p record.Principal) []byte {
	return textIndex(tableIdempotencyCountByUser, scope, p.Subject, p.Issuer)
}

// applyOnce applies a command that came with an Idempotency-Key, or answers
// what it did before. Only accepted commands are remembered: a rejected one
// changed nothing, so the same key may try again.
func (t *tx) applyOnce(p *Proposal) Outcome {
	id := p.Idempotency.id(p.Actor)
	old := idempotency.get(t, idempotencyKey(t.scope, id))
	if old != nil && old.Expires > t.now {
		if old.Hash != p.Idempotency.Hash {
			return reject(fault.Mismatch, "idempotency key %s was used for another request; use a new key", quote(p.Idempotency.Key))
		}
		o := old.Outcome
		o.Replayed = true
		return o
	}
	if old == nil {
		if o, ok := t.idempotencyQuota(p.Actor); !ok {
			return o
		}
	}
	o := t.apply(p.Command)
	if o.Kind != 0 {
		return o
	}
	old = idempotency.get(t, idempotencyKey(t.scope, id)) // again: a sweep may have swept its own key
	if old == nil {
		t.addCount(idempotencyCountKey(t.scope), 1)
		t.addCount(idempotencyCountOfKey(t.scope, p.Actor), 1)
	}
	idempotency.put(t, old, &remembered{id, p.Actor, p.Idempotency.Hash, t.now.Add(IdempotencyTTL), o})
	return o
}

func (t *tx) idempotencyQuota(actor record.Principal) (Outcome, bool) {
	if t.count(idempotencyCountOfKey(t.scope, actor)) >= MaxIdempotencyPerPrincipal {
		return reject(fault.Quota, "the principal has %d idempotency keys, the limit for 24 hours", MaxIdempotencyPerPrincipal), false
	}
	if t.count(idempotencyCountKey(t.scope)) >= MaxIdempotency {
		return reject(fault.Quota, "%d idempotency keys are remembered, the limit for 24 hours", MaxIdempotency), false
	}
	return Outcome{}, true
}

// SweepIdempotency forgets keys whose time has passed; others in the list are
// skipped. It answers Counts.
type SweepIdempotency struct {
	Keys []IdempotencyID `cbor:"1,keyasint"`
}

func (*SweepIdempotency) kind() kind { return kindSweepIdempotency }

func (c *SweepIdempotency) validate() error { return validItems(len(c.Keys)) }

func (c *SweepIdempotency) apply(t *tx) Outcome {
	var n Counts
	for _, id := range c.Keys {
		old := idempotency.get(t, idempotencyKey(t.scope, id))
		if old == nil || old.Expires > t.now {
			n.Skipped++
			continue
		}
		idempotency.remove(t, old)
		t.addCount(idempotencyCountKey(t.scope), -1)
		t.addCount(idempotencyCountOfKey(t.scope, old.Principal), -1)
		n.Changed++
	}
	return acceptCounts(t, n)
}

func (*SweepIdempotency) rejections() []rejection { return nil }
