package record

import (
	"encoding/hex"
	"fmt"
)

// A Hash is a SHA-256. Its text is 64 lower-case hexadecimal digits.
type Hash [32]byte

// IsZero reports whether h is unset.
func (h Hash) IsZero() bool { return h == Hash{} }

func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// ParseHash reads the text form of a Hash.
func ParseHash(s string) (h Hash, err error) {
	if len(s) != 2*len(h) {
		return Hash{}, fmt.Errorf("hash %q has %d characters, want %d hexadecimal digits", s, len(s), 2*len(h))
	}
	if _, err := hex.Decode(h[:], []byte(s)); err != nil {
		return Hash{}, fmt.Errorf("hash %q: %w", s, err)
	}
	return h, nil
}

// MarshalText and UnmarshalText give a Hash its text form in JSON.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

func (h *Hash) UnmarshalText(b []byte) (err error) {
	*h, err = ParseHash(string(b))
	return err
}

// UnmarshalCBOR takes a byte string of exactly 32.
func (h *Hash) UnmarshalCBOR(data []byte) error { return DecodeFixed(h[:], data) }

// An Archive says what of a timeline is kept off the nodes: the segments of its
// log without a gap up to Last, and the newest backup of its state. There is one
// in the state; that of an earlier timeline says nothing of this one.
type Archive struct {
	Timeline Timeline `cbor:"1,keyasint"`
	Sequence uint64   `cbor:"2,keyasint,omitempty"`  // of the newest segment; 0: there is none yet
	First    uint64   `cbor:"3,keyasint,omitempty"`  // index since which no entry is missing
	Last     uint64   `cbor:"4,keyasint,omitempty"`  // index that the newest segment ends with
	LastTime LogTime  `cbor:"5,keyasint,omitempty"`  // of the entries up to Last
	Hash     Hash     `cbor:"6,keyasint,omitzero"`   // of the newest segment as it is stored
	Advanced LogTime  `cbor:"7,keyasint,omitempty"`  // when it was taken up
	Gaps     uint64   `cbor:"8,keyasint,omitempty"`  // how often entries were lost before they were archived
	Backup   *Backup  `cbor:"9,keyasint,omitempty"`  // the newest; nil: none of this timeline
	Revision uint64   `cbor:"10,keyasint,omitempty"` // set when applied

	// The newest verification of each level that passed. A level includes those
	// before it, so Drilled is never newer than Decoded, nor that than Listed.
	Listed  *Verification `cbor:"11,keyasint,omitempty"`
	Decoded *Verification `cbor:"12,keyasint,omitempty"`
	Drilled *Verification `cbor:"13,keyasint,omitempty"`
}

// Validate reports every mistake of a.
func (a *Archive) Validate() error {
	p := problems{noun: "archive"}
	if a.Timeline.IsZero() {
		p.add("timeline", "is missing")
	}
	if a.Sequence > 0 && (a.First == 0 || a.Last < a.First || a.Hash.IsZero()) {
		p.add("last", "segment %d cannot end at index %d, with hash %v and no entry missing since %d", a.Sequence, a.Last, a.Hash, a.First)
	}
	return p.err()
}

// Based reports whether the run of segments that is being written has a backup to
// start from: without one nothing of it can be restored.
func (a *Archive) Based() bool { return a.Backup != nil && a.Backup.Index+1 >= a.First }

// A Backup is one that has arrived in the destination.
type Backup struct {
	ID      string  `cbor:"1,keyasint"`           // of its manifest
	Index   uint64  `cbor:"2,keyasint"`           // of the state that it holds
	LogTime LogTime `cbor:"3,keyasint"`           // of that state
	Taken   LogTime `cbor:"4,keyasint,omitempty"` // when it was noted; set when applied
}

// maxBackupID bounds the id of a backup, in bytes.
const maxBackupID = 64

// Validate reports every mistake of b.
func (b *Backup) Validate() error {
	p := problems{noun: "backup"}
	p.text("id", b.ID, maxBackupID, true)
	if b.Index == 0 {
		p.add("index", "is missing")
	}
	return p.err()
}

// A Depth says how much of a backup a verification read. Numbers are for ever.
type Depth uint8

const (
	DepthFiles  Depth = 1 // every object is there and has its size
	DepthDecode Depth = 2 // and every byte has its checksum, decrypts and decompresses
	DepthDrill  Depth = 3 // and it was restored, and has the digest that the cluster had
)

// String is the name of the level.
func (d Depth) String() string {
	switch d {
	case DepthFiles:
		return "files"
	case DepthDecode:
		return "decode"
	case DepthDrill:
		return "drill"
	}
	return fmt.Sprintf("depth %d", uint8(d))
}

// A Verification is one of a backup that passed.
type Verification struct {
	Backup string  `cbor:"1,keyasint"` // id of the backup
	Depth  Depth   `cbor:"2,keyasint"`
	TookMS uint64  `cbor:"3,keyasint,omitempty"` // milliseconds; of a drill, about what a restore takes
	At     LogTime `cbor:"4,keyasint,omitempty"` // when it was noted; set when applied
}

// Validate reports every mistake of v.
func (v *Verification) Validate() error {
	p := problems{noun: "verification"}
	p.text("backup", v.Backup, maxBackupID, true)
	if v.Depth < DepthFiles || v.Depth > DepthDrill {
		p.add("depth", "is %d, want %d to %d", v.Depth, DepthFiles, DepthDrill)
	}
	return p.err()
}

// Verified is the newest verification that read at least so much; nil: none of this
// timeline.
func (a *Archive) Verified(d Depth) *Verification {
	switch d {
	case DepthFiles:
		return a.Listed
	case DepthDecode:
		return a.Decoded
	}
	return a.Drilled
}

// MaxLabel bounds the name of a label, in bytes.
const MaxLabel = 64

// A Label is a point of the log that somebody gave a name, to go back to it.
type Label struct {
	Name     string    `cbor:"1,keyasint"`
	Timeline Timeline  `cbor:"2,keyasint,omitzero"`  // set when applied, as all that follows
	Index    uint64    `cbor:"3,keyasint,omitempty"` // of the entry that made the label; going back to it keeps the label
	LogTime  LogTime   `cbor:"4,keyasint,omitempty"`
	By       Principal `cbor:"5,keyasint,omitzero"`
	Revision uint64    `cbor:"6,keyasint,omitempty"`
}

// Validate reports every mistake of l.
func (l *Label) Validate() error { return ValidLabel(l.Name) }

// ValidLabel reports why name cannot be that of a label, or nil: it is part of the
// name of an object.
func ValidLabel(name string) error {
	p := problems{noun: "label"}
	switch {
	case name == "":
		p.add("name", "is missing")
	case len(name) > MaxLabel:
		p.add("name", "has %d bytes, the limit is %d", len(name), MaxLabel)
	case !isLabel(name):
		p.add("name", "%q is not a label: use letters, digits, -, _ and ., not . first", name)
	}
	return p.err()
}

func isLabel(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.' && i > 0:
		default:
			return false
		}
	}
	return s != ""
}
