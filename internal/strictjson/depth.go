package strictjson

import (
	"bytes"
	"cmp"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
)

// checkDepth looks only at brackets outside strings, so that it is fast and needs
// no memory. On input that is not JSON it may count wrongly; the reader that
// follows refuses that input.
func (rules Rules) checkDepth(data []byte) error {
	limit := cmp.Or(rules.Depth, DefaultDepth)
	depth := 0
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '[', '{':
			if depth++; depth > limit {
				problem := fmt.Sprintf("nested deeper than the limit of %d", limit)
				return at(data, int64(i), pointerAt(data, int64(i)), ErrTooDeep, problem)
			}
		case ']', '}':
			depth--
		case '"':
			i = endOfString(data, i)
		}
	}
	return nil
}

// endOfString is the index of the quote that ends the string begun at i, or the
// end of data.
func endOfString(data []byte, i int) int {
	for {
		n := bytes.IndexByte(data[i+1:], '"')
		if n < 0 {
			return len(data)
		}
		i += 1 + n
		if !isEscaped(data, i) {
			return i
		}
	}
}

// isEscaped reports whether an odd number of backslashes stands before i.
func isEscaped(data []byte, i int) bool {
	run := 0
	for run < i && data[i-1-run] == '\\' {
		run++
	}
	return run%2 == 1
}

// pointerAt is the JSON pointer to the value that begins at offset, as far as
// what stands before it is JSON.
func pointerAt(data []byte, offset int64) jsontext.Pointer {
	dec := jsontext.NewDecoder(bytes.NewReader(data[:offset+1]))
	for dec.InputOffset() <= offset {
		if _, err := dec.ReadToken(); err != nil {
			break
		}
	}
	return dec.StackPointer()
}
