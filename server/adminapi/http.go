package adminapi

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// maxAnswerBytes bounds what a client reads of one answer. A page of a list is
// cut by the server far below it.
const maxAnswerBytes = 16 << 20

// httpCarrier sends each request as one HTTP/1.1 exchange over kept connections.
type httpCarrier struct {
	client *http.Client
	token  string
	tls    *tls.Config
	open   func(ctx context.Context, addr string) (net.Conn, error)
}

func newHTTPCarrier(c Config) *httpCarrier {
	h := &httpCarrier{token: c.Token, tls: c.TLS, open: c.Dial}
	if h.open == nil {
		h.open = func(ctx context.Context, addr string) (net.Conn, error) {
			return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", addr)
		}
	}
	h.client = &http.Client{
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) { return h.dial(ctx, target{addr: addr}) },
			DialTLSContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
				return h.dial(ctx, target{addr: addr, secure: true})
			},
			MaxIdleConnsPerHost: 256,
			IdleConnTimeout:     30 * time.Second, // below the server's, so that we close first
			DisableCompression:  true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return h
}

func (h *httpCarrier) close() { h.client.CloseIdleConnections() }

// dial opens a connection, with TLS if the target wants it. Its errors mean that
// nothing was sent.
func (h *httpCarrier) dial(ctx context.Context, t target) (net.Conn, error) {
	nc, err := h.open(ctx, t.addr)
	if err != nil {
		return nil, &unsentError{err}
	}
	if !t.secure {
		return nc, nil
	}
	config := &tls.Config{}
	if h.tls != nil {
		config = h.tls.Clone()
	}
	if config.ServerName == "" {
		config.ServerName, _, _ = net.SplitHostPort(t.addr)
	}
	secure := tls.Client(nc, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		nc.Close()
		return nil, &unsentError{err}
	}
	return secure, nil
}

func (h *httpCarrier) do(ctx context.Context, t target, r request, into reply) error {
	req, err := h.newRequest(ctx, t, r)
	if err != nil {
		return &unsentError{err}
	}
	resp, body, err := h.exchange(req)
	if err != nil {
		return err
	}
	*into.info() = infoFrom(resp.Header)
	if resp.StatusCode/100 != 2 {
		return httpError(t.addr, resp, body)
	}
	if err := json.Unmarshal(body, into.result()); err != nil {
		return fmt.Errorf("the answer does not decode: %w", err)
	}
	return nil
}

func (h *httpCarrier) newRequest(ctx context.Context, t target, r request) (*http.Request, error) {
	row, _ := r.op().Operation()
	query := make(url.Values)
	r.parameters(query)
	read, write := r.options()
	if read != nil {
		read.query(query)
	}
	address := t.base() + r.path()
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	var body io.Reader = http.NoBody
	if v := r.body(); v != nil {
		data, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, row.Method, address, body)
	if err != nil {
		return nil, err
	}
	if r.body() != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if write != nil {
		write.header(req.Header)
	}
	h.authorise(req.Header)
	return req, nil
}

func (h *httpCarrier) authorise(header http.Header) {
	if h.token != "" {
		header.Set("Authorization", "Bearer "+h.token)
	}
}

func (o *ReadOptions) query(q url.Values) {
	if o.Consistency != 0 {
		q.Set("consistency", o.Consistency.String())
	}
	setNumber(q, "min_index", o.MinIndex)
	if o.MaxStaleness != 0 {
		q.Set("max_staleness", o.MaxStaleness.String())
	}
}

func (o *WriteOptions) header(h http.Header) {
	if o.IfMatch != 0 {
		h.Set(HeaderIfMatch, ETag(o.IfMatch))
	}
	if o.IdempotencyKey != "" {
		h.Set(HeaderIdempotency, o.IdempotencyKey)
	}
}

// exchange sends req and reads the whole answer.
func (h *httpCarrier) exchange(req *http.Request) (*http.Response, []byte, error) {
	resp, err := h.client.Do(req)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // the caller names the address
		}
		return nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes+1))
	if err != nil {
		return nil, nil, err
	}
	if len(body) > maxAnswerBytes {
		return nil, nil, fmt.Errorf("the answer is above %s bytes", strconv.Itoa(maxAnswerBytes))
	}
	return resp, body, nil
}

// begin sends a request and returns its answer, whose body the caller reads and
// closes, if it is a success.
func (h *httpCarrier) begin(ctx context.Context, t target, method, path string, query url.Values, body []byte) (*http.Response, error) {
	address := t.base() + path
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return nil, &unsentError{err}
	}
	if len(body) > 0 {
		req.Header.Set("Content-Type", "application/json")
	}
	h.authorise(req.Header)
	resp, err := h.client.Do(req)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // the caller names the address
		}
		return nil, err
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	refusal, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes))
	if err != nil {
		return nil, err
	}
	return nil, httpError(t.addr, resp, refusal)
}
