package adminapi

import (
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// Headers of every answer under /v1.
const (
	HeaderIndex       = "Mcpraft-Index"        // the log index that the answer reflects, or that carried the change
	HeaderTimeline    = "Mcpraft-Timeline"     // the history of the log in which the index counts
	HeaderConsistency = "Mcpraft-Consistency"  // linearizable, bounded or any; reads only
	HeaderStaleness   = "Mcpraft-Staleness"    // measured upper bound in ms, -1: unknown; reads only
	HeaderReplayed    = "Idempotency-Replayed" // true: an earlier request with this Idempotency-Key was answered
	HeaderIdempotency = "Idempotency-Key"      // 1 to 128 visible ASCII characters
	HeaderRequestID   = "X-Request-Id"         // 1 to 64 of A-Z a-z 0-9 . _ -
	HeaderETag        = "ETag"                 // "revision" of the one record of the answer
	HeaderIfMatch     = "If-Match"             // "revision" that the record must have
)

// StreamProtocol is the value of the Upgrade header that opens a stream.
const StreamProtocol = "mcpraft-stream/1"

// Bounds of the API. A request beyond one is refused with a 4xx that names it.
const (
	MaxBodyBytes      = 1 << 20
	MaxHeaderBytes    = 32 << 10
	MaxIdempotencyKey = 128
	MaxRequestID      = 64
	MaxListLimit      = 1000
	DefaultListLimit  = 100
)

// A Time is an instant to the millisecond. JSON: RFC 3339 in UTC. CBOR: an
// integer, milliseconds since the Unix epoch. Zero means there is none.
type Time int64

// TimeOf is t to the millisecond; the zero time.Time is the zero Time.
func TimeOf(t time.Time) Time {
	if t.IsZero() {
		return 0
	}
	return Time(t.UnixMilli())
}

// Time is t in UTC; the zero Time is the zero time.Time.
func (t Time) Time() time.Time {
	if t == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(t)).UTC()
}

func (t Time) String() string { return t.Time().Format(time.RFC3339Nano) }

// MarshalText and UnmarshalText give a Time its form in JSON and YAML.
func (t Time) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

func (t *Time) UnmarshalText(b []byte) error {
	parsed, err := time.Parse(time.RFC3339Nano, string(b))
	if err != nil {
		return fmt.Errorf("time %q is not RFC 3339", b)
	}
	*t = TimeOf(parsed)
	return nil
}

// A Duration is a length of time to the millisecond. JSON: Go's notation, as in
// "1m30s". CBOR: an integer, milliseconds.
type Duration int64

// DurationOf is d to the millisecond.
func DurationOf(d time.Duration) Duration { return Duration(d.Milliseconds()) }

// Duration is d as Go's type; beyond 292 years it is the longest there is.
func (d Duration) Duration() time.Duration {
	const limit = Duration((1<<63 - 1) / int64(time.Millisecond))
	return time.Duration(min(max(d, -limit), limit)) * time.Millisecond
}

func (d Duration) String() string { return d.Duration().String() }

// MarshalText and UnmarshalText give a Duration its form in JSON and YAML.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

func (d *Duration) UnmarshalText(b []byte) error {
	parsed, err := time.ParseDuration(string(b))
	if err != nil {
		return fmt.Errorf("duration %q is not of the form 1h30m, 15s or 250ms", b)
	}
	if parsed%time.Millisecond != 0 {
		return fmt.Errorf("duration %q is finer than a millisecond", b)
	}
	*d = DurationOf(parsed)
	return nil
}

// Consistency says how fresh a read must be. Zero means the default of the
// operation. Numbers are for ever.
type Consistency uint8

const (
	Linearizable Consistency = 1 // reflects every write acknowledged before the read began
	Bounded      Consistency = 2 // at most MaxStaleness behind, as measured
	Any          Consistency = 3 // whatever the node that is asked holds
)

var consistencies = [...]string{"default", "linearizable", "bounded", "any"}

func (c Consistency) String() string {
	if int(c) < len(consistencies) {
		return consistencies[c]
	}
	return "consistency(" + strconv.Itoa(int(c)) + ")"
}

// ParseConsistency reads the name of a Consistency; empty is the default.
func ParseConsistency(s string) (Consistency, error) {
	switch s {
	case "":
		return 0, nil
	case "linearizable":
		return Linearizable, nil
	case "bounded":
		return Bounded, nil
	case "any":
		return Any, nil
	}
	return 0, fmt.Errorf("consistency %q is not one of linearizable, bounded, any", s)
}

// A Principal is an authenticated caller.
type Principal struct {
	Issuer  string `cbor:"1,keyasint" json:"issuer"`
	Subject string `cbor:"2,keyasint" json:"subject"`
}

// String is the form that a user= parameter takes: issuer#subject.
func (p Principal) String() string { return p.Issuer + "#" + p.Subject }

// ReadOptions go with every read. CBOR keys 1 to 9 of a request are options,
// the operation's own fields begin at 10.
type ReadOptions struct {
	Consistency  Consistency `cbor:"1,keyasint,omitempty" json:"-"`
	MinIndex     uint64      `cbor:"2,keyasint,omitempty" json:"-"` // wait until this index is applied: read your writes; 0: do not wait
	MaxStaleness Duration    `cbor:"3,keyasint,omitempty" json:"-"` // for bounded; 0 means 5s
}

// WriteOptions go with every write.
type WriteOptions struct {
	IfMatch        uint64 `cbor:"4,keyasint,omitempty" json:"-"` // revision that the record must have; 0: not asked
	IdempotencyKey string `cbor:"5,keyasint,omitempty" json:"-"` // empty: none
}

func (o *ReadOptions) options() (*ReadOptions, *WriteOptions)  { return o, nil }
func (o *WriteOptions) options() (*ReadOptions, *WriteOptions) { return nil, o }

// Info goes with every answer: the headers over HTTP, CBOR keys 1 to 9 over the
// stream.
type Info struct {
	Index       uint64      `cbor:"1,keyasint,omitempty" json:"index"`
	Timeline    string      `cbor:"2,keyasint,omitempty" json:"timeline"`
	Consistency Consistency `cbor:"3,keyasint,omitempty" json:"-"`
	Staleness   Duration    `cbor:"4,keyasint,omitempty" json:"-"`
	Revision    uint64      `cbor:"5,keyasint,omitempty" json:"-"` // of the one record of the answer
	Replayed    bool        `cbor:"6,keyasint,omitempty" json:"-"`
	RequestID   string      `cbor:"7,keyasint,omitempty" json:"-"` // HTTP only
	Addr        string      `cbor:"-" json:"-"`                    // the address that answered; set by the client
}

// SetHeader writes i into the header of an answer.
func (i *Info) SetHeader(h http.Header) {
	h[HeaderIndex] = []string{strconv.FormatUint(i.Index, 10)}
	h[HeaderTimeline] = []string{i.Timeline}
	if i.Consistency != 0 {
		h[HeaderConsistency] = []string{i.Consistency.String()}
		h[HeaderStaleness] = []string{strconv.FormatInt(int64(i.Staleness), 10)}
	}
	if i.Revision != 0 {
		h.Set(HeaderETag, ETag(i.Revision))
	}
	if i.Replayed {
		h[HeaderReplayed] = []string{"true"}
	}
}

// infoFrom reads the header of an answer; what is missing or unreadable is zero.
func infoFrom(h http.Header) Info {
	index, _ := strconv.ParseUint(h.Get(HeaderIndex), 10, 64)
	staleness, _ := strconv.ParseInt(h.Get(HeaderStaleness), 10, 64)
	consistency, _ := ParseConsistency(h.Get(HeaderConsistency))
	revision, _ := ParseETag(h.Get(HeaderETag))
	return Info{
		Index:       index,
		Timeline:    h.Get(HeaderTimeline),
		Consistency: consistency,
		Staleness:   Duration(staleness),
		Revision:    revision,
		Replayed:    h.Get(HeaderReplayed) == "true",
		RequestID:   h.Get(HeaderRequestID),
	}
}

// ETag is the entity tag of a revision.
func ETag(revision uint64) string { return `"` + strconv.FormatUint(revision, 10) + `"` }

// ParseETag reads what ETag writes and nothing else: no weak tags, lists, signs,
// leading zeros or "*".
func ParseETag(s string) (uint64, error) {
	if len(s) > 2 && s[0] == '"' && s[len(s)-1] == '"' {
		digits := s[1 : len(s)-1]
		if n, err := strconv.ParseUint(digits, 10, 64); err == nil && n > 0 && digits[0] != '0' && digits[0] != '+' {
			return n, nil
		}
	}
	return 0, fmt.Errorf(`entity tag %q is not a revision in double quotes, as in "42"`, s)
}

// A Receipt answers a write. The index that carried it is in Info.
type Receipt struct {
	Revision uint64 `cbor:"1,keyasint,omitempty" json:"revision"` // of the record after the change
	Time     Time   `cbor:"2,keyasint,omitempty" json:"time"`     // log time of the change
}

// A Page is part of a list. Next goes into After of the next request; empty
// means that the list is complete.
type Page[T any] struct {
	Items []T    `cbor:"1,keyasint,omitempty" json:"items"`
	Next  string `cbor:"2,keyasint,omitempty" json:"next,omitempty"`
}
