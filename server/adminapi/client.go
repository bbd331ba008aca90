package adminapi

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// DefaultTimeout bounds a call whose Config does not.
const DefaultTimeout = 30 * time.Second

// Config says how to reach a cluster.
type Config struct {
	Addrs   []string      // admin addresses of its nodes: host:port or http(s)://host:port; tried in order, beginning with the last that answered
	Token   string        // sent as a bearer token; empty: none
	TLS     *tls.Config   // for https addresses; nil means the defaults. A bare host:port is https if it is set
	Timeout time.Duration // of one call, over all addresses that it tries; 0 means DefaultTimeout

	// Dial opens a connection; nil means TCP. Tests hand in pipes.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
}

// A Client calls the admin API. Its methods may be used by any number of
// goroutines at once. Errors are *fault.Error; see the package comment for what
// is sent again and what is not.
type Client struct {
	targets []target
	timeout time.Duration
	carrier carrier
	http    *httpCarrier // also serves what a stream does not carry
	last    atomic.Int64 // index of the target that answered last
}

// A target is one node.
type target struct {
	addr   string // host:port
	secure bool
	index  int
}

func (t target) base() string {
	if t.secure {
		return "https://" + t.addr
	}
	return "http://" + t.addr
}

// A carrier sends one request to one node and fills in the reply.
type carrier interface {
	do(ctx context.Context, t target, r request, into reply) error
	close()
}

// A reply is an *answer of some type.
type reply interface {
	info() *Info
	result() any
}

// answer is what a carrier fills in, and the body of an answer on a stream.
type answer[T any] struct {
	Info
	Result T `cbor:"10,keyasint"`
}

func (a *answer[T]) info() *Info { return &a.Info }
func (a *answer[T]) result() any { return &a.Result }

// New makes a Client that uses plain HTTP. It opens no connection yet.
func New(c Config) (*Client, error) {
	client, err := newClient(c)
	if err != nil {
		return nil, err
	}
	client.carrier = client.http
	return client, nil
}

// NewStream makes a Client that keeps one /v1/stream to each node it uses, for
// many calls at once. It opens no connection yet.
func NewStream(c Config) (*Client, error) {
	client, err := newClient(c)
	if err != nil {
		return nil, err
	}
	client.carrier = newStreamCarrier(len(client.targets), c.Token, client.http.dial)
	return client, nil
}

func newClient(c Config) (*Client, error) {
	if len(c.Addrs) == 0 {
		return nil, fault.New(fault.Invalid, "no address of a node is given").
			WithHint("name at least one admin address, as in 127.0.0.1:7441")
	}
	client := &Client{timeout: c.Timeout}
	if client.timeout <= 0 {
		client.timeout = DefaultTimeout
	}
	for _, addr := range c.Addrs {
		t, err := parseTarget(addr, c.TLS != nil)
		if err != nil {
			return nil, err
		}
		t.index = len(client.targets)
		client.targets = append(client.targets, t)
	}
	client.http = newHTTPCarrier(c)
	return client, nil
}

func parseTarget(addr string, secure bool) (target, error) {
	scheme, rest, ok := strings.Cut(addr, "://")
	if !ok {
		scheme, rest = "http", addr
		if secure {
			scheme = "https"
		}
	}
	u, err := url.Parse(scheme + "://" + rest)
	if err == nil && (scheme == "http" || scheme == "https") && u.Host != "" && strings.Trim(u.Path, "/") == "" && u.RawQuery == "" {
		if u.Port() == "" {
			u.Host = net.JoinHostPort(u.Hostname(), map[string]string{"http": "80", "https": "443"}[scheme])
		}
		return target{addr: u.Host, secure: scheme == "https"}, nil
	}
	return target{}, fault.New(fault.Invalid, "address %q is not host:port or http(s)://host:port", addr)
}

// Close ends the connections of c and waits for what serves them. Calls in
// flight fail.
func (c *Client) Close() {
	c.carrier.close()
	c.http.close()
}

// Addrs lists the addresses of c in the order they were given.
func (c *Client) Addrs() []string {
	list := make([]string, len(c.targets))
	for i, t := range c.targets {
		list[i] = t.addr
	}
	return list
}

// call is one operation, at as many nodes as it takes.
func call[T any](ctx context.Context, c *Client, r request) (T, Info, error) {
	a := new(answer[T])
	err := c.each(ctx, repetitionOf(r), func(ctx context.Context, t target) error {
		*a = answer[T]{}
		return c.carrier.do(ctx, t, r, a)
	})
	if err != nil {
		var none T
		return none, a.Info, err
	}
	a.Addr = c.targets[c.last.Load()].addr
	return a.Result, a.Info, nil
}

// A repetition says what sending a request again would do.
type repetition int

const (
	harmless repetition = iota // a read
	keyed                      // a change that the cluster applies once, by its Idempotency-Key
	risky                      // a change that could be applied twice
)

func repetitionOf(r request) repetition {
	read, write := r.options()
	switch {
	case read != nil:
		return harmless
	case write.IdempotencyKey != "":
		return keyed
	default:
		return risky
	}
}

// each tries the targets, each at most once, until one gives an answer that
// another would not better. The error is always a *fault.Error; it is
// OutcomeUnknown if a change was sent and no node could tell what became of it.
func (c *Client) each(ctx context.Context, again repetition, try func(context.Context, target) error) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	return c.visit(ctx, again, try)
}

// visit is each without a time limit of its own.
func (c *Client) visit(ctx context.Context, again repetition, try func(context.Context, target) error) error {
	var tried []string
	var last *fault.Error // the best answer of a node so far
	var lost *fault.Error // not nil: a change was sent and not answered
	first := int(c.last.Load())
	for i := range c.targets {
		t := c.targets[(first+i)%len(c.targets)]
		err := try(ctx, t)
		if err == nil {
			c.last.Store(int64(t.index))
			return nil
		}
		if answered, ok := errors.AsType[*fault.Error](err); ok {
			last = answered.WithDetail("addr", t.addr)
			if !elsewhere(answered.Kind) {
				c.last.Store(int64(t.index))
				return last
			}
			continue
		}
		if _, unsent := errors.AsType[*unsentError](err); !unsent && again != harmless {
			lost = unknown(t, err)
		}
		switch {
		case lost != nil && (again == risky || ctx.Err() != nil):
			return lost
		case ctx.Err() != nil:
			return timedOut(ctx, c.timeout, t, err)
		}
		tried = append(tried, fmt.Sprintf("%s: %v", t.addr, err))
	}
	switch {
	case lost != nil:
		return lost
	case last != nil:
		return last
	default:
		return unreachable(tried)
	}
}

// elsewhere reports whether a node's refusal means that nothing was appended and
// another node may do better.
func elsewhere(k fault.Kind) bool {
	return k == fault.NoLeader || k == fault.Unavailable || k == fault.Unreachable
}

// unsentError marks a failure before any byte of the request could be acted on.
type unsentError struct{ error }

func (e *unsentError) Unwrap() error { return e.error }

func unknown(t target, err error) *fault.Error {
	return fault.New(fault.OutcomeUnknown, "%s did not answer a change that was sent to it (%v): it may or may not have been applied", t.addr, err).
		WithHint("read the record to see; with an Idempotency-Key the same change can be sent again safely").
		WithDetail("addr", t.addr)
}

func timedOut(ctx context.Context, limit time.Duration, t target, err error) *fault.Error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return &fault.Error{Kind: fault.Timeout, Message: "the call was given up by its caller", Cause: context.Cause(ctx)}
	}
	return fault.New(fault.Timeout, "%s did not answer in time (%v)", t.addr, err).
		WithHint("the limit of a call is %v; see whether the cluster has a leader: mcpraft status", limit).
		WithDetail("addr", t.addr)
}
