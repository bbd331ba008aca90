package admin

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/frame"
	"github.com/mcpraft/mcpraft/server/adminapi"
)

// A stream is one open /v1/stream. It serves the caller that opened it.
type stream struct {
	api    *API
	caller record.Principal
	conn   *frame.Conn // nil until the connection is upgraded
}

// stream takes the connection of r over and serves it until it ends. The
// goroutine is that of the HTTP handler; Shutdown waits for it.
func (a *API) stream(x *exchange, r *http.Request) error {
	if err := newArgs(x, r).done(); err != nil {
		return err
	}
	if r.Header.Get("Upgrade") != adminapi.StreamProtocol || !strings.EqualFold(r.Header.Get("Connection"), "Upgrade") {
		x.Header().Set("Upgrade", adminapi.StreamProtocol)
		return fault.New(fault.Invalid, "this route needs an upgrade to %s", adminapi.StreamProtocol).
			WithHint("send Connection: Upgrade and Upgrade: %s; docs/format/stream.md tells the rest", adminapi.StreamProtocol)
	}
	s := &stream{api: a, caller: x.caller}
	if err := a.streams.enter(s); err != nil {
		return err
	}
	defer a.streams.leave(s)
	nc, buffered, err := http.NewResponseController(x).Hijack()
	if err != nil {
		return fault.New(fault.Unsupported, "this connection cannot be upgraded: %w", err).WithHint("use HTTP/1.1")
	}
	x.answered = true
	s.serve(nc, buffered)
	return nil
}

func (s *stream) serve(nc net.Conn, buffered *bufio.ReadWriter) {
	log := s.api.log.With("remote", nc.RemoteAddr().String())
	_ = nc.SetDeadline(time.Time{}) // the server's deadlines end here; frame has its own
	if err := accept(nc); err != nil {
		nc.Close()
		log.Debug("admin stream not opened", "err", err)
		return
	}
	conn := frame.NewConn(&bufferedConn{Conn: nc, r: buffered.Reader}, frame.Options{
		Handler:     s,
		MaxBody:     adminapi.StreamMaxBody,
		MaxInFlight: adminapi.StreamInFlight,
		CallTimeout: operationTimeout,
		Panicked: func(op uint16, value any, stack []byte) {
			s.api.panicked(adminapi.Op(op).String(), "", value, stack)
		},
	})
	if !s.api.streams.open(s, conn) {
		nc.Close()
		return
	}
	s.api.metrics.streams.Inc()
	defer s.api.metrics.streams.Dec()
	if err := conn.Run(s.api.ctx); err != nil && !errors.Is(err, frame.ErrPeerGone) {
		log.Info("admin stream ended", "err", err)
	}
}

func accept(nc net.Conn) error {
	_, err := nc.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + adminapi.StreamProtocol + "\r\n\r\n"))
	return err
}

// ServeFrame answers one call: status 0 and the answer, or the number of the
// fault.Kind and the error.
func (s *stream) ServeFrame(ctx context.Context, op uint16, body []byte) (uint8, []byte) {
	a := s.api
	id := a.ids.Next()
	if int(op) >= len(a.byOp) || a.byOp[op] == nil {
		return adminapi.EncodeError(fault.New(fault.Unsupported, "there is no operation %d", op).
			WithHint("docs/format/stream.md lists the operations; this node may be older than the client"), id)
	}
	rt := a.byOp[op]
	began := time.Now()
	answer, err := rt.frame(a, ctx, &call{op: rt.op, caller: s.caller, requestID: id}, body)
	a.metrics.observe(rt.op, began, err)
	if err != nil {
		e := fault.As(err)
		a.logFailure(rt.op.Name, id, e)
		return adminapi.EncodeError(e, id)
	}
	return 0, answer
}

// streams are the streams of an API, from the decision to open one to its end.
type streams struct {
	wg   sync.WaitGroup // their serving goroutines
	mu   sync.Mutex     // guards what follows, and stream.conn
	all  map[*stream]struct{}
	done bool // draining: no new ones
}

// enter makes room for one more stream; the caller calls leave when it has ended.
func (s *streams) enter(st *stream) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.done:
		return fault.New(fault.Unavailable, "this node is stopping").WithHint("use another node")
	case len(s.all) >= maxStreams:
		return fault.New(fault.Overloaded, "%d streams are open on this node, the limit", maxStreams).
			WithHint("one stream carries many calls at once: share it").After(time.Second)
	}
	if s.all == nil {
		s.all = make(map[*stream]struct{})
	}
	s.all[st] = struct{}{}
	s.wg.Add(1)
	return nil
}

// open gives st its connection; it reports false if the streams are drained.
func (s *streams) open(st *stream, conn *frame.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	st.conn = conn
	return !s.done
}

func (s *streams) leave(st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, st)
	s.wg.Done()
}

// drain lets what runs on each stream finish, all at once, until ctx ends.
func (s *streams) drain(ctx context.Context) {
	s.mu.Lock()
	s.done = true
	var wg sync.WaitGroup
	for st := range s.all {
		if conn := st.conn; conn != nil {
			wg.Go(func() { _ = conn.Shutdown(ctx) }) // cut off or not, it is closed
		}
	}
	s.mu.Unlock()
	wg.Wait()
}

// bufferedConn reads what came after the request first.
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
