package credential

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode"
	"github.com/mcpraft/mcpraft/test/model/solo"
)

var self = record.Principal{Issuer: "node", Subject: solo.Node}

// sealer stands in for the key ring: what is sealed names its key, the purpose
// and what it is bound to.
type sealer struct{ key string }

func (s *sealer) prefix(purpose string, aad []byte) []byte {
	return fmt.Appendf(nil, "%s|%s|%s|", s.key, purpose, aad)
}

func (s *sealer) Seal(purpose string, aad, plaintext []byte) ([]byte, error) {
	return append(s.prefix(purpose, aad), plaintext...), nil
}

func (s *sealer) Open(purpose string, aad, sealed []byte) ([]byte, error) {
	_, rest, _ := bytes.Cut(sealed, []byte("|"))
	plain, ok := bytes.CutPrefix(rest, bytes.TrimPrefix(s.prefix(purpose, aad), []byte(s.key+"|")))
	if !ok {
		return nil, fault.New(fault.Integrity, "sealed for something else")
	}
	return plain, nil
}

func (s *sealer) Current(sealed []byte) bool { return bytes.HasPrefix(sealed, []byte(s.key+"|")) }

// endpoint is a token endpoint that gives token-1, token-2, …
type endpoint struct {
	*httptest.Server
	asked   atomic.Int64
	refuses atomic.Bool
}

func newEndpoint(t *testing.T) *endpoint {
	e := &endpoint{}
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := e.asked.Add(1)
		id, secret, _ := r.BasicAuth()
		w.Header().Set("Content-Type", "application/json")
		if id != "gateway" || secret != "s3cret" || r.FormValue("grant_type") != "client_credentials" || e.refuses.Load() {
			w.WriteHeader(http.StatusUnauthorized)
			_ = json.NewEncoder(w).Encode(map[string]any{"error": "invalid_client", "error_description": "not " + secret})
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{
			"access_token": fmt.Sprintf("token-%d", n), "token_type": "bearer", "expires_in": 3600,
			"scope": r.FormValue("scope"), "resource": r.FormValue("resource"),
		})
	}))
	t.Cleanup(e.Close)
	return e
}

// node is one more node over the same replica.
func node(replica *solo.Replica, s Sealer, name string) *Credentials {
	return New(Config{
		Replica: replica, Sealer: s, Actor: self, Node: name, Process: record.ID{byte(len(name))},
		Transport: http.DefaultTransport,
	})
}

func oauth(t *testing.T, replica *solo.Replica, c *Credentials, url string) (rec record.Credential, revision uint64) {
	t.Helper()
	secret, err := c.Seal("tracker", []byte("s3cret"))
	if err != nil {
		t.Fatal(err)
	}
	rec = record.Credential{
		Name: "tracker", Kind: record.CredentialOAuth, TokenURL: url, ClientID: "gateway", Scopes: []string{"read"}, Secret: secret,
	}
	return rec, replica.Must(t, self, &fsm.PutCredential{Credential: rec}).Revision
}

func must(t *testing.T, c *Credentials, want string) Header {
	t.Helper()
	h, err := c.Get(t.Context(), "tracker")
	if err != nil || h.Value != want {
		t.Fatalf("Get = %+v, %v; want %q", h, err, want)
	}
	return h
}

func TestOneNodeFetchesForAllNodesAndCallers(t *testing.T) {
	replica, ring, e := solo.New(t), &sealer{"k1"}, newEndpoint(t)
	nodes := []*Credentials{node(replica, ring, "a"), node(replica, ring, "bb"), node(replica, ring, "ccc")}
	for i, name := range []string{"a", "bb", "ccc"} {
		replica.Must(t, self, &fsm.PutMember{Member: record.Member{
			Node: name, Disk: record.ID{byte(i + 1)}, Process: record.ID{byte(len(name))}, PeerAddr: name + ":1",
		}})
	}
	oauth(t, replica, nodes[0], e.URL)
	var callers sync.WaitGroup
	for _, c := range nodes {
		for range 20 {
			callers.Go(func() {
				if h, err := c.Get(t.Context(), "tracker"); err != nil || h != (Header{"Authorization", "Bearer token-1"}) {
					t.Errorf("Get = %+v, %v", h, err)
				}
			})
		}
	}
	callers.Wait()
	if n := e.asked.Load(); n != 1 {
		t.Errorf("the token endpoint was asked %d times", n)
	}
	view, err := replica.Machine.View()
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	if _, err := view.Claim(fsm.CredentialClaim("tracker")); fault.Of(err) != fault.NotFound {
		t.Errorf("the claim is still held: %v", err)
	}
}

func TestTokenThatEndedIsFetchedAgain(t *testing.T) {
	replica, ring, e := solo.New(t), &sealer{"k1"}, newEndpoint(t)
	c := node(replica, ring, "a")
	rec, revision := oauth(t, replica, c, e.URL)
	rec.Token, _ = ring.Seal(tokenPurpose, []byte("tracker"), []byte("old"))
	rec.TokenExpires = record.LogTimeAt(time.Now().Add(-time.Second))
	replica.Must(t, self, &fsm.PutCredential{Credential: rec, IfRevision: revision})
	must(t, c, "Bearer token-1")
}

func TestRefusedTokenIsReplacedOnce(t *testing.T) {
	replica, ring, e := solo.New(t), &sealer{"k1"}, newEndpoint(t)
	c := node(replica, ring, "a")
	oauth(t, replica, c, e.URL)
	first := must(t, c, "Bearer token-1")
	if !c.Refused("tracker", first) {
		t.Error("another token was not offered")
	}
	second := must(t, c, "Bearer token-2")
	if c.Refused("tracker", second) {
		t.Error("an upstream that refuses everything may make this node ask for tokens without end")
	}
	must(t, c, "Bearer token-2")
	if !c.Refused("tracker", first) {
		t.Error("a caller with an older token is not told that there is a newer one")
	}
}

func TestEndpointThatRefusesIsLeftInPeaceAndNotQuoted(t *testing.T) {
	replica, ring, e := solo.New(t), &sealer{"k1"}, newEndpoint(t)
	c := node(replica, ring, "a")
	oauth(t, replica, c, e.URL)
	e.refuses.Store(true)
	_, err := c.Get(t.Context(), "tracker")
	if fault.Of(err) != fault.Unavailable || !strings.Contains(err.Error(), "invalid_client") || strings.Contains(err.Error(), "s3cret") {
		t.Fatalf("Get = %v", err)
	}
	asked := e.asked.Load()
	if _, again := c.Get(t.Context(), "tracker"); again == nil || e.asked.Load() != asked {
		t.Errorf("asked again at once: %v", again)
	}
	e.refuses.Store(false)
	c.Changed([]fsm.Change{{Noun: fsm.ChangedCredential, Key: "tracker"}}) // an administrator put another secret
	must(t, c, fmt.Sprintf("Bearer token-%d", asked+1))
}

func TestRedirectOfATokenEndpointIsNotFollowed(t *testing.T) {
	replica, ring, e := solo.New(t), &sealer{"k1"}, newEndpoint(t)
	from := httptest.NewServer(http.RedirectHandler(e.URL, http.StatusTemporaryRedirect))
	defer from.Close()
	c := node(replica, ring, "a")
	oauth(t, replica, c, from.URL)
	if _, err := c.Get(t.Context(), "tracker"); err == nil || e.asked.Load() != 0 {
		t.Errorf("Get = %v, asked %d times", err, e.asked.Load())
	}
}

func TestOnlyTheHolderOfTheClaimFetches(t *testing.T) {
	replica, ring, e := solo.New(t), &sealer{"k1"}, newEndpoint(t)
	c := node(replica, ring, "a")
	rec, revision := oauth(t, replica, c, e.URL)
	other := record.Member{Node: "other", Disk: record.ID{8}, Process: record.ID{9}, PeerAddr: "h:1"}
	replica.Must(t, self, &fsm.PutMember{Member: other})
	claim := record.Claim{Name: fsm.CredentialClaim("tracker"), Node: "other", Process: record.ID{9}}
	fence := replica.Must(t, self, &fsm.AcquireClaim{Claim: claim}).Revision
	got := make(chan Header, 1)
	go func() {
		h, err := c.Get(t.Context(), "tracker")
		if err != nil {
			t.Error(err)
		}
		got <- h
	}()
	sealed, _ := ring.Seal(tokenPurpose, []byte("tracker"), []byte("theirs"))
	replica.Must(t, self, &fsm.SealCredential{
		Name: "tracker", IfRevision: revision, Fence: fence, Token: sealed, TokenExpires: record.LogTimeAt(time.Now().Add(time.Hour)),
	})
	if h := <-got; h.Value != "Bearer theirs" || e.asked.Load() != 0 {
		t.Errorf("Get = %+v, asked %d times", h, e.asked.Load())
	}
	// Its process is gone: the claim is taken over.
	rec.Token, rec.TokenExpires = nil, 0
	other.Process = record.ID{10}
	replica.Must(t, self, &fsm.PutMember{Member: other})
	revision = replica.Must(t, self, &fsm.PutCredential{Credential: rec, IfRevision: fence + 1}).Revision
	c.Changed([]fsm.Change{{Noun: fsm.ChangedCredential, Key: "tracker"}})
	must(t, c, "Bearer token-1")
	// What the former holder brings late is not taken.
	receipt, err := replica.Propose(t.Context(), request(&fsm.SealCredential{Name: "tracker", IfRevision: revision, Fence: fence, Token: sealed}))
	if err != nil || receipt.Outcome.Err() == nil {
		t.Errorf("a late token was taken: %v, %v", receipt, err)
	}
}

func TestHeaderIsWhatWasPut(t *testing.T) {
	replica, ring := solo.New(t), &sealer{"k1"}
	c := node(replica, ring, "a")
	put := func(value string, revision uint64) uint64 {
		sealed, err := c.Seal("tracker", []byte(value))
		if err != nil {
			t.Fatal(err)
		}
		o := replica.Must(t, self, &fsm.PutCredential{IfRevision: revision, Credential: record.Credential{
			Name: "tracker", Kind: record.CredentialHeader, Header: "x-api-key", Secret: sealed,
		}})
		c.Changed([]fsm.Change{{Noun: fsm.ChangedCredential, Key: "tracker"}})
		return o.Revision
	}
	if _, err := c.Get(t.Context(), "tracker"); fault.Of(err) != fault.Unavailable || !strings.Contains(err.Error(), `no credential "tracker"`) {
		t.Errorf("Get = %v", err)
	}
	first := put("one", 0)
	if h := must(t, c, "one"); h.Name != "X-Api-Key" {
		t.Errorf("header %q", h.Name)
	}
	put("two", first)
	h := must(t, c, "two")
	if c.Refused("tracker", h) {
		t.Error("there is no other value to try")
	}
}

func TestSecretsMoveToTheNewestKey(t *testing.T) {
	replica, ring, e := solo.New(t), &sealer{"k1"}, newEndpoint(t)
	c := node(replica, ring, "a")
	oauth(t, replica, c, e.URL)
	must(t, c, "Bearer token-1")
	ring.key = "k2"
	for range 2 { // the second time there is nothing to do
		if err := c.resealAll(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
	}
	view, err := replica.Machine.View()
	if err != nil {
		t.Fatal(err)
	}
	rec, err := view.Credential(0, "tracker")
	view.Close()
	if err != nil || !ring.Current(rec.Secret) || !ring.Current(rec.Token) {
		t.Fatalf("%+v, %v", rec, err)
	}
	before := rec.Revision
	if err := c.resealAll(context.Background(), 1); err != nil {
		t.Fatal(err)
	}
	c.Changed([]fsm.Change{{Noun: fsm.ChangedAll}})
	must(t, c, "Bearer token-1")
	if view, err = replica.Machine.View(); err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	if rec, err = view.Credential(0, "tracker"); err != nil || rec.Revision != before {
		t.Errorf("sealed again at revision %d, %v", rec.Revision, err)
	}
}

func TestTokensAreReplacedBeforeTheyEnd(t *testing.T) {
	asked := time.Unix(1000, 0)
	for life, want := range map[time.Duration]time.Duration{
		time.Hour: time.Hour - 30*time.Second, 10 * time.Second: 8 * time.Second, 48 * time.Hour: 24*time.Hour - 30*time.Second,
	} {
		if got := usedUntil(asked, asked.Add(life)).Sub(asked); got != want {
			t.Errorf("a life of %v is used for %v, want %v", life, got, want)
		}
	}
	if got := usedUntil(asked, time.Time{}).Sub(asked); got != defaultLifetime-maxMargin {
		t.Errorf("a life that nobody knows is used for %v", got)
	}
}

func request(c fsm.Command) raftnode.Request { return raftnode.Request{Actor: self, Command: c} }
