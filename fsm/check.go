package fsm

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

// MaxChecks bounds the digest checks that a replica remembers.
const MaxChecks = 32

// A Check is this replica's digest just before the DigestCheck of an entry. All
// replicas that are equal have the same one for the same index.
type Check struct {
	Index  uint64        `cbor:"1,keyasint"`
	Digest record.Digest `cbor:"2,keyasint"`
}

// A Mismatch is a check where this replica's digest is not the one that the log
// says the leader had. One of the two is damaged; which one, a majority tells.
type Mismatch struct {
	Index  uint64        `cbor:"1,keyasint"` // of the check that disagrees
	Leader record.Digest `cbor:"2,keyasint"`
	Own    record.Digest `cbor:"3,keyasint"`
}

func (m Mismatch) String() string {
	return fmt.Sprintf("digest of the state at index %d is %v here and was %v at the leader", m.Index, m.Own, m.Leader)
}

// DigestCheck makes every replica remember its digest at this index, so that
// replicas can be compared without stopping them. At and Digest carry the check
// before this one as its leader had it; a replica that replays the log, long
// after, still finds out. Neither the outcome nor any replicated key depends on
// the digest: a damaged replica must not diverge further by it.
type DigestCheck struct {
	At     uint64        `cbor:"1,keyasint,omitempty"` // index of the leader's previous check; 0: it has none
	Digest record.Digest `cbor:"2,keyasint,omitzero"`
}

func (*DigestCheck) kind() kind { return kindDigestCheck }

func (c *DigestCheck) validate() error {
	if c.At == 0 && c.Digest != (record.Digest{}) {
		return fault.New(fault.Invalid, "digest check carries a digest and no index")
	}
	return nil
}

func (c *DigestCheck) apply(t *tx) Outcome {
	t.compareCheck(c)
	own := Check{Index: t.index, Digest: t.sum.digest()}
	kept := t.checks[max(0, len(t.checks)-MaxChecks+1):]
	t.checks = append(append(make([]Check, 0, MaxChecks), kept...), own)
	t.checked = true
	t.meta.CheckedIndex, t.meta.SinceCheck = t.index, 0
	return accept()
}

// compareCheck keeps the first mismatch: what follows it says nothing new.
func (t *tx) compareCheck(c *DigestCheck) {
	if c.At == 0 || t.mismatch != nil {
		return
	}
	for _, own := range t.checks {
		if own.Index == c.At && own.Digest != c.Digest {
			t.mismatch = &Mismatch{Index: c.At, Leader: c.Digest, Own: own.Digest}
			t.checked = true
			return
		}
	}
}

func (*DigestCheck) rejections() []rejection { return nil }

// storeChecks writes the node-local keys of checks, if they changed.
func (t *tx) storeChecks() {
	if !t.checked {
		return
	}
	if err := t.batch.Set(keyChecks, t.encode(t.checks), nil); err != nil {
		t.fail(err)
	}
	if t.mismatch == nil {
		return
	}
	if err := t.batch.Set(keyMismatch, t.encode(t.mismatch), nil); err != nil {
		t.fail(err)
	}
}

func loadChecks(r pebble.Reader) (*checkList, error) {
	var c checkList
	if _, err := readRecord(r, keyChecks, &c.list); err != nil {
		return nil, err
	}
	var mismatch Mismatch
	found, err := readRecord(r, keyMismatch, &mismatch)
	if found {
		c.mismatch = &mismatch
	}
	return &c, err
}
