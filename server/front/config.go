package front

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mcpraft/mcpraft/server/exchange"
)

// Limits. Those that a Config does not set are for ever.
const (
	MaxBody   = 4 << 20  // bytes of one request
	MaxHeader = 32 << 10 // bytes of the headers of one request; for http.Server.MaxHeaderBytes

	DefaultRequests            = 8192    // POST and DELETE at once
	DefaultStreams             = 100_000 // GET streams and subscriptions at once
	DefaultStreamsPerPrincipal = 1024    // of those, by one principal

	bodyTimeout   = 30 * time.Second // from the headers to the end of the body
	eventTimeout  = 10 * time.Second // for a client to take one event
	answerTimeout = 60 * time.Second // for a client to take a JSON body
	budgetTimeout = 5 * time.Second  // that a body waits for its share of the memory
)

// An Authenticator says who presents credentials. It is called for every
// request, from any goroutine.
type Authenticator interface {
	// Authenticate gives the caller behind a bearer token. clientID is what the
	// client calls itself, "" over HTTP. A token that it does not accept is
	// fault.Unauthenticated, with a message and a hint for a person.
	Authenticate(ctx context.Context, clientID, credentials string) (exchange.Caller, error)
}

// A Budget is how many bytes of messages may be in memory at once. A
// *semaphore.Weighted is one.
type Budget interface {
	TryAcquire(n int64) bool
	Acquire(ctx context.Context, n int64) error
	Release(n int64)
}

// Config is what a Front is made of.
type Config struct {
	Handler       exchange.Handler // of both kinds of endpoint
	Authenticator Authenticator
	Budget        Budget // of request bodies; shared with whoever else holds messages

	// Loopback says that the listener takes connections of this machine only. The
	// Host header must then name this machine, or a page of a foreign site could
	// reach it through a name that it controls; and pages of this machine may call.
	Loopback bool
	// Origins are the pages that may call, as scheme://host[:port]. Their hosts
	// are also taken as Host, for a proxy that passes it on. Requests without an
	// Origin header come from no page and are not concerned.
	Origins []string

	// Challenge is the value of WWW-Authenticate for a request that was refused
	// with err: a bare "Bearer" when nil.
	Challenge func(r *http.Request, err error) string
	// Metadata answers /.well-known/* (RFC 9728); nil: there is none.
	Metadata http.Handler

	Requests            int // POST and DELETE at once; 0 means DefaultRequests
	Streams             int // GET streams and subscriptions at once; 0 means DefaultStreams
	StreamsPerPrincipal int // of those, by one principal; 0 means DefaultStreamsPerPrincipal

	Registerer prometheus.Registerer // nil: no metrics
	Logger     *slog.Logger          // nil means discard
}

// Validate reports every mistake in c.
func (c *Config) Validate() error {
	var errs []error
	if c.Handler == nil {
		errs = append(errs, errors.New("handler: missing"))
	}
	if c.Authenticator == nil {
		errs = append(errs, errors.New("authenticator: missing; MCP is never open to everybody"))
	}
	if c.Budget == nil {
		errs = append(errs, errors.New("budget: missing"))
	}
	for name, n := range map[string]int{"requests": c.Requests, "streams": c.Streams, "streams_per_principal": c.StreamsPerPrincipal} {
		if n < 0 {
			errs = append(errs, fmt.Errorf("%s: %d is negative", name, n))
		}
	}
	for _, origin := range c.Origins {
		if _, err := ParseOrigin(origin); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (c Config) withDefaults() Config {
	orElse := func(n *int, value int) {
		if *n == 0 {
			*n = value
		}
	}
	orElse(&c.Requests, DefaultRequests)
	orElse(&c.Streams, DefaultStreams)
	orElse(&c.StreamsPerPrincipal, DefaultStreamsPerPrincipal)
	if c.Challenge == nil {
		c.Challenge = func(*http.Request, error) string { return "Bearer" }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}
