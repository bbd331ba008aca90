package peer

import (
	"crypto/tls"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

// A stream is a connection past its handshake, dialled or taken. The Port knows
// it until it is closed.
type stream struct {
	*tls.Conn

	port     *Port
	protocol string
	other    Identity   // who is at the other end
	taken    bool       // not dialled by us
	layer    *RaftLayer // whose stream it is; nil: of calls
	heard    atomic.Int64
	once     sync.Once

	in, out prometheus.Counter
	open    prometheus.Gauge
}

func (s *stream) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	if n > 0 {
		s.in.Add(float64(n))
		s.heard.Store(time.Now().UnixNano())
	}
	return n, err
}

func (s *stream) Write(b []byte) (int, error) {
	n, err := s.Conn.Write(b)
	s.out.Add(float64(n))
	return n, err
}

// Close may be called again and by any goroutine.
func (s *stream) Close() (err error) {
	s.once.Do(func() {
		s.port.forget(s)
		err = s.Conn.Close()
	})
	return err
}

// closeAll closes streams at the same time: TLS gives a peer that does not read
// some seconds to take its last word.
func closeAll(streams []*stream) {
	var wg sync.WaitGroup
	for _, s := range streams {
		wg.Go(func() { _ = s.Close() })
	}
	wg.Wait()
}

// cut is Close without a word, for a peer that is not heard any more.
func (s *stream) cut() {
	_ = s.NetConn().Close()
	_ = s.Close()
}

// A presence is one process of a node that is connected to us.
type presence struct {
	process record.ID
	streams map[*stream]struct{} // never empty
}

// heard is when anything last came from it.
func (e *presence) heard() time.Time {
	var last int64
	for s := range e.streams {
		last = max(last, s.heard.Load())
	}
	return time.Unix(0, last)
}

// keep makes s known. A taken stream is refused when its node is connected from
// another process that is still heard; one that fell silent is cut off.
func (p *Port) keep(s *stream) error {
	s.heard.Store(time.Now().UnixNano())
	dead, err := p.keepLocked(s)
	for _, old := range dead {
		old.cut()
	}
	p.noteExpiry()
	return err
}

func (p *Port) keepLocked(s *stream) (dead []*stream, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return nil, errStopped
	}
	if s.layer != p.layer && s.layer != nil {
		return nil, refuse(ReasonNoRaft, fault.Unavailable, "raft has just been stopped here")
	}
	if s.taken {
		if dead, err = p.enterLocked(s); err != nil {
			return nil, err
		}
	}
	p.streams[s] = struct{}{}
	direction := "out"
	if s.taken {
		direction = "in"
	}
	s.in, s.out, s.open = p.o.Metrics.stream(s.protocol, direction)
	s.open.Inc()
	return dead, nil
}

func (p *Port) enterLocked(s *stream) (dead []*stream, err error) {
	node := s.other.Node
	e := p.present[node]
	if e != nil && e.process != s.other.Process {
		if silent := time.Since(e.heard()); silent < p.o.Limits.SilentAfter {
			return nil, refuse(ReasonDuplicate, fault.Conflict, "node %s is already connected from another process (%s)", node, e.process.Short()).
				WithHint("stop the other process; if it has just died, this passes within %v", p.o.Limits.SilentAfter).
				After(p.o.Limits.SilentAfter - silent)
		}
		for old := range e.streams {
			dead = append(dead, old)
		}
		e = nil
	}
	if e == nil {
		e = &presence{process: s.other.Process, streams: make(map[*stream]struct{})}
		p.present[node] = e
	}
	if len(e.streams) >= p.o.Limits.PerNode {
		return nil, refuse(ReasonLimit, fault.Overloaded, "node %s has %d connections, the limit", node, len(e.streams))
	}
	e.streams[s] = struct{}{}
	return dead, nil
}

// forget is the reverse of keep.
func (p *Port) forget(s *stream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.streams[s]; !ok {
		return
	}
	delete(p.streams, s)
	s.open.Dec()
	e := p.present[s.other.Node]
	if e == nil {
		return
	}
	delete(e.streams, s)
	if len(e.streams) == 0 {
		delete(p.present, s.other.Node)
	}
}
