package upstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/sse"
	"github.com/mcpraft/mcpraft/server/mcp"
)

// maxTries is how often a request is sent at most: each time but the first
// because the upstream has said that it did not look at it.
const maxTries = 4

// An upstream is one registered server, as its record was at one revision.
type upstream struct {
	ups     *Upstreams
	rec     record.Upstream
	url     *url.URL
	carrier carrier
	gate    *gate
	tools   toolbox
	timeout time.Duration
	metrics upstreamMetrics
	log     *slog.Logger

	era     atomic.Pointer[era] // nil: not known
	probing flight[*era]

	// noSessions is set once the upstream has opened a session without an id: then
	// callers have nothing to themselves there.
	noSessions atomic.Bool

	mu        sync.Mutex // nothing blocks under it
	sessions  map[key]*session
	listeners map[*listener]context.CancelFunc
	retired   bool
	over      chan struct{} // closed when retired is set
}

func newUpstream(u *Upstreams, rec record.Upstream) (*upstream, error) {
	target, err := url.Parse(rec.URL)
	if err != nil {
		return nil, fault.New(fault.Invalid, "upstream %q: its URL does not parse: %w", rec.Alias, err)
	}
	up := &upstream{
		ups: u, rec: rec, url: target, gate: newGate(rec.Pool),
		timeout:  milliseconds(rec.RequestTimeout),
		metrics:  u.o.Metrics.upstream(rec.Alias),
		log:      u.o.Logger.With("upstream", rec.Alias),
		sessions: make(map[key]*session), listeners: make(map[*listener]context.CancelFunc), over: make(chan struct{}),
	}
	if up.timeout == 0 {
		up.timeout = u.o.Timeout
	}
	if !up.stdio() {
		up.carrier = newHTTPCarrier(target, u.o.Dial, u.o.TLS, up.gate)
		return up, nil
	}
	// The size of its pool is how many processes it has; calls share them.
	up.gate = newGate(record.Pool{KeepAlive: rec.Pool.KeepAlive, Timeout: rec.Pool.Timeout})
	up.carrier = u.children
	return up, nil
}

// retire lets go of what the upstream holds open and sends its listeners to what
// is in its place now. Calls that run come to their end.
func (up *upstream) retire() {
	up.mu.Lock()
	up.retired = true
	close(up.over)
	sessions := up.sessions
	up.sessions = make(map[key]*session)
	for _, leave := range up.listeners {
		leave()
	}
	up.mu.Unlock()
	for _, s := range sessions {
		s.drop()
	}
	if c, ok := up.carrier.(*httpCarrier); ok {
		c.closeIdle()
	}
}

// openGated is Open at an upstream that this node reaches itself.
func (up *upstream) openGated(ctx context.Context, c *Caller) (Opened, error) {
	if err := up.gate.enter(ctx, up.rec.Alias); err != nil {
		return Opened{}, up.count(err)
	}
	defer up.gate.leave()
	opened, err := up.openFor(ctx, c)
	return opened, up.count(err)
}

// callGated is Call at an upstream that this node reaches itself.
func (up *upstream) callGated(ctx context.Context, c *Caller, m *mcp.Message, sink Sink) (*mcp.Message, error) {
	if err := up.gate.enter(ctx, up.rec.Alias); err != nil {
		return nil, up.count(err)
	}
	defer up.gate.leave()
	begun := time.Now()
	answer, err := up.call(ctx, c, m, sink)
	up.metrics.took(begun)
	return answer, up.count(err)
}

// count counts the end of an operation and gives err as it must leave this
// package.
func (up *upstream) count(err error) error {
	err = up.fault(err)
	up.metrics.ended(err)
	return err
}

// send sends one request, and once more to each place of the same origin that
// the upstream says it has moved to.
func (up *upstream) send(ctx context.Context, r *request) (*response, error) {
	for range maxRedirects {
		res, err := up.carrier.send(ctx, r)
		if err != nil || res.status != http.StatusTemporaryRedirect && res.status != http.StatusPermanentRedirect {
			return res, err
		}
		to, err := redirected(r.url, res)
		if err != nil {
			return res, nil //nolint:nilerr // becomes a refusal that names the place
		}
		res.body.Close()
		moved := *r
		moved.url = to
		r = &moved
	}
	return nil, fault.New(fault.Unreachable, "upstream %q redirects in circles", up.rec.Alias).
		WithHint("register the URL that it really has")
}

// post sends a message that has no answer: a notification, or what answers the
// upstream.
func (up *upstream) post(ctx context.Context, to *url.URL, header http.Header, message []byte) error {
	ctx, cancel := context.WithTimeoutCause(ctx, up.timeout, errTimeout)
	defer cancel()
	res, err := up.send(ctx, &request{method: http.MethodPost, url: to, header: header, body: message})
	if err != nil {
		return err
	}
	b, err := openBody(ctx, up.ups.o.Budget, res)
	if err != nil {
		return err
	}
	defer b.close()
	if res.status >= 300 {
		return readRefusal(ctx, b)
	}
	if b.form != formStream { // a stream that nothing can come on may stay open for ever
		_, err = b.all(ctx, maxRefusal)
	}
	return err
}

// fault is err as a *fault.Error that a stranger may read.
func (up *upstream) fault(err error) error {
	if err == nil {
		return nil
	}
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f
	}
	alias := up.rec.Alias
	f := func(kind fault.Kind, format string, args ...any) *fault.Error {
		e := fault.New(kind, format, args...).WithDetail("upstream", alias)
		e.Cause = err
		return e
	}
	if r, ok := errors.AsType[*refusal](err); ok {
		return up.refusalFault(r, f)
	}
	if wrong, ok := errors.AsType[*wrongIDError](err); ok {
		return f(fault.OutcomeUnknown, "upstream %q broke the protocol: %v", alias, wrong)
	}
	if large, ok := errors.AsType[*tooLargeError](err); ok {
		return f(fault.OutcomeUnknown, "upstream %q answered with more than the limit of %d bytes", alias, large.limit)
	}
	if unsent, ok := errors.AsType[*notSentError](err); ok && !errors.Is(err, context.Canceled) {
		return f(fault.Unreachable, "upstream %q cannot be reached: %s", alias, reason(unsent)).
			WithHint("mcpraft upstreams test %s", alias).After(time.Second)
	}
	switch {
	case errors.Is(err, errTimeout):
		return f(fault.Timeout, "upstream %q did not answer within %v", alias, up.timeout)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return f(fault.Timeout, "the call to upstream %q was given up", alias)
	case errors.Is(err, errChannelBroken) && up.stdio():
		return f(fault.OutcomeUnknown, "the process of upstream %q ended before it answered", alias).
			WithHint("whether the call was carried out is not known; mcpraft upstreams logs %s", alias)
	case errors.Is(err, errNoAnswer):
		return f(fault.OutcomeUnknown, "upstream %q ended its answer without a message", alias)
	case errors.Is(err, errGarbage):
		return f(fault.OutcomeUnknown, "upstream %q did not answer with a message of MCP", alias)
	case errors.Is(err, sse.ErrTooLarge):
		return f(fault.OutcomeUnknown, "upstream %q answered with more than the limit of %d bytes", alias, MaxMessage)
	default:
		return f(fault.OutcomeUnknown, "the connection to upstream %q broke before it answered", alias).
			WithHint("whether the call was carried out is not known")
	}
}

// refusalFault says what an HTTP error without a JSON-RPC error in it means.
func (up *upstream) refusalFault(r *refusal, f func(fault.Kind, string, ...any) *fault.Error) *fault.Error {
	alias := up.rec.Alias
	switch {
	case r.failure != nil && r.status != http.StatusUnauthorized && r.status != http.StatusForbidden:
		return f(fault.Unreachable, "upstream %q refuses: %s", alias, clean(r.failure.Err().Message))
	case r.status == http.StatusUnauthorized || r.status == http.StatusForbidden:
		return f(fault.Unreachable, "upstream %q does not take this gateway's credentials (HTTP %d)", alias, r.status).
			WithHint("an operator corrects the secret that the upstream's secret_ref names")
	case r.status == http.StatusTooManyRequests || r.status == http.StatusServiceUnavailable:
		return f(fault.Overloaded, "upstream %q is busy (HTTP %d)", alias, r.status).After(max(r.retryAfter, time.Second))
	case r.status >= 300 && r.status < 400:
		return f(fault.Unreachable, "upstream %q redirects to another place (HTTP %d)", alias, r.status).
			WithHint("an operator registers the URL that it really has")
	case r.status == http.StatusNotFound || r.status == http.StatusMethodNotAllowed || r.status == http.StatusGone:
		return f(fault.Unreachable, "nothing at the URL of upstream %q speaks MCP (HTTP %d)", alias, r.status).
			WithHint("mcpraft upstreams show %s", alias)
	case r.status >= 500:
		return f(fault.OutcomeUnknown, "upstream %q failed (HTTP %d)", alias, r.status)
	default:
		return f(fault.Unreachable, "upstream %q refused the request (HTTP %d)", alias, r.status)
	}
}

// reason says in a few words why a connection could not be made, without
// addresses: who may call an upstream need not know where it is.
func reason(err error) string {
	if refused, ok := errors.AsType[*RefusedAddressError](err); ok {
		if refused.Private {
			return "it has a private address, which this node may not dial (upstreams.allow_private)"
		}
		return "it has an address that is never dialled"
	}
	return dialReason(err)
}

// parse reads the messages of one JSON text.
func parse(data []byte) ([]*mcp.Message, error) {
	if len(data) > 0 && data[0] == '{' {
		m, err := mcp.Parse(data, mcp.FromUpstream)
		if err != nil {
			return nil, fmt.Errorf("%w: %v", errGarbage, err) //nolint:errorlint // what it was is for people
		}
		return []*mcp.Message{m}, nil
	}
	list, _, err := mcp.ParseAny(data, mcp.FromUpstream)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", errGarbage, err) //nolint:errorlint // what it was is for people
	}
	return list, nil
}
