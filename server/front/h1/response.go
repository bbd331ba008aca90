package h1

import (
	"errors"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// directWrite is the length from which a body is written from where it lies and
// not copied behind its head.
const directWrite = 16 << 10

// maxHeld is how many bytes of a stream wait to be flushed.
const maxHeld = 32 << 10

// errLength says that a handler announced another length than it wrote.
var errLength = errors.New("h1: the body has another length than its Content-Length")

// A response is the http.ResponseWriter of a connection's present request. Its
// optional methods are those that http.ResponseController looks for.
type response struct {
	c       *conn
	header  http.Header
	status  int    // 0: WriteHeader was not called
	out     []byte // not written yet
	begun   bool   // the head is in out, or written
	chunked bool
	left    int64 // of the announced length
	bodied  bool  // the status allows a body
	close   bool  // the connection ends with this answer
	err     error // why nothing more can be written
	keys    []string
}

// reset begins the answer to another request.
func (w *response) reset() {
	clear(w.header)
	*w = response{c: w.c, header: w.header, out: w.out[:0], keys: w.keys}
	if cap(w.out) > maxHeld {
		w.out = nil
	}
}

func (w *response) Header() http.Header { return w.header }

// WriteHeader sets the status of the answer. Informational ones are not sent: none
// of them helps a client of the lane.
func (w *response) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK {
		w.status = status
	}
}

// Write takes a part of the body. A small one leaves with its head when the handler
// has returned, as with net/http: what it counts and logs is there before the client
// sees the answer.
func (w *response) Write(p []byte) (int, error) {
	w.begin(false)
	switch {
	case w.err != nil:
		return 0, w.err
	case !w.bodied:
		return 0, http.ErrBodyNotAllowed
	case w.chunked:
		return w.chunk(p)
	case int64(len(p)) > w.left:
		return 0, errLength
	}
	w.left -= int64(len(p))
	if len(p) >= directWrite {
		w.flushWith(p)
		return len(p), w.err
	}
	w.out = append(w.out, p...)
	if len(w.out) >= maxHeld {
		w.flush()
	}
	return len(p), w.err
}

func (w *response) chunk(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil // an empty chunk would end the body
	}
	w.out = strconv.AppendInt(w.out, int64(len(p)), 16)
	w.out = append(w.out, "\r\n"...)
	w.out = append(append(w.out, p...), "\r\n"...)
	if len(w.out) >= maxHeld {
		w.flush()
	}
	return len(p), w.err
}

// FlushError writes what was taken so far.
func (w *response) FlushError() error {
	w.begin(false)
	w.flush()
	return w.err
}

// Flush is FlushError for who does not want to know.
func (w *response) Flush() { _ = w.FlushError() }

// SetWriteDeadline bounds the writes from now on.
func (w *response) SetWriteDeadline(t time.Time) error { return w.c.nc.SetWriteDeadline(t) }

// SetReadDeadline bounds how long the rest of the request's body may take.
func (w *response) SetReadDeadline(t time.Time) error { return w.c.bodyDeadline(t) }

// finish writes what is left of the answer, and reports whether the connection can
// go on.
func (w *response) finish() bool {
	w.begin(true)
	if w.chunked {
		w.out = append(w.out, "0\r\n\r\n"...)
	}
	w.flush()
	return w.err == nil && w.left == 0 && !w.close
}

func (w *response) flush() {
	if len(w.out) > 0 && w.err == nil {
		_, w.err = w.c.nc.Write(w.out)
	}
	w.out = w.out[:0]
}

// flushWith writes p behind what was taken so far.
func (w *response) flushWith(p []byte) {
	if w.err == nil {
		_, w.err = (&net.Buffers{w.out, p}).WriteTo(w.c.nc)
	}
	w.out = w.out[:0]
}

// begin writes the head if that was not done; whole says that there is no body but
// what was written.
func (w *response) begin(whole bool) {
	if w.begun {
		return
	}
	w.begun = true
	if w.status == 0 {
		w.status = http.StatusOK
	}
	w.bodied = w.status != http.StatusNoContent && w.status != http.StatusNotModified
	w.close = !w.c.body.settle() || w.c.s.draining.Load() || w.header.Get("Connection") == "close"
	w.out = appendStatus(w.out, w.status)
	w.frame(whole)
	w.keys = w.keys[:0]
	for key := range w.header {
		w.keys = append(w.keys, key)
	}
	slices.Sort(w.keys)
	for _, key := range w.keys {
		for _, value := range w.header[key] {
			w.out = appendField(w.out, key, value)
		}
	}
	if w.header["Date"] == nil {
		w.out = append(w.out, "Date: "...)
		w.out = w.c.s.date.append(w.out, time.Now())
		w.out = append(w.out, "\r\n"...)
	}
	w.out = append(w.out, "\r\n"...)
}

// frame writes the headers that say where the body ends and whether the connection
// goes on, which are not the handler's to set.
func (w *response) frame(whole bool) {
	length, err := strconv.ParseInt(w.header.Get("Content-Length"), 10, 64)
	delete(w.header, "Content-Length")
	delete(w.header, "Transfer-Encoding")
	delete(w.header, "Connection")
	switch {
	case !w.bodied:
	case err == nil && length >= 0:
		w.left = length
		w.out = append(w.out, "Content-Length: "...)
		w.out = strconv.AppendInt(w.out, length, 10)
		w.out = append(w.out, "\r\n"...)
	case whole:
		w.out = append(w.out, "Content-Length: 0\r\n"...)
	default:
		w.chunked = true
		w.out = append(w.out, "Transfer-Encoding: chunked\r\n"...)
	}
	if w.close {
		w.out = append(w.out, "Connection: close\r\n"...)
	}
}

func appendStatus(out []byte, status int) []byte {
	if status == http.StatusOK {
		return append(out, "HTTP/1.1 200 OK\r\n"...)
	}
	out = append(out, "HTTP/1.1 "...)
	out = strconv.AppendInt(out, int64(status), 10)
	out = append(append(out, ' '), http.StatusText(status)...)
	return append(out, "\r\n"...)
}

// appendField writes one header. A line break in a value would begin another.
func appendField(out []byte, key, value string) []byte {
	out = append(append(out, key...), ": "...)
	if strings.ContainsAny(value, "\r\n") {
		value = lineBreaks.Replace(value)
	}
	return append(append(out, value...), "\r\n"...)
}

var lineBreaks = strings.NewReplacer("\r", " ", "\n", " ")
