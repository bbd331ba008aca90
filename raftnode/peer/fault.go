package peer

import (
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

// Bounds of an error between nodes. What is longer is cut by the sender.
const (
	maxFaultText    = 1024 // bytes of message and hint, each
	maxFaultDetails = 8
	maxDetailText   = 128 // bytes of a key or value
)

// wireFault is a fault.Error as it is sent. The cause stays at home.
type wireFault struct {
	Kind         fault.Kind        `cbor:"1,keyasint"`
	Message      string            `cbor:"2,keyasint"`
	Hint         string            `cbor:"3,keyasint,omitempty"`
	Details      map[string]string `cbor:"4,keyasint,omitempty"`
	RetryAfterMS uint32            `cbor:"5,keyasint,omitempty"`
}

// toWire is err for the other end, within the bounds.
func toWire(err error) *wireFault {
	e := fault.As(err)
	w := &wireFault{
		Kind:         e.Kind,
		Message:      cut(e.Message, maxFaultText),
		Hint:         cut(e.Hint, maxFaultText),
		RetryAfterMS: uint32(min(max(e.RetryAfter, 0), time.Hour).Milliseconds()),
	}
	for _, key := range slices.Sorted(maps.Keys(e.Details)) {
		if len(w.Details) == maxFaultDetails {
			break
		}
		if w.Details == nil {
			w.Details = make(map[string]string)
		}
		w.Details[cut(key, maxDetailText)] = cut(e.Details[key], maxDetailText)
	}
	return w
}

// cut is at most limit bytes of s, valid UTF-8.
func cut(s string, limit int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}

// fault is w as an error. A kind that this binary does not know is Internal:
// nothing may be concluded from it.
func (w *wireFault) fault() *fault.Error {
	kind := w.Kind
	if !kind.Known() {
		kind = fault.Internal
	}
	return &fault.Error{
		Kind:       kind,
		Message:    w.Message,
		Hint:       w.Hint,
		Details:    w.Details,
		RetryAfter: time.Duration(w.RetryAfterMS) * time.Millisecond,
	}
}

func encodeFault(err error) []byte {
	b, encErr := record.Encode(toWire(err))
	if encErr != nil {
		return nil // cannot happen: the type has no part that does not encode
	}
	return b
}

// decodeFault reads the error that a node answered.
func decodeFault(b []byte) *fault.Error {
	var w wireFault
	if err := record.Decode(b, &w); err != nil {
		return fault.New(fault.Internal, "the error of the other node does not decode: %w", err)
	}
	return w.fault()
}
