package mcp

import (
	"bytes"
	"strconv"

	"github.com/mcpraft/mcpraft/internal/strictjson"
)

// MaxID is the longest ID that is taken, in bytes of its JSON text. Ids travel in
// event ids and call records.
const MaxID = 256

// An ID is the id of a request, as JSON text: a string or an integer of any size,
// which is kept as it was written. "" is no id. Ids are equal when their texts are:
// strings are held in one form of escaping.
type ID string

// TextID is the id for the string s.
func TextID(s string) ID { return ID(Quote(s)) }

// NumberID is the id for the number n.
func NumberID(n int64) ID { return ID(strconv.FormatInt(n, 10)) }

// ParseID reads a string or an integer. Anything else is false: null, fractions,
// exponents, more than MaxID bytes.
func ParseID(raw []byte) (ID, bool) {
	if len(raw) == 0 || len(raw) > MaxID {
		return "", false
	}
	if raw[0] == '"' {
		if bytes.IndexByte(raw, '\\') < 0 {
			return ID(raw), true
		}
		text, ok := strictjson.Text(raw)
		return TextID(text), ok
	}
	digits := bytes.TrimPrefix(raw, []byte{'-'})
	if len(digits) == 0 {
		return "", false
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return "", false
		}
	}
	return ID(raw), true
}

// Text is the string of an id that is one.
func (id ID) Text() (string, bool) { return strictjson.Text([]byte(id)) }
