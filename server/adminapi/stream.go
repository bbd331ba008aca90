package adminapi

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/frame"
)

// Limits of a stream, the same at both ends.
const (
	StreamInFlight = 4096             // calls without an answer
	StreamMaxBody  = 1 << 20          // bytes of one request or answer
	streamOpening  = 10 * time.Second // for the upgrade
)

var (
	cborEncode = mustMode(cbor.CoreDetEncOptions().EncMode())
	// The server is strict with what it is sent; a client reads past fields that
	// it does not know yet.
	cborStrict  = mustMode(decoding(cbor.ExtraDecErrorUnknownField).DecMode())
	cborLenient = mustMode(decoding(cbor.ExtraDecErrorNone).DecMode())
)

func decoding(extra cbor.ExtraDecErrorCond) cbor.DecOptions {
	return cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		ExtraReturnErrors: extra,
		MaxNestedLevels:   16,
		MaxArrayElements:  65536,
		MaxMapPairs:       65536,
	}
}

func mustMode[T any](mode T, err error) T {
	if err != nil {
		panic(err) // only wrong options get here, at program start
	}
	return mode
}

// DecodeRequest reads the body of a request on a stream into the request struct
// of its operation. Unknown fields, duplicate keys, tags, indefinite lengths and
// trailing bytes are fault.Invalid.
func DecodeRequest(body []byte, into any) error {
	if err := cborStrict.Unmarshal(body, into); err != nil {
		return fault.New(fault.Invalid, "the CBOR body does not decode: %v", err).
			WithHint("docs/format/stream.md lists the fields of each operation")
	}
	return nil
}

// EncodeRequest is the body of a request on a stream.
func EncodeRequest(r any) ([]byte, error) { return cborEncode.Marshal(r) }

// EncodeAnswer is the body of a successful answer on a stream; its status is 0.
func EncodeAnswer[T any](info Info, result T) ([]byte, error) {
	return cborEncode.Marshal(&answer[T]{Info: info, Result: result})
}

// EncodeError is the status and body of an answer that is not a success. The
// status is the number of the fault.Kind.
func EncodeError(e *fault.Error, requestID string) (status uint8, body []byte) {
	wire := ErrorOf(e, requestID)
	body, err := cborEncode.Marshal(&wire)
	if err != nil {
		return uint8(fault.Internal), nil // strings and maps of strings always encode
	}
	return uint8(e.Kind), body
}

// streamCarrier keeps one stream to each target.
type streamCarrier struct {
	token string
	dial  func(context.Context, target) (net.Conn, error)
	links []link // by target.index
	ctx   context.Context
	stop  context.CancelFunc
	wg    sync.WaitGroup // the goroutines that run streams
}

// A link is the stream to one target, opened when it is first needed and again
// when it has ended.
type link struct {
	turn chan struct{} // capacity 1: held by who reads or replaces conn
	conn *frame.Conn
}

func newStreamCarrier(targets int, token string, dial func(context.Context, target) (net.Conn, error)) *streamCarrier {
	s := &streamCarrier{token: token, dial: dial, links: make([]link, targets)}
	for i := range s.links {
		s.links[i].turn = make(chan struct{}, 1)
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	return s
}

func (s *streamCarrier) close() {
	s.stop()
	s.wg.Wait()
}

func (s *streamCarrier) do(ctx context.Context, t target, r request, into reply) error {
	body, err := cborEncode.Marshal(r)
	if err != nil {
		return &unsentError{err}
	}
	conn, err := s.connect(ctx, t)
	if err != nil {
		return err
	}
	status, data, err := conn.Call(ctx, uint16(r.op()), body)
	switch {
	case errors.Is(err, frame.ErrBusy):
		return fault.New(fault.Overloaded, "%s has too many calls of this stream in flight", t.addr).After(time.Second)
	case errors.Is(err, frame.ErrNotRun):
		return &unsentError{err}
	case err != nil:
		return err
	case status != 0:
		return streamError(fault.Kind(status), data)
	}
	if err := cborLenient.Unmarshal(data, into); err != nil {
		return fmt.Errorf("the answer does not decode: %w", err)
	}
	return nil
}

func streamError(kind fault.Kind, body []byte) error {
	var e Error
	if err := cborLenient.Unmarshal(body, &e); err != nil {
		return fmt.Errorf("the error answer does not decode: %w", err)
	}
	if !kind.Known() {
		kind = fault.Internal
	}
	return e.fault(kind)
}

// connect is the living stream to t. Its errors are those of a node that
// answered the upgrade, or unsent.
func (s *streamCarrier) connect(ctx context.Context, t target) (*frame.Conn, error) {
	l := &s.links[t.index]
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return nil, &unsentError{context.Cause(ctx)}
	}
	if l.conn != nil && l.conn.Err() == nil {
		return l.conn, nil
	}
	if s.ctx.Err() != nil {
		return nil, &unsentError{errors.New("the client is closed")}
	}
	nc, err := s.upgrade(ctx, t)
	if err != nil {
		return nil, err
	}
	conn := frame.NewConn(nc, frame.Options{MaxBody: StreamMaxBody, MaxInFlight: StreamInFlight})
	s.wg.Go(func() { _ = conn.Run(s.ctx) }) // every caller learns why it ended
	l.conn = conn
	return conn, nil
}

// upgrade opens a connection and asks for the stream.
func (s *streamCarrier) upgrade(ctx context.Context, t target) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, streamOpening)
	defer cancel()
	nc, err := s.dial(ctx, t)
	if err != nil {
		return nil, err
	}
	abort := context.AfterFunc(ctx, func() { nc.Close() })
	conn, err := s.negotiate(nc, t)
	if !abort() && err == nil {
		err = &unsentError{context.Cause(ctx)}
	}
	if err != nil {
		nc.Close()
		return nil, err
	}
	return conn, nil
}

func (s *streamCarrier) negotiate(nc net.Conn, t target) (net.Conn, error) {
	req, err := http.NewRequest(http.MethodGet, t.base()+"/v1/stream", nil)
	if err != nil {
		return nil, &unsentError{err}
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", StreamProtocol)
	if s.token != "" {
		req.Header.Set("Authorization", "Bearer "+s.token)
	}
	if err := req.Write(nc); err != nil {
		return nil, &unsentError{err}
	}
	r := bufio.NewReader(nc)
	resp, err := http.ReadResponse(r, req)
	if err != nil {
		return nil, &unsentError{err}
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes))
		resp.Body.Close()
		return nil, httpError(t.addr, resp, body)
	}
	return &bufferedConn{Conn: nc, r: r}, nil
}

// bufferedConn reads what came with the answer to the upgrade first.
type bufferedConn struct {
	net.Conn
	r *bufio.Reader
}

func (c *bufferedConn) Read(b []byte) (int, error) {
	if c.r.Buffered() > 0 {
		return c.r.Read(b)
	}
	return c.Conn.Read(b)
}
