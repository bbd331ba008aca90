package sse

import (
	"bytes"
	"strconv"
	"strings"
	"time"
)

// An Event is one event, or one comment, of a stream. The zero value is nothing
// and appends nothing.
type Event struct {
	ID      string        // what a reader sends back as Last-Event-ID; counts only with HasID
	HasID   bool          // false leaves the reader's last event id as it was
	Name    string        // the event's type; "" means "message"
	Data    []byte        // nil: no data field, the event only carries the others
	Retry   time.Duration // how long to wait before reconnecting, whole milliseconds; 0: not said
	Comment string        // for keeping a connection alive; readers do not hand it to their users
}

// Append adds the wire form of e to dst: its fields, and the empty line that
// dispatches them. Data is split at its line ends, which a reader gives back as
// LF. With HasID and no data it is a priming event: the id and an empty data
// field. Characters that would end a field (CR, LF, and NUL in an id) are left
// out of ID and Name, and become spaces in Comment.
func Append(dst []byte, e Event) []byte {
	start := len(dst)
	if e.Comment != "" {
		dst = appendField(dst, "", lineBreaksToSpaces.Replace(e.Comment))
	}
	if e.HasID {
		dst = appendField(dst, "id", forbidden.Replace(e.ID))
	}
	if e.Name != "" {
		dst = appendField(dst, "event", forbidden.Replace(e.Name))
	}
	if ms := e.Retry.Milliseconds(); ms > 0 {
		dst = appendField(dst, "retry", strconv.FormatInt(ms, 10))
	}
	if e.Data != nil || e.HasID {
		dst = appendData(dst, e.Data)
	}
	if len(dst) == start {
		return dst
	}
	return append(dst, '\n')
}

var (
	forbidden          = strings.NewReplacer("\r", "", "\n", "", "\x00", "")
	lineBreaksToSpaces = strings.NewReplacer("\r\n", " ", "\r", " ", "\n", " ")
)

func appendField(dst []byte, name, value string) []byte {
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = append(dst, value...)
	return append(dst, '\n')
}

func appendData(dst, data []byte) []byte {
	for {
		line, rest, more := cutLine(data)
		dst = append(dst, "data: "...)
		dst = append(dst, line...)
		dst = append(dst, '\n')
		if !more {
			return dst
		}
		data = rest
	}
}

// cutLine splits data behind its first line; more reports that a line end was
// found, so that rest is a line too, if only an empty one.
func cutLine(data []byte) (line, rest []byte, more bool) {
	end, next := lineEnd(data)
	if end < 0 {
		return data, nil, false
	}
	return data[:end], data[next:], true
}

// lineEnd finds the first CR, LF or CRLF: where the line ends and where the next
// one begins; -1 if there is none. It looks at one chunk after the other, because
// a search for LF over all of data would be repeated for each line that ends in CR.
func lineEnd(data []byte) (end, next int) {
	const chunk = 1 << 10
	for from := 0; from < len(data); from += chunk {
		part := data[from:min(from+chunk, len(data))]
		end := bytes.IndexByte(part, '\n')
		if end >= 0 {
			part = part[:end]
		}
		if cr := bytes.IndexByte(part, '\r'); cr >= 0 {
			end = cr
		}
		if end < 0 {
			continue
		}
		end += from
		if bytes.HasPrefix(data[end:], crlf) {
			return end, end + 2
		}
		return end, end + 1
	}
	return -1, -1
}

var crlf = []byte("\r\n")
