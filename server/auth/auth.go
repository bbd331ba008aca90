package auth

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/seal"
	"github.com/mcpraft/mcpraft/raftnode"
	"github.com/mcpraft/mcpraft/server/exchange"
)

// How a caller was authenticated (exchange.Caller.Method).
const (
	MethodJWT   = "jwt"
	MethodToken = "token"
	MethodDev   = "dev"
)

// TokenIssuer is the issuer of the principals behind tokens of the cluster's own,
// unless a token was made for another.
const TokenIssuer = "mcpraft"

// MaxCredentials bounds what Authenticate looks at, in bytes.
const MaxCredentials = 16 << 10

const (
	maxIssuers    = 16
	newTokens     = 10              // unknown API tokens a second that the leader is asked about
	newTokenLimit = 3 * time.Second // for such a question
)

// A Static is a token of the node's configuration. Who has it administers the
// cluster.
type Static struct {
	Name   string // subject of the principal
	Secret string // at least MinSecret bytes
	Method string // MethodToken or MethodDev
}

// Options are what the node's configuration says.
type Options struct {
	Static    []Static
	Issuers   []Issuer      // at most 16, each with another Issuer
	PublicURL string        // scheme://host[:port] under which clients reach MCP
	Root      seal.Ring     // of the key files; the same on every node
	Rotation  time.Duration // that a key of the ring is used; 0 means DefaultRotation
	HTTP      *http.Client  // fetches what issuers publish; nil means one that follows no redirects
}

// Validate reports every mistake in o.
func (o *Options) Validate() error {
	var errs []error
	if o.Root.Empty() {
		errs = append(errs, errors.New("auth: no root key for the key ring of the cluster"))
	}
	if o.Rotation < 0 {
		errs = append(errs, fmt.Errorf("auth: rotation %v is negative", o.Rotation))
	}
	for _, s := range o.Static {
		if s.Name == "" || len(s.Secret) < MinSecret {
			errs = append(errs, fmt.Errorf("auth: token %q has %d bytes, want a name and at least %d bytes", s.Name, len(s.Secret), MinSecret))
		}
	}
	if len(o.Issuers) > maxIssuers {
		errs = append(errs, fmt.Errorf("auth: %d issuers, the limit is %d", len(o.Issuers), maxIssuers))
	}
	seen := map[string]string{}
	for _, i := range o.Issuers {
		errs = append(errs, i.Validate())
		if first, twice := seen[i.Issuer]; twice {
			errs = append(errs, fmt.Errorf("auth: issuers %s and %s are both %q", first, i.Name, i.Issuer))
		}
		seen[i.Issuer] = i.Name
	}
	return errors.Join(errs...)
}

// Config is what an Auth is made of.
type Config struct {
	Options
	Replica    Replica
	Actor      record.Principal      // this node, for what it proposes
	Registerer prometheus.Registerer // nil: no metrics
	Logger     *slog.Logger          // nil means discard
}

// An Auth authenticates callers. Its methods may be called from any goroutine.
// Run keeps what it knows current, and Changed must be told of changes.
type Auth struct {
	c         Config
	log       *slog.Logger
	static    []staticSum
	verifiers []*verifier // in the order of the configuration
	keys      *KeyRing
	rotation  *Rotation
	cache     cache
	watchers  []func()
	unknown   *rate.Limiter
	metrics   *metrics
	servers   *servers
}

type staticSum struct {
	sum    tokenSum
	caller exchange.Caller
}

// New makes an Auth. It starts nothing.
func New(c Config) (*Auth, error) {
	if err := c.Validate(); err != nil {
		return nil, fault.New(fault.Invalid, "%v", err)
	}
	if c.Replica == nil {
		return nil, errors.New("auth: no replica")
	}
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	c.HTTP = cmp.Or(c.HTTP, newClient())
	a := &Auth{
		c:       c,
		log:     c.Logger,
		keys:    NewKeyRing(c.Root, c.Replica, c.Logger),
		unknown: rate.NewLimiter(newTokens, newTokens),
		metrics: newMetrics(c.Registerer),
		rotation: NewRotation(RotationConfig{
			Replica: c.Replica, Root: c.Root, Actor: c.Actor, Period: c.Rotation, Logger: c.Logger,
		}),
	}
	for _, s := range c.Static {
		a.static = append(a.static, staticSum{sha256.Sum256([]byte(s.Secret)), exchange.Caller{
			Principal: record.Principal{Issuer: TokenIssuer, Subject: s.Name},
			Method:    cmp.Or(s.Method, MethodToken),
			Admin:     true,
		}})
	}
	for _, i := range c.Issuers {
		v, err := newVerifier(i, c.HTTP, c.Logger)
		if err != nil {
			return nil, fmt.Errorf("issuer %s: %w", i.Name, err)
		}
		if v.remote != nil {
			v.remote.changed, v.remote.seen = a.forget, a.metrics.refreshed(i.Name)
		}
		a.verifiers = append(a.verifiers, v)
	}
	a.servers = newServers(c.Issuers, c.HTTP)
	a.keys.loads = a.forget
	return a, nil
}

// Keys is the key ring of the cluster.
func (a *Auth) Keys() *KeyRing { return a.keys }

// Rotation is the duty that keeps the key ring.
func (a *Auth) Rotation() *Rotation { return a.rotation }

// Watch has f called each time that something changed by which callers are known: a
// token, a key of the cluster, a key of an issuer. Authenticate gives the new answer
// by then. f must not block. Watch is called before changes come.
func (a *Auth) Watch(f func()) { a.watchers = append(a.watchers, f) }

// forget makes every caller be looked at anew.
func (a *Auth) forget() {
	a.cache.clear()
	for _, f := range a.watchers {
		f()
	}
}

// Changed takes the changes of this replica (raftnode.Node.Watch). It does not
// block.
func (a *Auth) Changed(changes []fsm.Change) {
	for _, c := range changes {
		switch c.Noun {
		case fsm.ChangedToken:
			a.forget()
		case fsm.ChangedKeyRing, fsm.ChangedAll:
			a.forget()
			a.keys.changed()
			a.rotation.changed()
		}
	}
}

// Run follows the key ring and the keys of the issuers until ctx ends.
func (a *Auth) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, v := range a.verifiers {
		if v.remote != nil {
			wg.Go(func() { v.remote.run(ctx, v.c.Refresh) })
		}
	}
	err := a.keys.Run(ctx)
	wg.Wait()
	a.c.HTTP.CloseIdleConnections()
	return err
}

// Authenticate says who presents credentials, a bearer token. clientID is what
// the client calls itself, of use only where the token does not say. What is not
// accepted is fault.Unauthenticated; a good token that lacks a scope is
// fault.Forbidden; fault.Unavailable means that this node cannot know yet.
func (a *Auth) Authenticate(ctx context.Context, clientID, credentials string) (exchange.Caller, error) {
	if credentials == "" || len(credentials) > MaxCredentials {
		a.metrics.refused("none").Inc()
		return exchange.Caller{}, a.explain(fault.New(fault.Unauthenticated, "the credentials have %d bytes, want 1 to %d", len(credentials), MaxCredentials))
	}
	sum := sha256.Sum256([]byte(credentials))
	caller, known := a.cache.get(sum, time.Now())
	if !known {
		generation := a.cache.generation.Load()
		method, found, err := a.check(ctx, credentials, sum)
		if err != nil {
			a.metrics.refused(method).Inc()
			a.log.Debug("credentials refused", "method", method, "err", err)
			return exchange.Caller{}, a.explain(err)
		}
		a.cache.put(generation, sum, found)
		caller = found
	}
	a.metrics.accepted(caller.Method).Inc()
	if caller.ClientID == "" && clientID != "" && record.ValidText("client id", clientID, record.MaxClientID) == nil {
		caller.ClientID = clientID
	}
	return caller, nil
}

// check looks at credentials that are not in the cache. method is how it was done.
func (a *Auth) check(ctx context.Context, credentials string, sum tokenSum) (method string, caller exchange.Caller, err error) {
	if caller, ok := a.checkStatic(sum); ok {
		return caller.Method, caller, nil
	}
	switch {
	case strings.HasPrefix(credentials, tokenPrefix):
		caller, err = a.checkToken(ctx, credentials)
		return MethodToken, caller, err
	case strings.Count(credentials, ".") == 2:
		caller, err = a.checkJWT(ctx, credentials)
		return MethodJWT, caller, err
	}
	return "none", exchange.Caller{}, fault.New(fault.Unauthenticated, "the bearer token is not one of this cluster")
}

// checkStatic compares with every token of the configuration in constant time.
func (a *Auth) checkStatic(sum tokenSum) (caller exchange.Caller, ok bool) {
	for i := range a.static {
		if subtle.ConstantTimeCompare(sum[:], a.static[i].sum[:]) == 1 {
			caller, ok = a.static[i].caller, true
		}
	}
	return caller, ok
}

// errUnknownToken is the one answer to an API token without a record and to one
// with another secret: names are nobody's to find out.
var errUnknownToken = fault.New(fault.Unauthenticated, "the API token is not known: it was revoked, or belongs to another cluster")

func (a *Auth) checkToken(ctx context.Context, text string) (exchange.Caller, error) {
	name, secret, ok := parseToken(text)
	if !ok {
		return exchange.Caller{}, fault.New(fault.Unauthenticated, "the API token is not whole: it has the form mcpraft_NAME_SECRET with a secret of %d characters", secretBytes)
	}
	caller, err := a.lookup(ctx, name, secret, raftnode.Any)
	if !errors.Is(err, errUnknownToken) {
		return caller, err
	}
	// It may be newer than this replica, or the replica may not have caught up since
	// it began: only one that is fresh can say that there is no such token.
	limited, cancel := context.WithTimeout(ctx, newTokenLimit)
	defer cancel()
	if a.unknown.Allow() {
		if caller, err := a.lookup(limited, name, secret, raftnode.Linearizable); err == nil || errors.Is(err, errUnknownToken) {
			return caller, err
		}
	}
	caller, err = a.lookup(limited, name, secret, raftnode.Bounded)
	if err != nil && !errors.Is(err, errUnknownToken) {
		return exchange.Caller{}, fault.New(fault.Unavailable, "this node cannot tell now whether the API token is known: %w", err).
			WithHint("use another node, or try again").After(time.Second)
	}
	return caller, err
}

// lookup finds the holder of an API token in a state that is as fresh as mode says.
func (a *Auth) lookup(ctx context.Context, name, secret string, mode raftnode.ReadMode) (exchange.Caller, error) {
	view, _, err := a.c.Replica.Read(ctx, raftnode.ReadOptions{Mode: mode})
	if err != nil {
		return exchange.Caller{}, err
	}
	defer view.Close()
	t, err := view.Token(0, name)
	if fault.Of(err) == fault.NotFound {
		return exchange.Caller{}, errUnknownToken
	}
	if err != nil {
		return exchange.Caller{}, err
	}
	same, err := a.keys.verifyToken(&t, secret)
	if err != nil {
		return exchange.Caller{}, err
	}
	if !same {
		return exchange.Caller{}, errUnknownToken
	}
	caller := exchange.Caller{
		Principal: t.Principal, ClientID: t.ClientID, Method: MethodToken, Scopes: t.Scopes, Admin: t.Admin,
	}
	if t.Expires != 0 {
		caller.Expires = t.Expires.Time()
		if !time.Now().Before(caller.Expires) {
			return exchange.Caller{}, fault.New(fault.Unauthenticated, "the API token %s has expired at %s", name, caller.Expires.Format(time.RFC3339))
		}
	}
	return caller, nil
}

func (a *Auth) checkJWT(ctx context.Context, token string) (exchange.Caller, error) {
	issuer, err := issuerOf(token)
	if err != nil {
		return exchange.Caller{}, err
	}
	for _, v := range a.verifiers {
		if v.c.Issuer == issuer {
			return v.verify(ctx, token)
		}
	}
	return exchange.Caller{}, fault.New(fault.Unauthenticated, "the token is not from an issuer that this gateway trusts")
}

// explain adds to a refusal what the caller can do, if nothing is said of it.
func (a *Auth) explain(err error) error {
	e := fault.As(err)
	if e.Kind != fault.Unauthenticated || e.Hint != "" {
		return err
	}
	said := *e
	if len(a.verifiers) > 0 {
		return said.WithHint("send Authorization: Bearer TOKEN, with a token of the issuer in /.well-known/oauth-protected-resource, or an API token (mcpraft token create NAME)")
	}
	return said.WithHint("send Authorization: Bearer TOKEN: mcpraft token create NAME makes one; mcpraft dev keeps its own in a CLI context (mcpraft token show); the first of a production cluster is in the file of auth.bootstrap_token_file")
}

// Admin authenticates for the admin API, which JWTs never reach and API tokens
// only if they were made for it.
func (a *Auth) Admin() AdminGate { return AdminGate{a} }

// An AdminGate lets administrators pass.
type AdminGate struct{ auth *Auth }

// Authenticate is that of Auth for administrators; anybody else is Forbidden.
func (g AdminGate) Authenticate(ctx context.Context, token string) (record.Principal, error) {
	caller, err := g.auth.Authenticate(ctx, "", token)
	switch {
	case fault.Of(err) == fault.Forbidden, err == nil && caller.Method == MethodJWT:
		return record.Principal{}, fault.New(fault.Forbidden, "a token of an issuer does not reach the admin API").
			WithHint("use an API token that an administrator made (mcpraft token create NAME --admin)")
	case err != nil:
		return record.Principal{}, err
	case !caller.Admin:
		return record.Principal{}, fault.New(fault.Forbidden, "this API token is for MCP only").
			WithHint("make one for the admin API with mcpraft token create NAME --admin")
	}
	return caller.Principal, nil
}

// NewToken makes the secret of the API token of that name; see KeyRing.NewToken.
func (a *Auth) NewToken(name string) (Secret, error) { return a.keys.NewToken(name) }

// RotateKeys begins a rotation of the key ring; see Rotation.Now.
func (a *Auth) RotateKeys(ctx context.Context, actor record.Principal) (raftnode.Receipt, error) {
	return a.rotation.Now(ctx, actor)
}
