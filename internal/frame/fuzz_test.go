package frame

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// A script is a connection whose peer sends some bytes and then ends the stream.
// It keeps what was written to it.
type script struct {
	net.Conn // nil: the methods below are all that a Conn uses
	in       *bytes.Reader
	out      bytes.Buffer
}

func (s *script) Read(p []byte) (int, error)       { return s.in.Read(p) }
func (s *script) Write(p []byte) (int, error)      { return s.out.Write(p) }
func (s *script) Close() error                     { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

// FuzzReader feeds a serving end with foreign bytes. It must not panic or hang,
// must end with one of its named errors, and must write nothing but whole frames.
func FuzzReader(f *testing.F) {
	const maxBody = 64
	call := header{id: 1, op: 7}
	f.Add([]byte{})
	f.Add(call.append(nil, []byte("hello!")))
	f.Add(call.append(call.append(nil, nil), nil))
	f.Add(header{id: 2}.append(call.append(nil, []byte("a")), []byte("b")))
	f.Add(header{id: 1, flags: flagCancel}.append(call.append(nil, nil), nil))
	f.Add(header{flags: flagPing}.append(nil, nil))
	f.Add(call.answer().append(nil, nil))
	f.Add(call.append(nil, make([]byte, maxBody+1)))
	f.Add(binary.BigEndian.AppendUint32(nil, 1<<32-1))
	f.Add(call.append(nil, []byte("torn"))[:18])
	f.Fuzz(func(t *testing.T, data []byte) {
		nc := &script{in: bytes.NewReader(data)}
		c := NewConn(nc, Options{Handler: HandlerFunc(echo), MaxBody: maxBody, MaxInFlight: 4, MaxBuffered: 1 << 10})
		err := c.Run(t.Context())
		if !errors.Is(err, ErrPeerGone) && !errors.Is(err, ErrProtocol) && !errors.Is(err, ErrTooLarge) {
			t.Fatalf("Run = %v", err)
		}
		for out := bytes.NewReader(nc.out.Bytes()); out.Len() > 0; {
			head := make([]byte, headerSize)
			if _, err := io.ReadFull(out, head); err != nil {
				t.Fatalf("a torn frame was written: %v", err)
			}
			h, err := parseHeader(head, maxBody)
			if err != nil {
				t.Fatalf("a bad frame was written: %v", err)
			}
			if n, _ := io.CopyN(io.Discard, out, int64(h.size)); n != int64(h.size) {
				t.Fatalf("%d of %d bytes of a body were written", n, h.size)
			}
		}
	})
}

// FuzzHeader checks that a header that is accepted is written back as it was.
func FuzzHeader(f *testing.F) {
	f.Add(header{id: 1, op: 7}.append(nil, nil))
	f.Add(header{id: 1, flags: flagPing | flagAnswer}.append(nil, nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) < headerSize {
			return
		}
		data = data[:headerSize]
		h, err := parseHeader(data, 1<<20)
		if err != nil {
			return
		}
		if got := h.append(nil, make([]byte, h.size))[:headerSize]; !bytes.Equal(got, data) {
			t.Errorf("%x was read as %+v and written as %x", data, h, got)
		}
	})
}
