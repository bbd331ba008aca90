package sse

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
)

// ErrTooLarge is wrapped by the error of an event above the reader's limit.
var ErrTooLarge = errors.New("the event is too large")

const (
	firstBuffer = 4 << 10  // what a quiet stream costs
	keepBuffer  = 64 << 10 // a larger one is given back after the event that needed it
	emptyReads  = 100      // reads in a row that may bring nothing, see io.ErrNoProgress
)

// A Reader takes events off a stream. It is used by one goroutine.
type Reader struct {
	src    io.Reader
	max    int
	err    error  // final, see Next
	buf    []byte // buf[from:to] has been read and not yet consumed
	from   int
	to     int
	size   int  // bytes of the event so far
	begun  bool // a line has been read; before it a byte order mark may stand
	skipLF bool // the last line ended in a CR, to which a LF that follows belongs
}

// NewReader reads from r events of at most maxEvent bytes, all of their lines
// counted. It holds at most that much three times: the event, and a buffer of up
// to twice its size.
func NewReader(r io.Reader, maxEvent int) *Reader {
	return &Reader{src: r, max: maxEvent}
}

// Next is the next event or comment. A block that has neither data, id, retry nor
// a comment is skipped, as are unknown fields. Comments are given one by one when
// they stand before an event, an empty one as the zero Event, and dropped inside one.
// The event's data is the caller's to keep.
//
// The error is io.EOF when the stream ended between events, and
// io.ErrUnexpectedEOF when it ended inside one, which is then not given. Every
// error is final.
func (r *Reader) Next() (Event, error) {
	var e Event
	r.size = 0
	for inside := false; ; {
		line, err := r.line()
		if err != nil {
			return Event{}, r.cut(err, inside)
		}
		switch {
		case len(line) == 0:
			if e.HasID || e.Data != nil || e.Retry > 0 {
				return e, nil
			}
			e, inside, r.size = Event{}, false, 0
		case line[0] == ':':
			if !inside {
				return Event{Comment: string(bytes.TrimPrefix(line[1:], space))}, nil
			}
		default:
			e.set(line)
			inside = true
		}
	}
}

// cut is err, which says so if the stream ended inside an event.
func (r *Reader) cut(err error, inside bool) error {
	if err == io.EOF && inside {
		r.err = io.ErrUnexpectedEOF
		return r.err
	}
	return err
}

var space = []byte{' '}

// set reads one field into e.
func (e *Event) set(line []byte) {
	name, value, _ := bytes.Cut(line, []byte{':'})
	value = bytes.TrimPrefix(value, space)
	switch string(name) {
	case "data":
		if e.Data == nil {
			e.Data = append(make([]byte, 0, len(value)), value...)
		} else {
			e.Data = append(append(e.Data, '\n'), value...)
		}
	case "id":
		if bytes.IndexByte(value, 0) < 0 {
			e.ID, e.HasID = string(value), true
		}
	case "event":
		e.Name = string(value)
	case "retry":
		if ms, err := strconv.ParseUint(string(value), 10, 31); err == nil {
			e.Retry = time.Duration(ms) * time.Millisecond
		}
	}
}

// line is the next line without its end; it stands until the next call.
func (r *Reader) line() ([]byte, error) {
	for searched := 0; ; {
		r.dropLF()
		window := r.buf[r.from:r.to]
		if end, next := lineEnd(window[searched:]); end >= 0 {
			return r.take(window, searched+end, searched+next)
		}
		searched = len(window)
		if r.size+searched > r.max {
			return nil, r.tooLarge()
		}
		if r.err != nil {
			return nil, r.ended(searched)
		}
		r.fill()
	}
}

// dropLF skips the LF of a CRLF whose CR ended the line before. It never waits
// for it: the line was given when its CR came.
func (r *Reader) dropLF() {
	if !r.skipLF || r.from == r.to {
		return
	}
	r.skipLF = false
	if r.buf[r.from] == '\n' {
		r.from++
	}
}

// take removes from the window the line that ends at end, and all before next.
func (r *Reader) take(window []byte, end, next int) ([]byte, error) {
	if r.size += next; r.size > r.max {
		return nil, r.tooLarge()
	}
	r.from += next
	r.skipLF = window[next-1] == '\r'
	line := window[:end]
	if !r.begun {
		r.begun = true
		line = bytes.TrimPrefix(line, byteOrderMark)
	}
	return line, nil
}

var byteOrderMark = []byte("\xef\xbb\xbf")

func (r *Reader) tooLarge() error {
	r.err = fmt.Errorf("%w: more than %d bytes", ErrTooLarge, r.max)
	r.from = r.to
	return r.err
}

// ended is the error of a stream that ended with so many bytes of a line.
func (r *Reader) ended(left int) error {
	if r.err == io.EOF && left > 0 {
		r.err = io.ErrUnexpectedEOF
	}
	return r.err
}

// fill reads once what there is, after making room: by moving the window to the
// front, by growing, or by giving back a buffer that was grown for one event.
func (r *Reader) fill() {
	switch waiting := r.to - r.from; {
	case waiting == 0 && len(r.buf) > keepBuffer:
		r.buf, r.from, r.to = make([]byte, firstBuffer), 0, 0
	case waiting == 0:
		r.from, r.to = 0, 0
	case r.to == len(r.buf) && r.from > 0:
		r.to = copy(r.buf, r.buf[r.from:r.to])
		r.from = 0
	}
	if r.to == len(r.buf) {
		grown := make([]byte, max(firstBuffer, 2*len(r.buf)))
		r.to = copy(grown, r.buf[r.from:r.to])
		r.buf, r.from = grown, 0
	}
	for range emptyReads {
		n, err := r.src.Read(r.buf[r.to:])
		r.to += n
		if err != nil {
			r.err = err
		}
		if n > 0 || err != nil {
			return
		}
	}
	r.err = io.ErrNoProgress
}
