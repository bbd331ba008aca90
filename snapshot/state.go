package snapshot

import (
	"encoding/hex"
	"fmt"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

// A State says which state a snapshot is of. The numbers are the writer's word; a
// drill compares them with what was restored.
type State struct {
	Cluster     record.ID         `json:"cluster"`
	ClusterName string            `json:"cluster_name"`
	Timeline    record.Timeline   `json:"timeline"`
	Index       uint64            `json:"index"` // of the last entry that is in it
	Term        uint64            `json:"term"`
	LogTime     record.LogTime    `json:"log_time,string"`
	At          time.Time         `json:"at"`               // LogTime for people; filled in when it is written
	Digest      Digest            `json:"digest"`           // of the state machine
	Counts      map[string]uint64 `json:"counts,omitempty"` // by noun, for people: sessions, upstreams
}

// maxCounts bounds Counts.
const maxCounts = 64

// Validate reports why s cannot describe a snapshot, or nil.
func (s State) Validate() error {
	switch {
	case s.Cluster.IsZero() || s.Timeline.IsZero():
		return fault.New(fault.Invalid, "a snapshot needs a cluster and a timeline")
	case s.Index == 0:
		return fault.New(fault.Invalid, "a snapshot needs an index from 1 on")
	case !s.At.IsZero() && !s.At.Equal(s.LogTime.Time()):
		return fault.New(fault.Invalid, "log time %d is not at %v", s.LogTime, s.At)
	case len(s.Counts) > maxCounts:
		return fault.New(fault.Invalid, "a snapshot has at most %d counts, not %d", maxCounts, len(s.Counts))
	}
	return record.ValidCluster(s.ClusterName)
}

// A Digest is what the state machine says of its state. It is opaque here; its text
// is hexadecimal.
type Digest [16]byte

func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// MarshalText and UnmarshalText give a Digest its text form in JSON.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

func (d *Digest) UnmarshalText(b []byte) error { return decodeHex("digest", d[:], b) }

// A Hash is a SHA-256. Its text is hexadecimal.
type Hash [32]byte

func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText and UnmarshalText give a Hash its text form in JSON.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

func (h *Hash) UnmarshalText(b []byte) error { return decodeHex("hash", h[:], b) }

func decodeHex(what string, into, text []byte) error {
	if len(text) != 2*len(into) {
		return fmt.Errorf("%s has %d characters, want %d hexadecimal digits", what, len(text), 2*len(into))
	}
	if _, err := hex.Decode(into, text); err != nil {
		return err
	}
	if hex.EncodeToString(into) != string(text) { // one form only, or a flipped bit could mean the same
		return fmt.Errorf("%s is not in lower case", what)
	}
	return nil
}
