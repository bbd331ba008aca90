// Package strictjson reads JSON that strangers wrote, and writes ours. It is the
// one home of the JSON library.
//
// What it refuses, where common readers let it pass: a name twice in one object
// at any depth, even inside parts that are kept raw; a name that differs from the
// field's in case; a field that the target does not have; invalid UTF-8 and
// unpaired surrogates; nesting above a limit; anything after the value; more
// bytes than a limit, noticed while reading. Each of these has been used to make
// two readers see two things in one message, or to exhaust one.
//
// A refusal is an [*Error] that says what is wrong and where; the caller turns it
// into the error of its protocol.
//
// # Positions
//
// Error.Offset and Error.Path come from the JSON library, which counts while it
// reads; for nesting above the limit they come from a scan of our own that runs
// first, because the library has no limit that can be set. The offset is that of
// the first byte of the offending thing: the name of an unknown or repeated
// field, the value that does not fit, the character that cannot stand there. Line
// and column are counted from the offset only when there is an error.
package strictjson

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// DefaultDepth is how deep arrays and objects may be nested if Rules do not say.
const DefaultDepth = 64

// Rules vary what is refused. The zero value is the strictest.
type Rules struct {
	// Depth is how deep arrays and objects may be nested; a value that is neither
	// has depth 0. 0 means DefaultDepth.
	Depth int

	// AllowUnknown skips fields that the target does not have. What a newer client
	// asks for is then silently not done.
	AllowUnknown bool
}

// Decode reads one JSON value of at most limit bytes from r into v, by the
// strictest rules. See [Rules.Decode].
func Decode(r io.Reader, limit int64, v any) error { return Rules{}.Decode(r, limit, v) }

// DecodeBytes is Decode for bytes that are in memory already.
func DecodeBytes(data []byte, v any) error { return Rules{}.DecodeBytes(data, v) }

// Decode reads r to its end, which must come within limit bytes, and decodes the
// one JSON value there into v, a pointer. It never holds more than limit + 1 bytes
// of input. A refusal of the input is an *Error; an error of r is wrapped as it is.
// After an error v may be partly filled.
func (rules Rules) Decode(r io.Reader, limit int64, v any) error {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return fmt.Errorf("reading JSON: %w", err)
	}
	if int64(len(data)) > limit {
		return at(data, limit, "", ErrTooLarge, fmt.Sprintf("larger than the limit of %d bytes", limit))
	}
	return rules.DecodeBytes(data, v)
}

// DecodeBytes is Decode for bytes that are in memory already. v does not keep data.
func (rules Rules) DecodeBytes(data []byte, v any) error {
	body := withoutBOM(data)
	if err := rules.checkDepth(body); err != nil {
		return shift(err, data, body)
	}
	err := json.Unmarshal(body, v, json.RejectUnknownMembers(!rules.AllowUnknown))
	if err != nil {
		return shift(explain(body, err), data, body)
	}
	return nil
}

// Valid checks data against everything but the fields of a target. It allocates
// nothing for data that passes.
func (rules Rules) Valid(data []byte) error {
	body := withoutBOM(data)
	if rules.checkDepth(body) == nil && jsontext.Value(body).IsValid() {
		return nil
	}
	var raw jsontext.Value
	return rules.DecodeBytes(data, &raw)
}

// Marshal writes v as JSON: map keys sorted, nil slices and maps as [] and {}, so
// that equal values give equal bytes.
func Marshal(v any) ([]byte, error) {
	data, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("writing JSON: %w", err)
	}
	return data, nil
}

// withoutBOM skips a byte order mark, which RFC 8259 forbids to write and allows
// to ignore.
func withoutBOM(data []byte) []byte {
	return bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
}

// shift moves the offset of an error in body to that in data, of which body is
// the end.
func shift(err error, data, body []byte) error {
	if e, ok := errors.AsType[*Error](err); ok {
		e.Offset += int64(len(data) - len(body))
	}
	return err
}
