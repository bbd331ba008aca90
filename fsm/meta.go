package fsm

import (
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

// MaxVersion is the highest cluster version that this binary can live with.
const MaxVersion = 1

// maxConfiguration bounds the opaque bytes of a membership.
const maxConfiguration = 64 << 10

// Meta is where the state stands: which entry it reflects, and what holds for
// the state as a whole. It is written in the same batch as the effects of the
// entry, so the two can never disagree. It is not part of the digest.
type Meta struct {
	Index              uint64          `cbor:"1,keyasint,omitempty"` // of the newest applied entry
	Term               uint64          `cbor:"2,keyasint,omitempty"` // of that entry
	LogTime            record.LogTime  `cbor:"3,keyasint,omitempty"` // of the newest applied envelope
	Digest             record.Digest   `cbor:"4,keyasint,omitzero"`  // of all replicated keys and values
	Revision           uint64          `cbor:"5,keyasint,omitempty"` // number of accepted commands
	ClusterVersion     uint32          `cbor:"6,keyasint,omitempty"` // 0 until the cluster is initialised
	ClusterID          record.ID       `cbor:"7,keyasint,omitzero"`
	ClusterName        string          `cbor:"8,keyasint,omitempty"`
	Timeline           record.Timeline `cbor:"9,keyasint,omitzero"`
	CheckedIndex       uint64          `cbor:"10,keyasint,omitempty"` // of the entry with the newest digest check
	SinceCheck         uint64          `cbor:"11,keyasint,omitempty"` // accepted commands since, housekeeping not counted
	Configuration      []byte          `cbor:"12,keyasint,omitempty"` // the membership, opaque here; do not change
	ConfigurationIndex uint64          `cbor:"13,keyasint,omitempty"` // of the entry that carried it
}

// writeMeta puts m into the batch. The configuration, which seldom changes and
// may be large, lies under a key of its own.
func writeMeta(w pebble.Writer, m Meta, withConfiguration bool) error {
	if withConfiguration {
		data, err := record.Marshal(m.Configuration)
		if err != nil {
			return err
		}
		if err := w.Set(keyConfiguration, data, nil); err != nil {
			return err
		}
	}
	m.Configuration = nil
	data, err := record.Marshal(m)
	if err != nil {
		return err
	}
	return w.Set(keyMeta, data, nil)
}

// readMeta reads the meta of r; a database that never saw an entry has the
// zero Meta. If its configuration is that of known, the bytes are shared.
func readMeta(r pebble.Reader, known *Meta) (Meta, error) {
	var m Meta
	if _, err := readRecord(r, keyMeta, &m); err != nil {
		return Meta{}, err
	}
	if known != nil && known.ConfigurationIndex == m.ConfigurationIndex {
		m.Configuration = known.Configuration
		return m, nil
	}
	_, err := readRecord(r, keyConfiguration, &m.Configuration)
	return m, err
}

// readRecord decodes the record under key into v and reports whether there is
// one.
func readRecord(r pebble.Reader, key []byte, v any) (bool, error) {
	data, closer, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, readFault(key, err)
	}
	defer closer.Close()
	if err := record.Unmarshal(data, v); err != nil {
		return false, decodeFault(key, err)
	}
	return true, nil
}

func readFault(key []byte, err error) error {
	return fault.New(fault.Integrity, "the state under key %x cannot be read: %w", key, cause(err)).
		WithHint("check the disk; a node whose state is damaged is re-seeded from its peers")
}

func decodeFault(key []byte, err error) error {
	return fault.New(fault.Integrity, "the state under key %x does not decode: %w", key, err).
		WithHint("a node whose state is damaged is re-seeded from its peers; a node older than its state needs its newer binary back")
}
