package mcp

import (
	"bytes"

	"github.com/mcpraft/mcpraft/internal/strictjson"
)

// Text is the string that the JSON string raw stands for; false if it is none.
func Text(raw []byte) (string, bool) { return strictjson.Text(raw) }

// Quote is s as a JSON string.
func Quote(s string) []byte { return strictjson.AppendQuote(make([]byte, 0, len(s)+2), s) }

// Marshal writes v as JSON: map keys sorted, nil slices and maps as [] and {}.
func Marshal(v any) ([]byte, error) { return strictjson.Marshal(v) }

// Unmarshal reads one JSON value into v, a pointer. Names are case-sensitive;
// unknown ones are ignored.
func Unmarshal(raw []byte, v any) error {
	return strictjson.Rules{AllowUnknown: true, Depth: FromUpstream.Depth}.DecodeBytes(raw, v)
}

// Field is the value at a path of object members in a part of a parsed message;
// nil if there is none. It costs a scan of what stands before the value.
func Field(raw []byte, path ...string) []byte {
	from, to, ok := locate(raw, path)
	if !ok {
		return nil
	}
	return raw[from:to:to]
}

// locate is where the value at path stands in raw.
func locate(raw []byte, path []string) (from, to int, ok bool) {
	if raw == nil {
		return 0, 0, false
	}
	to = len(raw)
	for _, name := range path {
		at, length := member(raw[from:to], name)
		if length == 0 {
			return 0, 0, false
		}
		from += at
		to = from + length
	}
	return from, to, true
}

// member is where the value of one member stands in an object; length 0 if it has
// none of that name.
func member(object []byte, name string) (at, length int) {
	for m := range strictjson.Members(object) {
		if isNamed(m.Name, name) {
			return m.At, len(m.Value)
		}
	}
	return 0, 0
}

// isNamed compares a quoted name with a plain one, however it is escaped.
func isNamed(quoted []byte, name string) bool {
	if string(quoted[1:len(quoted)-1]) == name {
		return true
	}
	if len(quoted)-2 <= len(name) {
		return false // escapes only make it longer
	}
	text, ok := strictjson.Text(quoted)
	return ok && text == name
}

// WithField is a copy of raw with value, one valid JSON value, at a path of object
// members. Objects that are missing on the way are made; what is no object on the
// way is replaced by one.
func WithField(raw, value []byte, path ...string) []byte {
	if len(path) == 0 {
		return value
	}
	if from, to, ok := locate(raw, path); ok {
		return splice(raw, from, to, value)
	}
	if raw = trim(raw); len(raw) == 0 || raw[0] != '{' {
		raw = []byte("{}")
	}
	at, length := member(raw, path[0])
	if length == 0 {
		return appendMember(raw, Quote(path[0]), WithField(nil, value, path[1:]...))
	}
	return splice(raw, at, at+length, WithField(raw[at:at+length], value, path[1:]...))
}

// WithoutField is raw without the member at path; raw itself if there is none.
func WithoutField(raw []byte, path ...string) []byte {
	if len(path) == 0 {
		return raw
	}
	parent, to, ok := locate(raw, path[:len(path)-1])
	if !ok {
		return raw
	}
	o := scanObject(raw[parent:to])
	if !o.Delete(path[len(path)-1]) {
		return raw
	}
	return splice(raw, parent, to, o.Bytes())
}

// appendMember is a copy of an object with one more member at its end.
func appendMember(object, quotedName, value []byte) []byte {
	end := len(object) - 1
	for end > 1 && isSpace(object[end-1]) {
		end--
	}
	out := make([]byte, 0, len(object)+len(quotedName)+len(value)+2)
	out = append(out, object[:end]...)
	if end > 1 {
		out = append(out, ',')
	}
	out = append(append(append(out, quotedName...), ':'), value...)
	return append(out, '}')
}

// trim drops the white space around a value.
func trim(raw []byte) []byte { return bytes.Trim(raw, " \t\r\n") }

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// Raw is one valid JSON value inside something that [Marshal] writes or
// [Unmarshal] reads.
type Raw []byte

// MarshalJSON gives the value itself.
func (r Raw) MarshalJSON() ([]byte, error) {
	if r == nil {
		return []byte("null"), nil
	}
	return r, nil
}

// UnmarshalJSON keeps a copy of the value.
func (r *Raw) UnmarshalJSON(value []byte) error {
	*r = bytes.Clone(value)
	return nil
}
