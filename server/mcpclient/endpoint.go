package mcpclient

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/mcp"
)

const (
	dialTimeout = 3 * time.Second
	headTimeout = 90 * time.Second // for the head of an answer; what takes longer is a stream after 5 s
)

// An Endpoint is one endpoint of the gateway, at one node or several. Any goroutine
// may use it.
type Endpoint struct {
	urls    []string
	token   string
	http    *http.Client
	current atomic.Int64 // counts changes of address; modulo len(urls) it is the index of the one in use
}

// NewEndpoint makes an Endpoint of at least one URL. Nothing is sent. Roots may be
// nil: the system's.
func NewEndpoint(urls []string, token string, roots *tls.Config) *Endpoint {
	transport := &http.Transport{
		DialContext:           (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSClientConfig:       roots,
		Proxy:                 http.ProxyFromEnvironment,
		ResponseHeaderTimeout: headTimeout,
	}
	return &Endpoint{
		urls: slices.Clone(urls), token: token,
		http: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
}

// Close ends connections that are not in use.
func (e *Endpoint) Close() { e.http.CloseIdleConnections() }

// URL is the address in use.
func (e *Endpoint) URL() string { return e.urls[e.current.Load()%int64(len(e.urls))] }

// Next leaves url for the next address, unless somebody else has already.
func (e *Endpoint) Next(url string) {
	at := e.current.Load()
	if e.urls[at%int64(len(e.urls))] == url {
		e.current.CompareAndSwap(at, at+1)
	}
}

// Send gives the response of the first address that takes the request, with any
// status. Header is added to what every request has. A request that may have
// arrived somewhere is sent nowhere else unless it is a GET or a DELETE: then the
// error is of kind OutcomeUnknown. It is of kind Unreachable if nobody could be
// reached, and that of ctx if that ended.
func (e *Endpoint) Send(ctx context.Context, method string, header http.Header, body []byte) (*http.Response, error) {
	var url string
	var lastErr error
	for range e.urls {
		url = e.URL()
		var resp *http.Response
		if resp, lastErr = e.sendTo(ctx, url, method, header, body); lastErr == nil {
			return resp, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		e.Next(url)
		if method == http.MethodPost && !notSent(lastErr) {
			return nil, fault.New(fault.OutcomeUnknown, "the connection to %s broke before the answer came: %v", url, plain(lastErr)).
				WithHint("what was asked may have been done: look before you repeat it")
		}
	}
	return nil, fault.New(fault.Unreachable, "%s cannot be reached: %v", url, plain(lastErr))
}

func (e *Endpoint) sendTo(ctx context.Context, url, method string, header http.Header, body []byte) (*http.Response, error) {
	// net/http sends the request again only if nothing of it was written to a
	// connection that turned out dead.
	r, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	maps.Copy(r.Header, header)
	h := r.Header
	h.Set("Authorization", "Bearer "+e.token)
	h.Set("Accept", "application/json, text/event-stream")
	if body != nil {
		h.Set("Content-Type", "application/json")
	}
	return e.http.Do(r)
}

// notSent reports whether err says that there was no connection at all.
func notSent(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}

// plain is err without the method and the URL.
func plain(err error) error {
	if cause := errors.Unwrap(err); cause != nil {
		return cause
	}
	return err
}

// A Refusal is an answer with an error status: what the body says, if it is a
// message of the gateway, and what the status means.
type Refusal struct {
	Status int
	Answer *mcp.Error // nil: the body is no message
	Fault  *fault.Error
}

// Error is the fault.
func (r *Refusal) Error() string { return r.Fault.Error() }

func (r *Refusal) Unwrap() error { return r.Fault }

// Checked gives resp if its status is one of success. Otherwise it reads and
// closes the body, and the error is a *Refusal.
func Checked(resp *http.Response) (*http.Response, error) {
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxMessage))
	r := &Refusal{Status: resp.StatusCode}
	if m, err := mcp.Parse(text, mcp.FromUpstream); err == nil && m.Err() != nil {
		r.Answer, r.Fault = m.Err(), failure(resp.StatusCode, m.Err())
	} else {
		r.Fault = fault.New(kindOf(resp.StatusCode), "%s answers %s", resp.Request.URL.Redacted(), resp.Status).
			WithHint("is it the MCP port of a node?")
	}
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && seconds > 0 {
		r.Fault.RetryAfter = time.Duration(seconds) * time.Second
	}
	return nil, r
}
