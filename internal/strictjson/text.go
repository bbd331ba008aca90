package strictjson

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"
)

// Text is the string that the JSON string raw stands for; false if raw is
// something else. Invalid UTF-8 and unpaired surrogates become U+FFFD.
func Text(raw []byte) (string, bool) {
	if len(raw) < 2 || raw[0] != '"' || raw[len(raw)-1] != '"' {
		return "", false
	}
	if plain := raw[1 : len(raw)-1]; isPlain(plain) {
		return string(plain), true
	}
	text, err := jsontext.AppendUnquote(nil, raw)
	if err != nil && !isValidString(raw) {
		return "", false
	}
	return string(text), true
}

// AppendQuote adds s as a JSON string. Only what must be escaped is. Invalid UTF-8
// becomes U+FFFD.
func AppendQuote(dst []byte, s string) []byte {
	dst, _ = jsontext.AppendQuote(dst, s) // the error only repeats that UTF-8 was replaced
	return dst
}

// Compact removes the white space between the tokens of valid JSON; strings and
// numbers stay as they were written. What has none is returned as it is.
func Compact(valid []byte) []byte {
	value := jsontext.Value(bytes.Clone(valid))
	err := value.Format(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true), jsontext.PreserveRawStrings(true))
	if err != nil {
		return valid
	}
	return value
}

// isPlain reports that the inside of a JSON string stands for itself.
func isPlain(s []byte) bool {
	for _, c := range s {
		if c < ' ' || c == '"' || c == '\\' || c >= 0x80 {
			return false
		}
	}
	return true
}

// isValidString reports that raw is one JSON string, perhaps of invalid UTF-8.
func isValidString(raw []byte) bool {
	return jsontext.Value(raw).IsValid(jsontext.AllowInvalidUTF8(true))
}
