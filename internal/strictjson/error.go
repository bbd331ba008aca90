package strictjson

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Why input was refused. Every *Error is exactly one of these for errors.Is.
var (
	ErrSyntax        = errors.New("not JSON")
	ErrTooLarge      = errors.New("too many bytes")
	ErrTooDeep       = errors.New("nested too deep")
	ErrDuplicateName = errors.New("a name twice in one object")
	ErrUnknownName   = errors.New("an unknown field")
	ErrValue         = errors.New("a value that does not fit its field")
)

const (
	maxPath  = 256 // bytes of Error.Path
	maxQuote = 64  // bytes of input repeated in Error.Problem
)

// An Error says what is wrong with the input and where.
type Error struct {
	Offset  int64  // bytes before the offending thing
	Line    int    // its line, from 1
	Column  int    // its column, from 1, in characters
	Path    string // JSON pointer (RFC 6901) to it, "" for the whole; cut at 256 bytes. Input: escape it on a terminal
	Problem string // what is wrong, without the place; quotes at most a few bytes of the input

	kind  error // one of the Err… above
	cause error // what the UnmarshalJSON or UnmarshalText of a field said; nil otherwise
}

// Error is the problem and the place.
func (e *Error) Error() string {
	where := fmt.Sprintf("line %d, column %d", e.Line, e.Column)
	if e.Path != "" {
		where += " (" + e.Path + ")"
	}
	return where + ": " + e.Problem
}

// Unwrap gives one of the Err… variables, and the error of the field's own
// decoding method if there is one.
func (e *Error) Unwrap() []error {
	if e.cause == nil {
		return []error{e.kind}
	}
	return []error{e.kind, e.cause}
}

// at makes the error for the thing at offset in data.
func at(data []byte, offset int64, path jsontext.Pointer, kind error, problem string) *Error {
	offset = min(max(offset, 0), int64(len(data)))
	before := data[:offset]
	lineStart := bytes.LastIndexByte(before, '\n') + 1
	return &Error{
		Offset:  offset,
		Line:    1 + bytes.Count(before, []byte{'\n'}),
		Column:  1 + utf8.RuneCount(before[lineStart:]),
		Path:    cut(string(path), maxPath),
		Problem: problem,
		kind:    kind,
	}
}

// explain turns an error of the JSON library into ours. What the library says of
// Go types is nothing that a stranger could use.
func explain(data []byte, err error) error {
	if e, ok := errors.AsType[*json.SemanticError](err); ok {
		return explainValue(data, e)
	}
	e, ok := errors.AsType[*jsontext.SyntacticError](err)
	if !ok {
		return fmt.Errorf("reading JSON: %w", err)
	}
	switch {
	case errors.Is(e.Err, jsontext.ErrDuplicateName):
		problem := fmt.Sprintf("the name %s appears twice in one object", quote(e.JSONPointer.LastToken()))
		return at(data, e.ByteOffset, e.JSONPointer, ErrDuplicateName, problem)
	case len(bytes.TrimSpace(data)) == 0:
		return at(data, e.ByteOffset, e.JSONPointer, ErrSyntax, "empty, where a JSON value should be")
	case errors.Is(e.Err, io.ErrUnexpectedEOF):
		return at(data, e.ByteOffset, e.JSONPointer, ErrSyntax, "it ends in the middle of a value")
	default:
		return at(data, e.ByteOffset, e.JSONPointer, ErrSyntax, e.Err.Error())
	}
}

func explainValue(data []byte, e *json.SemanticError) error {
	if errors.Is(e.Err, json.ErrUnknownName) {
		problem := "unknown field " + quote(e.JSONPointer.LastToken())
		return at(data, e.ByteOffset, e.JSONPointer, ErrUnknownName, problem)
	}
	out := at(data, e.ByteOffset, e.JSONPointer, ErrValue, "")
	want := wanted(e.GoType)
	switch {
	case e.Err == nil && want != "":
		out.Problem = fmt.Sprintf("%s, where %s should be", found(e.JSONKind), want)
	case errors.Is(e.Err, strconv.ErrRange) && want != "":
		out.Problem = fmt.Sprintf("%s is out of range for %s", quote(string(e.JSONValue)), want)
	case want != "":
		out.Problem = "it should be " + want
	case e.Err != nil:
		out.Problem, out.cause = e.Err.Error(), e.Err
	default:
		out.Problem = found(e.JSONKind) + " cannot stand here"
	}
	return out
}

// found names what was in the input.
func found(k jsontext.Kind) string {
	switch k {
	case jsontext.KindNull:
		return "null"
	case jsontext.KindTrue, jsontext.KindFalse:
		return "true or false"
	case jsontext.KindString:
		return "a string"
	case jsontext.KindNumber:
		return "a number"
	case jsontext.KindBeginObject, jsontext.KindEndObject:
		return "an object"
	case jsontext.KindBeginArray, jsontext.KindEndArray:
		return "an array"
	default:
		return "this"
	}
}

// wanted names what the target takes, "" for types that decode themselves.
func wanted(t reflect.Type) string {
	if t == nil {
		return ""
	}
	if t == reflect.TypeFor[time.Time]() {
		return `a time like "2006-01-02T15:04:05Z" (RFC 3339)`
	}
	if decodesItself(t) {
		return ""
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a string"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return fmt.Sprintf("an integer of at most %d bits", t.Bits())
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return fmt.Sprintf("an integer of at most %d bits that is not negative", t.Bits())
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Array:
		return fmt.Sprintf("an array of %d elements", t.Len())
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return "a string in base64"
		}
		return "an array"
	case reflect.Map, reflect.Struct:
		return "an object"
	case reflect.Pointer:
		return wanted(t.Elem())
	default:
		return ""
	}
}

func decodesItself(t reflect.Type) bool {
	for _, method := range []string{"UnmarshalJSONFrom", "UnmarshalJSON", "UnmarshalText"} {
		if _, ok := reflect.PointerTo(t).MethodByName(method); ok {
			return true
		}
	}
	return false
}

// quote repeats a little of the input, with everything unprintable escaped.
func quote(s string) string { return strconv.QuoteToGraphic(cut(s, maxQuote)) }

// cut shortens s to at most n bytes, and valid UTF-8.
func cut(s string, n int) string {
	if len(s) <= n {
		return strings.ToValidUTF8(s, "\uFFFD")
	}
	return strings.ToValidUTF8(s[:n-len("…")], "") + "…"
}
