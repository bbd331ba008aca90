package record

import (
	"encoding/hex"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Scope divides the keys of the state. It is 0 everywhere until tenants exist;
// a split into several Raft groups can then follow it without a new format.
type Scope uint32

// An ID is 128 random bits: of a cluster, a disk, a process or a producer.
// The zero ID is no id. Its text is 32 lower-case hexadecimal digits.
type ID [16]byte

// IsZero reports whether id is unset.
func (id ID) IsZero() bool { return id == ID{} }

func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Short is the first eight digits, for people; it identifies nothing.
func (id ID) Short() string { return id.String()[:8] }

// ParseID reads the text form of an ID.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != 2*len(id) {
		return ID{}, fmt.Errorf("id %q has %d characters, want %d hexadecimal digits", s, len(s), 2*len(id))
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return ID{}, fmt.Errorf("id %q: %w", s, err)
	}
	return id, nil
}

// MarshalText and UnmarshalText give an ID its text form in JSON and YAML.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

func (id *ID) UnmarshalText(b []byte) (err error) {
	*id, err = ParseID(string(b))
	return err
}

// UnmarshalCBOR takes a byte string of exactly 16, where the library would fill
// up or cut others.
func (id *ID) UnmarshalCBOR(data []byte) error { return DecodeFixed(id[:], data) }

// A Timeline names one history of the log. Every recovery starts a new one:
// the next number, and a random salt so that two recoveries of one cluster
// never share a name. Its text is "number-salt", as in "2-5f3a90c1".
type Timeline struct {
	Number uint32 `cbor:"1,keyasint"`
	Salt   uint32 `cbor:"2,keyasint"`
}

// IsZero reports whether t is unset.
func (t Timeline) IsZero() bool { return t == Timeline{} }

func (t Timeline) String() string { return fmt.Sprintf("%d-%08x", t.Number, t.Salt) }

// ParseTimeline reads the text form of a Timeline.
func ParseTimeline(s string) (Timeline, error) {
	number, salt, ok := strings.Cut(s, "-")
	if ok && len(salt) == 8 {
		n, errN := strconv.ParseUint(number, 10, 32)
		x, errX := strconv.ParseUint(salt, 16, 32)
		if errN == nil && errX == nil {
			return Timeline{Number: uint32(n), Salt: uint32(x)}, nil
		}
	}
	return Timeline{}, fmt.Errorf("timeline %q is not of the form number-xxxxxxxx", s)
}

// MarshalText and UnmarshalText give a Timeline its text form in JSON.
func (t Timeline) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

func (t *Timeline) UnmarshalText(b []byte) (err error) {
	*t, err = ParseTimeline(string(b))
	return err
}

// LogTime is the time of an entry of the log: milliseconds since the Unix epoch
// in the upper 48 bits, a counter in the lower 16. It only grows:
// the state machine takes max(previous + 1, what the leader stamped). Every
// decision on a TTL or an expiry compares log times.
type LogTime uint64

// LogTimeAt is the first LogTime of t's millisecond; times before 1970 are 0.
func LogTimeAt(t time.Time) LogTime {
	ms := t.UnixMilli()
	if ms < 0 {
		return 0
	}
	return LogTime(uint64(ms) << 16)
}

// Time is t to the millisecond, in UTC.
func (t LogTime) Time() time.Time { return time.UnixMilli(int64(t >> 16)).UTC() }

// Add is t moved by d, to the millisecond; it stops at both ends of LogTime.
func (t LogTime) Add(d time.Duration) LogTime {
	ms := int64(t>>16) + d.Milliseconds()
	if ms < 0 {
		return 0
	}
	if ms >= 1<<48 {
		return math.MaxUint64
	}
	return LogTime(uint64(ms)<<16 | uint64(t)&0xffff)
}

// Sub is the time from u to t, to the millisecond.
func (t LogTime) Sub(u LogTime) time.Duration {
	return time.Duration(int64(t>>16)-int64(u>>16)) * time.Millisecond
}

// Digest is the 128-bit incremental hash of the replicated state.
type Digest [16]byte

func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// UnmarshalCBOR takes a byte string of exactly 16.
func (d *Digest) UnmarshalCBOR(data []byte) error { return DecodeFixed(d[:], data) }

// A Principal is an authenticated caller. It has no zero meaning: an empty
// issuer or subject is not valid anywhere.
type Principal struct {
	Issuer  string `cbor:"1,keyasint" json:"issuer"`
	Subject string `cbor:"2,keyasint" json:"subject"`
}

func (p Principal) String() string { return p.Issuer + "#" + p.Subject }

// Validate reports every mistake of p.
func (p Principal) Validate() error {
	problems := problems{noun: "principal"}
	problems.principal("principal", p)
	return problems.err()
}

func (p *problems) principal(field string, v Principal) {
	if !isPrincipalPart(v.Issuer) {
		p.text(field+".issuer", v.Issuer, MaxPrincipal, true)
	}
	if !isPrincipalPart(v.Subject) {
		p.text(field+".subject", v.Subject, MaxPrincipal, true)
	}
}

// isPrincipalPart is a quick yes; without one, text looks closer.
func isPrincipalPart(s string) bool { return s != "" && len(s) <= MaxPrincipal && isPlain(s) }

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
