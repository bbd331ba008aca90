package auth

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// A web answers every request with status and body, and counts them.
type web struct {
	mu      sync.Mutex
	status  int
	body    []byte
	err     error
	header  http.Header
	fetched atomic.Int64
	took    time.Duration
}

func (w *web) RoundTrip(r *http.Request) (*http.Response, error) {
	w.fetched.Add(1)
	time.Sleep(w.took) // virtual: only inside a bubble is it not 0
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return nil, w.err
	}
	status := w.status
	if status == 0 {
		status = http.StatusOK
	}
	return &http.Response{StatusCode: status, Status: fmt.Sprint(status), Header: w.header, Body: io.NopCloser(bytes.NewReader(w.body)), Request: r}, nil
}

func (w *web) set(body []byte, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.body, w.err = body, err
}

func (w *web) client() *http.Client {
	c := newClient()
	c.Transport = w
	return c
}

func remote(t testing.TB, w *web) *verifier {
	t.Helper()
	i := corp(t)
	i.Keys, i.JWKS = nil, "https://idp.example.org/keys"
	v, err := newVerifier(i, w.client(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// signedBy is a good token by the RSA key under that id.
func signedBy(t testing.TB, kid string) string {
	f := good()
	f.header["kid"] = kid
	return f.sign(t)
}

func TestNewKeyOfAnIssuerIsFetchedOnceForAllWhoWait(t *testing.T) {
	testKeys()
	synctest.Test(t, func(t *testing.T) {
		w := &web{body: corp(t).Keys, took: time.Second}
		v := remote(t, w)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { v.remote.run(ctx, DefaultRefresh) })
		synctest.Wait()
		time.Sleep(2 * time.Second)
		w.set(jwks(t, jwkOf(t, testKeys().rsa.Public(), "next", "")), nil)
		token := signedBy(t, "next")
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if _, err := v.verify(ctx, token); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := w.fetched.Load(); n != 2 {
			t.Errorf("%d fetches, want one at the start and one for the new key", n)
		}
		cancel()
		running.Wait()
	})
}

func TestStrangersCannotMakeItFetch(t *testing.T) {
	testKeys()
	synctest.Test(t, func(t *testing.T) {
		w := &web{body: corp(t).Keys}
		v := remote(t, w)
		if err := v.remote.fetch(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i := range 600 { // ten minutes
			_, err := v.verify(t.Context(), signedBy(t, fmt.Sprint(i)))
			wantKind(t, err, fault.Unauthenticated)
			time.Sleep(time.Second)
		}
		if n := w.fetched.Load(); n > 12 {
			t.Errorf("600 unknown keys in ten minutes made %d fetches, want at most one a minute", n)
		}
		if _, err := v.verify(t.Context(), signedBy(t, "rsa")); err != nil {
			t.Errorf("a known key: %v", err)
		}
	})
}

func TestKeysThatWereNeverFetchedMakeTheIssuerUnavailable(t *testing.T) {
	w := &web{err: errors.New("connection refused")}
	v := remote(t, w)
	_, err := v.verify(t.Context(), signedBy(t, "rsa"))
	wantKind(t, err, fault.Unavailable)
}

func TestKeysOutliveTheirIssuerForADay(t *testing.T) {
	testKeys()
	synctest.Test(t, func(t *testing.T) {
		w := &web{body: corp(t).Keys}
		v := remote(t, w)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { v.remote.run(ctx, time.Hour) })
		synctest.Wait()
		w.set(nil, errors.New("down"))
		verify := func() error {
			_, err := v.verify(ctx, signedBy(t, "rsa"))
			return err
		}
		time.Sleep(23 * time.Hour)
		if err := verify(); err != nil {
			t.Errorf("after 23 h: %v", err)
		}
		time.Sleep(2 * time.Hour)
		wantKind(t, verify(), fault.Unavailable)
		w.set(corp(t).Keys, nil)
		time.Sleep(time.Hour + time.Minute)
		if err := verify(); err != nil {
			t.Errorf("once it is back: %v", err)
		}
		cancel()
		running.Wait()
	})
}

func TestWithdrawnKeyEndsWhoWasRemembered(t *testing.T) {
	w := &web{body: corp(t).Keys}
	i := corp(t)
	i.Keys, i.JWKS = nil, "https://idp.example.org/keys"
	f := newFixture(t)
	a, err := New(Config{Options: Options{Root: f.root, Issuers: []Issuer{i}, HTTP: w.client(), PublicURL: "https://mcp.example.org"}, Replica: f.replica, Actor: self})
	if err != nil {
		t.Fatal(err)
	}
	token := signedBy(t, "rsa")
	if _, err := a.Authenticate(t.Context(), "", token); err != nil {
		t.Fatal(err)
	}
	if _, known := a.cache.get(sha256.Sum256([]byte(token)), time.Now()); !known {
		t.Fatal("not remembered")
	}
	w.set(jwks(t, jwkOf(t, testKeys().p256.Public(), "p256", "")), nil)
	if err := a.verifiers[0].remote.fetch(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = a.Authenticate(t.Context(), "", token)
	wantKind(t, err, fault.Unauthenticated)
}

func TestWhatIsNoKeySetKeepsTheKeysFromBefore(t *testing.T) {
	w := &web{body: corp(t).Keys}
	v := remote(t, w)
	if err := v.remote.fetch(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, answer := range map[string]*web{
		"redirect":        {status: http.StatusFound, header: http.Header{"Location": {"https://evil.example/keys"}}},
		"error":           {status: http.StatusInternalServerError},
		"page":            {body: []byte("<html>")},
		"empty set":       {body: []byte(`{"keys":[]}`)},
		"endless":         {body: bytes.Repeat([]byte(" "), maxKeySetBytes+1)},
		"too many":        {body: jwks(t, make([]json.RawMessage, maxKeySetKeys+1)...)},
		"private":         {body: []byte(`{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}`)},
		"name twice":      {body: []byte(`{"keys":[],"keys":[]}`)},
		"broken transfer": {err: io.ErrUnexpectedEOF},
	} {
		v.remote.client = answer.client()
		if err := v.remote.fetch(t.Context()); err == nil {
			t.Errorf("%s: taken as keys", name)
		}
		if answer.fetched.Load() != 1 {
			t.Errorf("%s: %d requests, want 1", name, answer.fetched.Load())
		}
		if _, err := v.verify(t.Context(), signedBy(t, "rsa")); err != nil {
			t.Errorf("%s: the keys from before: %v", name, err)
		}
	}
}
