package h1

import (
	"context"
	"crypto/tls"
	"errors"
	"log"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
)

// A Server is the lane in front of a server of net/http. Its methods are those of
// http.Server and behave alike; it serves one listener.
type Server struct {
	net      *http.Server
	rest     *rest // set by Serve
	date     date
	draining atomic.Bool

	mu       sync.Mutex // guards what follows; nothing blocks under it
	listener net.Listener
	conns    map[*conn]struct{}
	drained  chan struct{} // closed when conns is empty and none will come; nil before Shutdown
}

// New makes the lane in front of s, which must not be used otherwise. Its Handler
// answers the requests of both, its ReadHeaderTimeout and IdleTimeout, which must
// be set, hold for both, and its ErrorLog is told of panics in both.
func New(s *http.Server) *Server {
	return &Server{net: s, conns: make(map[*conn]struct{})}
}

// Serve serves the connections of l until Shutdown or Close, and then gives
// http.ErrServerClosed without waiting for them.
func (s *Server) Serve(l net.Listener) error {
	defer l.Close()
	if !s.open(l) {
		return http.ErrServerClosed
	}
	rest := make(chan struct{})
	go func() { // waited for below: it ends with its listener
		defer close(rest)
		_ = s.net.Serve(s.rest)
	}()
	err := s.accept(l)
	s.rest.Close()
	<-rest
	if s.draining.Load() {
		return http.ErrServerClosed
	}
	return err
}

// open takes l, unless the server was stopped.
func (s *Server) open(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listener, s.rest = l, newRest(l.Addr())
	return !s.draining.Load()
}

func (s *Server) accept(l net.Listener) error {
	for {
		nc, err := l.Accept()
		if err != nil {
			return err
		}
		if _, secure := nc.(*tls.Conn); secure {
			if !s.rest.hand(nc, nil) {
				nc.Close()
			}
			continue
		}
		c := newConn(s, nc)
		if !s.add(c) {
			nc.Close()
			return net.ErrClosed
		}
		go func() { // Shutdown waits for it
			defer s.remove(c)
			c.serve()
		}()
	}
}

func (s *Server) add(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining.Load() {
		return false
	}
	s.conns[c] = struct{}{}
	return true
}

func (s *Server) remove(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	if s.drained != nil && len(s.conns) == 0 {
		close(s.drained)
	}
}

// Shutdown takes no more connections, closes those that are idle, and waits until
// the requests of the others are answered or ctx ends.
func (s *Server) Shutdown(ctx context.Context) error {
	var wg sync.WaitGroup
	var err error
	wg.Go(func() { err = s.net.Shutdown(ctx) })
	lane := s.drain(ctx)
	wg.Wait()
	return errors.Join(lane, err)
}

func (s *Server) drain(ctx context.Context) error {
	drained := s.stop(func(c *conn) {
		if c.state.CompareAndSwap(idle, closed) {
			c.nc.Close()
		}
	})
	select {
	case <-drained:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close cuts all connections and waits for nothing.
func (s *Server) Close() error {
	s.stop(func(c *conn) {
		c.cancel(http.ErrServerClosed)
		c.nc.Close()
	})
	return s.net.Close()
}

// stop takes no more connections and calls end for those that there are. What it
// gives is closed when all of them have ended.
func (s *Server) stop(end func(*conn)) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draining.Store(true)
	if s.listener != nil {
		s.listener.Close()
	}
	for c := range s.conns {
		end(c)
	}
	if s.drained == nil {
		s.drained = make(chan struct{})
		if len(s.conns) == 0 {
			close(s.drained)
		}
	}
	return s.drained
}

func (s *Server) log(format string, args ...any) {
	if l := s.net.ErrorLog; l != nil {
		l.Printf(format, args...)
		return
	}
	log.Printf(format, args...)
}
