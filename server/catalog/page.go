package catalog

import (
	"encoding/base64"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// DefaultPageBytes is how large a page of a list is unless fewer are asked for:
// there are clients that do not ask for a second one.
const DefaultPageBytes = 4 << 20

// A cursor is a position in a list: the version of its form, the kind, and the
// public name that it stands behind, in base64. It names neither a node nor a
// View, so it goes on wherever it is brought, at what comes behind that name by
// then.
const cursorVersion = 1

// Page is the part of a list behind a cursor, "" for the beginning, whose JSON in
// the aggregate has at most maxBytes, but always one item; 0 means
// DefaultPageBytes. next is the cursor of what follows, "" at the end. A cursor
// that no Page gave is fault.Invalid.
func (v *View) Page(k Kind, cursor string, maxBytes int) (items []*Item, next string, err error) {
	from := 0
	if cursor != "" {
		behind, err := parseCursor(k, cursor)
		if err != nil {
			return nil, "", err
		}
		i, found := v.position(k, behind)
		if from = i; found {
			from++
		}
	}
	if maxBytes <= 0 {
		maxBytes = DefaultPageBytes
	}
	rest := v.lists[k][from:]
	n, size := 0, 0
	for n < len(rest) {
		size += len(rest[n].Aggregate) + 1
		if n > 0 && size > maxBytes {
			return rest[:n:n], newCursor(k, rest[n-1].Public), nil
		}
		n++
	}
	return rest, "", nil
}

func newCursor(k Kind, behind string) string {
	return base64.RawURLEncoding.EncodeToString(append([]byte{cursorVersion, byte(k)}, behind...))
}

func parseCursor(k Kind, cursor string) (behind string, err error) {
	data, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || len(data) < 3 || data[0] != cursorVersion || data[1] != byte(k) {
		return "", fault.New(fault.Invalid, "the cursor is not one of this list").WithHint("list again from the beginning, without a cursor")
	}
	return string(data[2:]), nil
}
