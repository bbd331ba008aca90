package strictjson

import "iter"

// A Member is one name and value of an object, as they stand in its text and
// sharing its memory.
type Member struct {
	Name  []byte // a quoted JSON string
	Value []byte
	At    int // where the value begins in the text
}

// Members gives the members of an object in their order.
//
// The text must have passed [Rules.Valid]. Nothing is checked again here, which
// makes it a scan for quotes and brackets: on other text it may give anything that
// is inside the text, but it always ends and never panics. What is not an object
// has no members.
func Members(object []byte) iter.Seq[Member] {
	return func(yield func(Member) bool) {
		at := skipSpace(object, 0)
		if at == len(object) || object[at] != '{' {
			return
		}
		for at = skipSpace(object, at+1); at < len(object) && object[at] == '"'; {
			nameEnd := min(endOfString(object, at)+1, len(object))
			from := skipSpace(object, skipSpace(object, nameEnd)+1)
			to := endOfValue(object, from)
			if from >= to || !yield(Member{Name: object[at:nameEnd:nameEnd], Value: object[from:to:to], At: from}) {
				return
			}
			at = skipSpace(object, skipSpace(object, to)+1)
		}
	}
}

// Elements gives the elements of an array in their order; for the rest it is as
// [Members].
func Elements(array []byte) iter.Seq[[]byte] {
	return func(yield func(value []byte) bool) {
		at := skipSpace(array, 0)
		if at == len(array) || array[at] != '[' {
			return
		}
		for at = skipSpace(array, at+1); at < len(array) && array[at] != ']'; {
			to := endOfValue(array, at)
			if to <= at || !yield(array[at:to:to]) {
				return
			}
			at = skipSpace(array, skipSpace(array, to)+1)
		}
	}
}

// skipSpace is the index of the first byte from i on that is not white space.
func skipSpace(data []byte, i int) int {
	for i < len(data) && (data[i] == ' ' || data[i] == '\n' || data[i] == '\r' || data[i] == '\t') {
		i++
	}
	return min(i, len(data))
}

// endOfValue is the index behind the value that begins at i.
func endOfValue(data []byte, i int) int {
	if i >= len(data) {
		return len(data)
	}
	switch data[i] {
	case '"':
		return min(endOfString(data, i)+1, len(data))
	case '{', '[':
		return endOfBrackets(data, i)
	default:
		for i < len(data) && !endsLiteral(data[i]) {
			i++
		}
		return i
	}
}

// endsLiteral reports whether c cannot be part of a number, true, false or null.
func endsLiteral(c byte) bool {
	switch c {
	case ',', ']', '}', ' ', '\t', '\r', '\n':
		return true
	default:
		return false
	}
}

// endOfBrackets is the index behind the bracket that closes the one at i.
func endOfBrackets(data []byte, i int) int {
	for depth := 0; i < len(data); i++ {
		switch data[i] {
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		case '"':
			i = endOfString(data, i)
		}
	}
	return len(data)
}
