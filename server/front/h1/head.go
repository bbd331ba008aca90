package h1

import (
	"bytes"
	"net/http"
	"net/textproto"
)

// Bounds of what the lane takes. What is beyond is left to net/http, which has
// bounds of its own.
const (
	MaxHead = 32 << 10 // bytes of a request line and its headers
	MaxBody = 4 << 20  // bytes that Content-Length may announce

	maxFields = 64      // headers
	maxKept   = 4 << 10 // bytes of a head that is compared with the next one
)

// A head is a request line with its headers.
type head struct {
	raw    []byte // as it came; empty if it is above maxKept
	path   string
	host   string
	header http.Header // without Host, as net/http has it; never changed
	length int64       // of the body
}

// method is how every request of the lane begins.
const method = "POST "

// plausible reports whether a request that begins so may be one for the lane.
func plausible(begin []byte) bool {
	n := min(len(begin), len(method))
	return string(begin[:n]) == method[:n]
}

// A verdict is what is known of the head in front of a buffer.
type verdict uint8

const (
	incomplete verdict = iota
	complete
	unusual // not for the lane
)

// findEnd looks for the empty line behind a head, from the line at which an earlier
// look had ended. It gives the length of the head when that is complete, otherwise
// where to go on.
func findEnd(b []byte, line int) (int, verdict) {
	for {
		n := bytes.IndexByte(b[line:], '\n')
		switch {
		case n < 0 && len(b) > MaxHead:
			return line, unusual
		case n < 0:
			return line, incomplete
		case n == 0 || b[line+n-1] != '\r':
			return line, unusual
		}
		first := line == 0
		line += n + 1
		switch {
		case line > MaxHead || n == 1 && first:
			return line, unusual
		case n == 1:
			return line, complete
		}
	}
}

// parseHead reads a head that findEnd found complete; ok is false if it is not one
// for the lane.
func parseHead(raw []byte) (h head, ok bool) {
	line, rest, _ := bytes.Cut(raw, crlf)
	if h.path, ok = parseRequestLine(line); !ok {
		return h, false
	}
	h.header, h.length = make(http.Header), -1
	for n := 0; len(rest) > len(crlf); n++ {
		line, rest, _ = bytes.Cut(rest, crlf)
		if n == maxFields || !h.take(line) {
			return h, false
		}
	}
	if len(raw) <= maxKept {
		h.raw = bytes.Clone(raw)
	}
	return h, h.host != "" && h.length >= 0
}

var crlf = []byte("\r\n")

// parseRequestLine gives the path.
func parseRequestLine(line []byte) (path string, ok bool) {
	line, post := bytes.CutPrefix(line, []byte(method))
	line, version := bytes.CutSuffix(line, []byte(" HTTP/1.1"))
	if !post || !version || len(line) == 0 || line[0] != '/' || bytes.HasPrefix(line, []byte("//")) {
		return "", false
	}
	return string(line), allIn(line, &pathBytes)
}

// take reads one header.
func (h *head) take(line []byte) bool {
	name, value, found := bytes.Cut(line, []byte{':'})
	value = bytes.Trim(value, " \t")
	if !found || len(name) == 0 || !allIn(name, &nameBytes) || !allIn(value, &valueBytes) {
		return false
	}
	key := textproto.CanonicalMIMEHeaderKey(string(name))
	switch key {
	case "Host":
		if h.host != "" || len(value) == 0 || !allIn(value, &hostBytes) {
			return false
		}
		h.host = string(value)
		return true
	case "Content-Length":
		if h.length >= 0 {
			return false
		}
		var ok bool
		if h.length, ok = parseLength(value); !ok {
			return false
		}
	case "Connection":
		// Anything else names further headers, or the end of the connection.
		if len(value) != len(keepAlive) || !bytes.EqualFold(value, keepAlive) {
			return false
		}
	case "Transfer-Encoding", "Te", "Trailer", "Expect", "Upgrade", "Http2-Settings", "Proxy-Connection", "Pragma":
		return false // Pragma: net/http makes another header of it
	}
	// A string for each value: one of them may be kept for long, the head must not.
	h.header[key] = append(h.header[key], string(value))
	return true
}

var keepAlive = []byte("keep-alive")

// parseLength reads a number of bytes in its shortest form.
func parseLength(digits []byte) (n int64, ok bool) {
	if len(digits) == 0 || len(digits) > 7 || digits[0] == '0' && len(digits) > 1 {
		return 0, false
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, n <= MaxBody
}

// A byteSet says of each byte whether it is in it.
type byteSet [256]bool

// The bytes that mean the same to everybody who reads HTTP.
var (
	pathBytes  = setOf(alphanumeric + "-._~/")
	nameBytes  = setOf(alphanumeric + "-_")
	hostBytes  = setOf(alphanumeric + "-._:[]")
	valueBytes = func() (s byteSet) {
		s['\t'] = true
		for c := ' '; c <= '~'; c++ {
			s[c] = true
		}
		return s
	}()
)

const alphanumeric = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

func setOf(chars string) (s byteSet) {
	for _, c := range []byte(chars) {
		s[c] = true
	}
	return s
}

func allIn(b []byte, s *byteSet) bool {
	for _, c := range b {
		if !s[c] {
			return false
		}
	}
	return true
}
