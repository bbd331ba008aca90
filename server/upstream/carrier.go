package upstream

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	dialTimeout       = 10 * time.Second
	handshakeTimeout  = 10 * time.Second
	maxHeaderBytes    = 64 << 10
	maxRedirects      = 3
	tcpKeepAlive      = 30 * time.Second
	writeBufferBytes  = 8 << 10
	readBufferBytes   = 8 << 10
	maxLocationLength = 2048
)

// A request is one HTTP request to an upstream.
type request struct {
	method string
	url    *url.URL
	header http.Header // shared between requests: never changed
	body   []byte      // whole; never changed, and not reused before the garbage collector has it
}

// A response is the head of an answer, and its body to be read and closed.
type response struct {
	status int
	header http.Header
	length int64 // announced; -1 if unknown
	body   io.ReadCloser
}

// A carrier sends a request over a connection of its own pool and returns when
// the head of the answer is there. Ctx bounds the exchange until the body is
// closed. A request is never sent twice; the error is a *notSentError if it was
// not sent at all. Redirects are answers like others. Any goroutine may call it.
type carrier interface {
	send(ctx context.Context, r *request) (*response, error)
}

// A notSentError says that no byte of a request left this node.
type notSentError struct{ cause error }

func (e *notSentError) Error() string { return e.cause.Error() }
func (e *notSentError) Unwrap() error { return e.cause }

// netCarrier is a carrier over net/http, HTTP/1.1, with the idle connections of
// one upstream.
type netCarrier struct {
	transport *http.Transport
	open      atomic.Int64
}

type dialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

func newNetCarrier(dial dialFunc, roots *tls.Config, g *gate) *netCarrier {
	c := &netCarrier{}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	c.transport = &http.Transport{
		DialContext:            c.counted(dial),
		DialTLSContext:         c.secured(c.counted(dial), roots),
		Protocols:              protocols,
		DisableCompression:     true, // what comes is what is counted
		MaxIdleConns:           g.size,
		MaxIdleConnsPerHost:    g.size,
		IdleConnTimeout:        g.keepAlive,
		MaxResponseHeaderBytes: maxHeaderBytes,
		WriteBufferSize:        writeBufferBytes,
		ReadBufferSize:         readBufferBytes,
	}
	return c
}

// counted marks what fails while dialling as not sent, and counts what is open.
func (c *netCarrier) counted(dial dialFunc) dialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		nc, err := dial(ctx, network, addr)
		if err != nil {
			return nil, &notSentError{err}
		}
		c.open.Add(1)
		return &countedConn{Conn: nc, open: &c.open}, nil
	}
}

// rawConn is the file of a connection, nil if it has none that can be looked at.
func rawConn(nc net.Conn) syscall.RawConn {
	if counted, ok := nc.(*countedConn); ok {
		nc = counted.Conn
	}
	file, ok := nc.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := file.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

type countedConn struct {
	net.Conn
	open   *atomic.Int64
	closed atomic.Bool
}

func (c *countedConn) Close() error {
	if !c.closed.Swap(true) {
		c.open.Add(-1)
	}
	return c.Conn.Close()
}

func (c *netCarrier) secured(dial dialFunc, roots *tls.Config) dialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		nc, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		host, _, _ := net.SplitHostPort(addr)
		config := &tls.Config{MinVersion: tls.VersionTLS12}
		if roots != nil {
			config = roots.Clone()
		}
		config.ServerName, config.NextProtos = host, []string{"http/1.1"}
		ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
		defer cancel()
		secure := tls.Client(nc, config)
		if err := secure.HandshakeContext(ctx); err != nil {
			nc.Close()
			return nil, &notSentError{err}
		}
		return secure, nil
	}
}

// blank is what requests are copied from.
var blank = &http.Request{Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}

func (c *netCarrier) send(ctx context.Context, r *request) (*response, error) {
	req := blank.WithContext(ctx) // a copy
	req.Method, req.URL, req.Host, req.Header = r.method, r.url, r.url.Host, r.header
	if len(r.body) > 0 {
		req.ContentLength = int64(len(r.body))
		req.Body = io.NopCloser(bytes.NewReader(r.body)) // of a type that net/http sends together with the head
		// A connection that turns out dead before anything was written to it is
		// replaced; net/http does that only for a body that it can have again.
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(r.body)), nil }
	}
	res, err := c.transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	return &response{status: res.StatusCode, header: res.Header, length: res.ContentLength, body: res.Body}, nil
}

// An httpCarrier carries plain requests of usual size to the upstream's own host by
// a wire, and everything else by net/http.
type httpCarrier struct {
	*netCarrier
	wire *wire
	host string // as in the URLs of the wire's requests; "": there is no wire
}

func newHTTPCarrier(to *url.URL, dial dialFunc, roots *tls.Config, g *gate) *httpCarrier {
	c := &httpCarrier{netCarrier: newNetCarrier(dial, roots, g)}
	c.wire = newWire(c.counted(dial), net.JoinHostPort(to.Hostname(), port(to)), g)
	if to.Scheme == "http" && plainHost(to.Host) {
		c.host = to.Host
	}
	return c
}

// plainHost reports whether host can be written as it is: names that are not ASCII
// are left to net/http.
func plainHost(host string) bool {
	return strings.IndexFunc(host, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._:[]", r)
	}) < 0
}

func (c *httpCarrier) send(ctx context.Context, r *request) (*response, error) {
	if c.host != "" && r.url.Scheme == "http" && r.url.Host == c.host && len(r.body) <= maxWireBody {
		return c.wire.send(ctx, r)
	}
	return c.netCarrier.send(ctx, r)
}

func (c *httpCarrier) closeIdle() {
	c.wire.closeIdle()
	c.transport.CloseIdleConnections()
}

// errRedirect says that a redirect was not followed.
var errRedirect = errors.New("redirected elsewhere")

// redirected is where an answer of status 307 or 308 leads, if that is the same
// origin. A message is sent to no other host than the registered one: it would
// carry credentials there.
func redirected(from *url.URL, res *response) (*url.URL, error) {
	location := res.header.Get("Location")
	if len(location) > maxLocationLength {
		return nil, errRedirect
	}
	to, err := from.Parse(location)
	if err != nil || location == "" || !sameOrigin(from, to) || to.User != nil {
		return nil, errRedirect
	}
	return to, nil
}

func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

func port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	if u.Scheme == "https" {
		return "443"
	}
	return "80"
}
