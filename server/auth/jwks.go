package auth

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/MicahParks/jwkset"
	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"
)

const (
	fetchTimeout  = 5 * time.Second
	refreshAtMost = time.Minute      // for unknown key ids: strangers choose those
	refreshRetry  = 10 * time.Second // after a failure, at first
	maxStaleKeys  = 24 * time.Hour   // that keys are trusted without a successful refresh
)

// remoteKeys are the keys behind a JWKS URL. keyfunc's own client would do, but
// that its goroutine cannot be waited for, it reads bodies of any size, and it
// makes requests wait for its rate limit.
type remoteKeys struct {
	keySet
	issuer  string
	url     string
	client  *http.Client
	log     *slog.Logger
	changed func() // called when a key has gone
	seen    func(time.Time)

	fetched atomic.Int64 // Unix time of the last success, in ns; 0: never
	flight  singleflight.Group
	unknown *rate.Limiter
}

func newRemoteKeys(i Issuer, client *http.Client, log *slog.Logger) (*remoteKeys, error) {
	set, err := newKeySet(nil)
	return &remoteKeys{
		keySet: set, issuer: i.Name, url: i.JWKS, client: client, log: log,
		changed: func() {}, seen: func(time.Time) {},
		unknown: rate.NewLimiter(rate.Every(refreshAtMost), 1),
	}, err
}

// KeyRead is the key of that id. One that is not known may be new: the set is
// fetched again, at most once a minute; all who wait for it get the result.
func (r *remoteKeys) KeyRead(ctx context.Context, kid string) (jwkset.JWK, error) {
	if k, err := r.keySet.KeyRead(ctx, kid); err == nil {
		return k, r.stale()
	}
	_, err, _ := r.flight.Do("", func() (any, error) {
		if !r.unknown.Allow() {
			return nil, jwkset.ErrKeyNotFound
		}
		return nil, r.fetch(context.WithoutCancel(ctx)) // others wait for it as well
	})
	if r.fetched.Load() == 0 {
		return jwkset.JWK{}, errKeysUnknown
	}
	if err != nil {
		return jwkset.JWK{}, err
	}
	return r.keySet.KeyRead(ctx, kid)
}

// stale refuses keys that the issuer may have withdrawn long ago.
func (r *remoteKeys) stale() error {
	if time.Since(time.Unix(0, r.fetched.Load())) > maxStaleKeys {
		return errKeysUnknown
	}
	return nil
}

// run keeps the set fresh until ctx ends.
func (r *remoteKeys) run(ctx context.Context, every time.Duration) {
	retry := refreshRetry
	for ctx.Err() == nil {
		_, err, _ := r.flight.Do("", func() (any, error) { return nil, r.fetch(ctx) })
		pause := every
		if err != nil && ctx.Err() == nil {
			r.log.Warn("keys of an issuer not fetched", "issuer", r.issuer, "url", r.url, "err", err)
			pause = min(retry, every)
			retry *= 2
		} else {
			retry = refreshRetry
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

func (r *remoteKeys) fetch(ctx context.Context) error {
	text, err := get(ctx, r.client, r.url)
	if err != nil {
		return err
	}
	keys, err := parseJWKs(text)
	if err != nil {
		return err
	}
	before, err := r.KeyReadAll(ctx)
	if err != nil {
		return err
	}
	if err := r.KeyReplaceAll(ctx, keys); err != nil {
		return err
	}
	now := time.Now()
	r.fetched.Store(now.UnixNano())
	r.seen(now)
	if slices.ContainsFunc(before, func(old jwkset.JWK) bool { return !holds(keys, old) }) {
		r.changed()
	}
	return nil
}

// holds reports whether keys has k under the same id.
func holds(keys []jwkset.JWK, k jwkset.JWK) bool {
	a := k.Marshal()
	return slices.ContainsFunc(keys, func(other jwkset.JWK) bool {
		b := other.Marshal()
		return a.KID == b.KID && a.KTY == b.KTY && a.ALG == b.ALG && a.CRV == b.CRV && a.X == b.X && a.Y == b.Y && a.N == b.N && a.E == b.E
	})
}

// newClient makes the client for what issuers publish. Their addresses are the
// operator's; where those would send us to is not, so redirects are not followed,
// and a proxy that the environment names is not used.
func newClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			TLSHandshakeTimeout: fetchTimeout,
			ForceAttemptHTTP2:   true,
			MaxIdleConns:        4,
			IdleConnTimeout:     30 * time.Second,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// get fetches a document of at most maxKeySetBytes within fetchTimeout.
func get(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	q.Header.Set("Accept", "application/json")
	q.Header.Set("User-Agent", "mcpraft")
	answer, err := client.Do(q)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %s", url, answer.Status)
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxKeySetBytes+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxKeySetBytes {
		return nil, fmt.Errorf("%s answered more than %d bytes", url, maxKeySetBytes)
	}
	return text, nil
}
