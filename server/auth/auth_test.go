package auth

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/seal"
	"github.com/mcpraft/mcpraft/server/exchange"
	"github.com/mcpraft/mcpraft/test/model/solo"
)

var (
	admin = record.Principal{Issuer: TokenIssuer, Subject: "admin"}
	self  = record.Principal{Issuer: "node", Subject: solo.Node}
)

const bootstrap = "a-bootstrap-token-of-forty-characters-xx"

// A fixture is an Auth over a cluster of one whose key ring is made and read.
type fixture struct {
	*Auth
	replica *solo.Replica
	root    seal.Ring
}

func rootRing(t testing.TB) seal.Ring {
	t.Helper()
	key, err := seal.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return seal.NewRing(key)
}

func newFixture(t testing.TB, issuers ...Issuer) *fixture {
	t.Helper()
	f := &fixture{replica: solo.New(t), root: rootRing(t)}
	f.Auth = f.open(t, issuers...)
	if _, err := f.rotation.look(t.Context(), 1, clock{record.LogTimeAt(time.Now()), time.Now()}); err != nil {
		t.Fatal(err)
	}
	f.read(t)
	return f
}

// open makes one more Auth over the same state, as on another node.
func (f *fixture) open(t testing.TB, issuers ...Issuer) *Auth {
	t.Helper()
	a, err := New(Config{
		Options: Options{
			Static:    []Static{{Name: "bootstrap", Secret: bootstrap}, {Name: "dev", Secret: "mcpraft_dev_ABCDEFGHIJKLMNOPQRSTUVWXYZ", Method: MethodDev}},
			Issuers:   issuers,
			PublicURL: "https://mcp.example.org",
			Root:      f.root,
		},
		Replica: f.replica, Actor: self, Registerer: prometheus.NewPedanticRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// read has the key ring follow the state.
func (f *fixture) read(t testing.TB) {
	t.Helper()
	if err := f.keys.load(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// token makes an API token and stores it.
func (f *fixture) token(t testing.TB, token record.Token) string {
	t.Helper()
	secret, err := f.NewToken(token.Name)
	if err != nil {
		t.Fatal(err)
	}
	token.Hash, token.KeyID = secret.Hash, secret.KeyID
	if token.Principal == (record.Principal{}) {
		token.Principal = record.Principal{Issuer: TokenIssuer, Subject: token.Name}
	}
	f.replica.Must(t, admin, &fsm.PutToken{Token: token})
	return secret.Text
}

func wantKind(t *testing.T, err error, want fault.Kind) {
	t.Helper()
	if fault.Of(err) != want {
		t.Errorf("error = %v, want %v", err, want)
	}
}

func TestTokensOfTheConfigurationAdminister(t *testing.T) {
	f := newFixture(t)
	for token, want := range map[string]exchange.Caller{
		bootstrap:                                {Principal: record.Principal{Issuer: TokenIssuer, Subject: "bootstrap"}, Method: MethodToken, Admin: true, ClientID: "c"},
		"mcpraft_dev_ABCDEFGHIJKLMNOPQRSTUVWXYZ": {Principal: record.Principal{Issuer: TokenIssuer, Subject: "dev"}, Method: MethodDev, Admin: true, ClientID: "c"},
	} {
		for range 2 { // the second time from the cache
			got, err := f.Authenticate(t.Context(), "c", token)
			if err != nil || got.Principal != want.Principal || got.Method != want.Method || !got.Admin || got.ClientID != want.ClientID || !got.Expires.IsZero() {
				t.Errorf("caller = %+v, %v, want %+v", got, err, want)
			}
		}
	}
}

func TestARefusalSaysWhatToDo(t *testing.T) {
	for name, f := range map[string]*fixture{"alone": newFixture(t), "with an issuer": newFixture(t, small())} {
		for _, token := range []string{
			"", "x", bootstrap + "x", bootstrap[:39], strings.Repeat("x", MaxCredentials+1), "a.b.c", "mcpraft_", "mcpraft_ci_short",
			"mcpraft_ci_" + strings.Repeat("A", 26), "mcpraft_CI_" + strings.Repeat("A", 26), "mcpraft_ci_" + strings.Repeat("a", 26),
		} {
			caller, err := f.Authenticate(t.Context(), "", token)
			e := fault.As(err)
			if e == nil || e.Kind != fault.Unauthenticated || e.Hint == "" || strings.Contains(e.Message+e.Hint, bootstrap) {
				t.Errorf("%s: %.40q gives %+v, %v, want unauthenticated with a hint", name, token, caller, err)
			}
		}
	}
}

func TestAPITokenIsItsHolderUntilItIsRevoked(t *testing.T) {
	f := newFixture(t)
	alice := record.Principal{Issuer: "https://idp.example", Subject: "alice"}
	expires := record.LogTimeAt(time.Now().Add(time.Hour))
	text := f.token(t, record.Token{Name: "alice-laptop", Principal: alice, ClientID: "laptop", Scopes: []string{"mcp:call"}, Expires: expires})
	for range 2 {
		got, err := f.Authenticate(t.Context(), "ignored", text)
		if err != nil || got.Principal != alice || got.ClientID != "laptop" || got.Method != MethodToken || got.Admin || !got.Expires.Equal(expires.Time()) || len(got.Scopes) != 1 {
			t.Fatalf("caller = %+v, %v", got, err)
		}
	}
	other := f.token(t, record.Token{Name: "other"})
	for _, forged := range []string{
		strings.Replace(text, "alice-laptop", "other", 1), // the secret of one with the name of another
		"mcpraft_alice-laptop_" + strings.Repeat("A", 26),
		text[:len(text)-1] + "A", text + "A", strings.ToLower(text),
	} {
		if _, err := f.Authenticate(t.Context(), "", forged); forged != text {
			wantKind(t, err, fault.Unauthenticated)
		}
	}
	f.replica.Must(t, admin, &fsm.RevokeToken{Name: "alice-laptop"})
	told := 0
	f.Watch(func() {
		told++
		_, err := f.Authenticate(t.Context(), "", text)
		wantKind(t, err, fault.Unauthenticated)
	})
	f.Changed([]fsm.Change{{Noun: fsm.ChangedToken, Key: "alice-laptop"}})
	_, err := f.Authenticate(t.Context(), "", text)
	wantKind(t, err, fault.Unauthenticated)
	if told != 1 {
		t.Errorf("who watches was told %d times", told)
	}
	if _, err := f.Authenticate(t.Context(), "", other); err != nil {
		t.Errorf("the token that was not revoked: %v", err)
	}
}

func TestWhoWatchesIsToldOfOtherKeys(t *testing.T) {
	f := newFixture(t)
	other := f.open(t)
	told := 0
	other.Watch(func() { told++ })
	for range 2 {
		if err := other.keys.load(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if told != 1 {
		t.Errorf("told %d times of one key ring", told)
	}
}

func TestExpiredAPITokenIsRefusedAndSaysSo(t *testing.T) {
	f := newFixture(t)
	text := f.token(t, record.Token{Name: "brief", Expires: record.LogTimeAt(time.Now().Add(50 * time.Millisecond))})
	for {
		_, err := f.Authenticate(t.Context(), "", text)
		if err == nil {
			continue // not yet; a caller in the cache expires too
		}
		if fault.Of(err) != fault.Unauthenticated || !strings.Contains(err.Error(), "has expired") {
			t.Fatalf("error = %v, want that it has expired", err)
		}
		return
	}
}

func TestAPITokenThatIsNewerThanThisReplicaIsLookedForAtTheLeader(t *testing.T) {
	f := newFixture(t)
	text := f.token(t, record.Token{Name: "new"})
	behind := &lagging{Replica: f.replica}
	f.c.Replica = behind
	if _, err := f.Authenticate(t.Context(), "", text); err != nil || behind.linearizable == 0 {
		t.Errorf("error = %v after %d reads at the leader", err, behind.linearizable)
	}
	// Strangers cannot make it ask for every guess.
	for range 10 * newTokens {
		_, err := f.Authenticate(t.Context(), "", "mcpraft_nobody_"+strings.Repeat("A", 26))
		wantKind(t, err, fault.Unauthenticated)
	}
	if behind.linearizable > 2*newTokens {
		t.Errorf("%d guesses made %d reads at the leader", 10*newTokens, behind.linearizable)
	}
}

// A node that has just begun, or is cut off, does not know its tokens: 401 would
// have clients throw good ones away.
func TestAReplicaThatIsNotFreshDoesNotSayThatATokenIsUnknown(t *testing.T) {
	f := newFixture(t)
	text := f.token(t, record.Token{Name: "good"})
	f.c.Replica = &cutOff{Replica: f.replica}
	for range 3 * newTokens {
		_, err := f.Authenticate(t.Context(), "", text)
		wantKind(t, err, fault.Unavailable)
	}
}

func TestAnswersFromBeforeAChangeAreNotRemembered(t *testing.T) {
	f := newFixture(t)
	text := f.token(t, record.Token{Name: "ci"})
	// The token is revoked while it is looked up: the view is from before.
	f.c.Replica = &lagging{Replica: f.replica, onView: func() {
		f.replica.Must(t, admin, &fsm.RevokeToken{Name: "ci"})
		f.Changed([]fsm.Change{{Noun: fsm.ChangedToken, Key: "ci"}})
	}}
	if _, err := f.Authenticate(t.Context(), "", text); err != nil {
		t.Fatalf("the view was from before: %v", err)
	}
	f.c.Replica = f.replica
	_, err := f.Authenticate(t.Context(), "", text)
	wantKind(t, err, fault.Unauthenticated)
}

func TestOnlyAdministratorsPassTheGateOfTheAdminAPI(t *testing.T) {
	f := newFixture(t, small())
	gate := f.Admin()
	if p, err := gate.Authenticate(t.Context(), bootstrap); err != nil || p.Subject != "bootstrap" {
		t.Errorf("bootstrap = %v, %v", p, err)
	}
	if p, err := gate.Authenticate(t.Context(), f.token(t, record.Token{Name: "ops", Admin: true})); err != nil || p.Subject != "ops" {
		t.Errorf("token with admin = %v, %v", p, err)
	}
	_, err := gate.Authenticate(t.Context(), f.token(t, record.Token{Name: "mcp"}))
	wantKind(t, err, fault.Forbidden)
	_, err = gate.Authenticate(t.Context(), small2JWT(t, nil))
	wantKind(t, err, fault.Forbidden)
	_, err = gate.Authenticate(t.Context(), "nothing")
	wantKind(t, err, fault.Unauthenticated)
}

func TestWithoutKeysNobodyIsTurnedAwayForGood(t *testing.T) {
	f := newFixture(t)
	text := f.token(t, record.Token{Name: "ci"})
	fresh := f.open(t)
	_, err := fresh.Authenticate(t.Context(), "", text)
	wantKind(t, err, fault.Unavailable)
	if _, err := fresh.Authenticate(t.Context(), "", bootstrap); err != nil {
		t.Errorf("the bootstrap token needs no key ring: %v", err)
	}
}

func TestConfigurationReportsEveryMistake(t *testing.T) {
	o := Options{
		Static:  []Static{{Name: "", Secret: "short"}},
		Issuers: []Issuer{{Name: "a", Issuer: "https://a"}, {Name: "b", Issuer: "https://a", Audiences: []string{"x"}, Secret: []byte("short"), Methods: []string{"none"}, Leeway: time.Hour}, {Name: "c", Issuer: TokenIssuer, JWKS: "http://keys"}},
	}
	err := o.Validate()
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"root key", "5 bytes", "audience", "exactly one", "at least 32", `"none"`, "leeway", "both", "own principals", "not https"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\ndoes not speak of %q", err, want)
		}
	}
	if _, err := New(Config{Options: o}); err == nil {
		t.Error("New accepts it")
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	f := newFixture(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- f.Run(ctx) }()
	f.Changed([]fsm.Change{{Noun: fsm.ChangedAll}})
	cancel()
	if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
