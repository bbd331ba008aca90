package server

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/mcpraft/mcpraft/server/adminapi"
)

// Timeouts of a connection of the admin port. A request's own deadline is that of
// its route.
const (
	headerTimeout = 5 * time.Second
	readTimeout   = 30 * time.Second
	writeTimeout  = 30 * time.Second
	idleTimeout   = 90 * time.Second
	acceptPause   = 50 * time.Millisecond // after an error of Accept, such as too many open files
)

// An httpServer is what serves a port: *http.Server, or what behaves like it.
type httpServer interface {
	Serve(l net.Listener) error
	Shutdown(ctx context.Context) error
	Close() error
}

// A port is one listener with the HTTP server on it. The server may be restarted
// by its supervisor; the listener lives as long as the process, so that nobody
// else can take its address meanwhile.
type port struct {
	name      string
	listener  net.Listener
	newServer func() httpServer // for each life
	log       *slog.Logger
	conns     chan net.Conn // accepted, not yet taken by the HTTP server

	mu       sync.Mutex // guards what follows
	server   httpServer // of the current life; nil between two
	draining bool
}

// newPort serves l, behind TLS if t is not nil: then of the given application
// protocols the client's first choice.
func newPort(name string, l net.Listener, t *tls.Config, protocols []string, newServer func() httpServer, log *slog.Logger) *port {
	if t != nil {
		t = t.Clone()
		t.NextProtos = protocols
		l = tls.NewListener(l, t)
	}
	return &port{name: name, listener: l, newServer: newServer, log: log, conns: make(chan net.Conn)}
}

// What ports speak. The admin API's streams are an upgrade, which HTTP/2 has not.
var (
	http1 = []string{"http/1.1"}
	http2 = []string{"h2", "http/1.1"}
)

// newAdminServer is the server of the admin port.
func (s *Server) newAdminServer() httpServer {
	return &http.Server{
		Handler:           s.api,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    adminapi.MaxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
}

// accept hands connections to whichever server runs, until ctx ends or the port
// is drained; then it closes the listener.
func (p *port) accept(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() { p.listener.Close() })
	defer stop()
	for {
		nc, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			p.log.Warn("accept", "port", p.name, "err", err)
			select {
			case <-time.After(acceptPause):
				continue
			case <-ctx.Done():
				return
			}
		}
		select {
		case p.conns <- nc:
		case <-ctx.Done():
			nc.Close()
			return
		}
	}
}

// serve is one life of the HTTP server. When ctx ends its connections are cut:
// draining comes before.
func (p *port) serve(ctx context.Context) error {
	server := p.newServer()
	p.mu.Lock()
	p.server = server
	p.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	err := server.Serve(&handedListener{port: p, closed: make(chan struct{})})
	if errors.Is(err, http.ErrServerClosed) {
		<-ctx.Done() // drained: nothing more to do in this life
		return nil
	}
	return err
}

// refuse takes no more connections.
func (p *port) refuse() { p.listener.Close() }

// drain takes no more connections and lets the requests that run finish until ctx
// ends.
func (p *port) drain(ctx context.Context) {
	p.refuse()
	p.mu.Lock()
	server := p.server
	p.draining = true
	p.mu.Unlock()
	if server == nil {
		return
	}
	if err := server.Shutdown(ctx); err != nil {
		p.log.Warn("connections were cut", "port", p.name, "err", err)
	}
}

// handedListener is the listener of one life of the HTTP server.
type handedListener struct {
	port   *port
	once   sync.Once
	closed chan struct{}
}

func (l *handedListener) Accept() (net.Conn, error) {
	select {
	case nc := <-l.port.conns:
		return nc, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *handedListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *handedListener) Addr() net.Addr { return l.port.listener.Addr() }
