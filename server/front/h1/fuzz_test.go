package h1

import (
	"bufio"
	"bytes"
	"io"
	"maps"
	"net/http"
	"slices"
	"testing"
)

// FuzzTheLaneReadsWhatNetHTTPReads compares the two readers of requests: what the
// lane takes, net/http must take as the same request with the same body, and leave
// the same bytes behind it. Otherwise one of them would see a request where the
// other sees a part of a body.
func FuzzTheLaneReadsWhatNetHTTPReads(f *testing.F) {
	for _, seed := range []string{
		"POST /mcp HTTP/1.1\r\nHost: gw\r\nContent-Length: 2\r\n\r\n{}POST /mcp HTTP/1.1\r\n",
		"POST /servers/a/mcp HTTP/1.1\r\nhost: [::1]:7440\r\ncontent-length: 0\r\nConnection: Keep-Alive\r\n\r\n",
		"POST /mcp HTTP/1.1\r\nHost: gw\r\nX-A: 1\r\nx-a: 2\r\nContent-Length:\t3 \r\n\r\nabc",
		"POST /mcp HTTP/1.1\r\nHost: gw\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"POST /mcp HTTP/1.1\r\nHost: gw\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
		"POST /mcp HTTP/1.1\r\nHost: gw\r\nContent-Length: +3\r\n\r\nabc",
		"POST /mcp HTTP/1.1\r\nHost: gw\r\nContent-Length : 3\r\n\r\nabc",
		"POST /mcp HTTP/1.1\r\nHost: gw\r\nA: b\r\n c\r\nContent-Length: 1\r\n\r\nx",
		"POST /mcp HTTP/1.1\r\nHost: gw\nContent-Length: 1\r\n\r\nx",
		"POST /mcp HTTP/1.1\r\nHost: gw\r\nPragma: no-cache\r\nContent-Length: 1\r\n\r\nx",
		"POST //a HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 1\r\n\r\nx",
		"POST /a/../b HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
		"POST http://a/mcp HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
		"POST /mcp HTTP/1.0\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		h, rest, ok := readAsLane(wire)
		if !ok {
			return
		}
		r := bufio.NewReader(bytes.NewReader(wire))
		want, err := http.ReadRequest(r)
		if err != nil {
			t.Fatalf("net/http refuses what the lane takes: %v", err)
		}
		if want.Method != http.MethodPost || want.RequestURI != h.path || want.URL.Path != h.path || want.URL.RawQuery != "" || want.URL.RawPath != "" || want.Host != h.host {
			t.Errorf("lane: %s of %s; net/http: %s %s (%+v) of %s", h.path, h.host, want.Method, want.RequestURI, want.URL, want.Host)
		}
		if !maps.EqualFunc(h.header, want.Header, slices.Equal) {
			t.Errorf("lane: %q; net/http: %q", h.header, want.Header)
		}
		if want.ContentLength != h.length || len(want.TransferEncoding) > 0 || want.Close || want.ProtoMajor != 1 || want.ProtoMinor != 1 {
			t.Errorf("lane: %d bytes; net/http: %d, %q, close %v", h.length, want.ContentLength, want.TransferEncoding, want.Close)
		}
		if int64(len(rest)) < h.length {
			return
		}
		text, err := io.ReadAll(want.Body)
		if err != nil || !bytes.Equal(text, rest[:h.length]) {
			t.Errorf("lane: body %q; net/http: %q, %v", rest[:h.length], text, err)
		}
		if left, _ := io.ReadAll(r); !bytes.Equal(left, rest[h.length:]) {
			t.Errorf("lane leaves %q; net/http leaves %q", rest[h.length:], left)
		}
	})
}

// readAsLane is what a connection does with bytes that come at once.
func readAsLane(wire []byte) (h head, rest []byte, ok bool) {
	if !plausible(wire) {
		return h, nil, false
	}
	end, v := findEnd(wire, 0)
	if v != complete {
		return h, nil, false
	}
	h, ok = parseHead(wire[:end])
	return h, wire[end:], ok
}

// FuzzBytesInAnyPieces: how the bytes of a head arrive changes nothing of what is
// found in them.
func FuzzBytesInAnyPieces(f *testing.F) {
	f.Add([]byte("POST /mcp HTTP/1.1\r\nHost: gw\r\nContent-Length: 2\r\n\r\n{}"), uint8(7))
	f.Add([]byte("POST /mcp HTTP/1.1\r\nHost: gw\r\n\n"), uint8(1))
	f.Fuzz(func(t *testing.T, wire []byte, step uint8) {
		wantEnd, want := findEnd(wire, 0)
		end, got := 0, incomplete
		for n := 0; n < len(wire) && got == incomplete; {
			n = min(n+1+int(step), len(wire))
			end, got = findEnd(wire[:n], end)
		}
		if got != want || got == complete && end != wantEnd {
			t.Errorf("in pieces: %v at %d; at once: %v at %d", got, end, want, wantEnd)
		}
	})
}
