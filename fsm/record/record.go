// Package record defines the records of the replicated state, their validity
// rules and their bytes. It is pure: no I/O, no clock, no randomness; ids and
// times are handed in.
//
// # Encoding
//
// A record is one version byte followed by CBOR in the core deterministic
// encoding of RFC 8949 section 4.2.1, with integer map keys (docs/format/record.md).
// The same value always has the same bytes: the digest of the state depends on
// it. Field numbers are for ever.
//
// # Validity
//
// Validate reports every mistake of a record, each naming its field and the
// limit. The leader validates before it proposes and every node validates again
// when it applies, so an invalid record is a rejection and never state.
package record

import (
	"bytes"
	"fmt"
	"strings"
	"sync"

	"github.com/fxamacker/cbor/v2"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// Version is the encoding version written before each record.
const Version = 1

// MaxBytes bounds the encoding of one record.
const MaxBytes = 128 << 10

var (
	encMode = must(cbor.CoreDetEncOptions().UserBufferEncMode())
	decMode = must(cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		MaxArrayElements:  65536,
		MaxMapPairs:       65536,
		MaxNestedLevels:   16,
	}.DecMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // only wrong options get here, at program start
	}
	return v
}

// Encode is the CBOR of v, without a version byte. It is the one CBOR encoder
// of the replicated state; fsm uses it for envelopes and commands.
func Encode(v any) ([]byte, error) { return encMode.Marshal(v) }

// Decode reads exactly one CBOR item from data into v. Duplicate keys, unknown
// fields, indefinite lengths, tags and trailing bytes are errors.
func Decode(data []byte, v any) error { return decMode.Unmarshal(data, v) }

// DecodeFirst is Decode for the first item of data; it returns what follows.
func DecodeFirst(data []byte, v any) (rest []byte, err error) {
	return decMode.UnmarshalFirst(data, v)
}

// DecodeFixed reads one CBOR item that must be a byte string of len(into) bytes,
// 1 to 255, with its length in the shortest form.
func DecodeFixed(into, data []byte) error {
	const byteString = 2 << 5
	head := []byte{byteString | byte(len(into))}
	if len(into) >= 24 {
		head = []byte{byteString | 24, byte(len(into))}
	}
	body, ok := bytes.CutPrefix(data, head)
	if !ok || len(body) != len(into) {
		return fmt.Errorf("item %x is not a byte string of %d", data[:min(len(data), 40)], len(into))
	}
	copy(into, body)
	return nil
}

// Raw is one encoded CBOR item that its holder does not look into.
type Raw = cbor.RawMessage

// Marshal is the stored form of a record: version byte, then CBOR.
func Marshal(v any) ([]byte, error) {
	buf := buffers.Get().(*bytes.Buffer)
	defer buffers.Put(buf)
	buf.Reset()
	buf.WriteByte(Version)
	if err := encMode.MarshalToBuffer(v, buf); err != nil {
		return nil, err
	}
	return bytes.Clone(buf.Bytes()), nil
}

// buffers are as large as the largest record that was encoded in one.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// Unmarshal reads the stored form of a record into v.
func Unmarshal(data []byte, v any) error {
	if len(data) == 0 {
		return fault.New(fault.Integrity, "record is empty")
	}
	if data[0] != Version {
		return fault.New(fault.Integrity, "record has encoding version %d, this binary reads %d", data[0], Version)
	}
	if err := decMode.Unmarshal(data[1:], v); err != nil {
		return fault.New(fault.Integrity, "record does not decode: %w", err)
	}
	return nil
}

// problems collects the mistakes of one record.
type problems struct {
	noun string
	list []string
}

func (p *problems) add(field, format string, args ...any) {
	p.list = append(p.list, field+": "+fmt.Sprintf(format, args...))
}

// err is nil when nothing was added, else one Invalid error that names all.
func (p *problems) err() error {
	if len(p.list) == 0 {
		return nil
	}
	return fault.New(fault.Invalid, "%s is not valid: %s", p.noun, strings.Join(p.list, "; "))
}
