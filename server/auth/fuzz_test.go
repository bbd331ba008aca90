package auth

import (
	"strings"
	"testing"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// Whatever a stranger sends is refused in words, never accepted and never a
// panic; and what looks like an API token is one in exactly one way.
func FuzzAuthenticate(f *testing.F) {
	fixture := newFixture(f, corp(f), small())
	known := map[string]bool{bootstrap: true, "mcpraft_dev_ABCDEFGHIJKLMNOPQRSTUVWXYZ": true}
	for _, token := range forgeries(f) {
		if len(token) <= MaxCredentials {
			f.Add(token)
		}
	}
	for _, token := range []string{"", "mcpraft_", "mcpraft__", "mcpraft_a_" + strings.Repeat("A", secretBytes), good().sign(f), goodSmall().sign(f), bootstrap} {
		f.Add(token)
	}
	f.Fuzz(func(t *testing.T, token string) {
		if name, secret, ok := parseToken(token); ok && tokenPrefix+name+"_"+secret != token {
			t.Errorf("%q is taken apart into %q and %q", token, name, secret)
		}
		caller, err := fixture.Authenticate(t.Context(), "", token)
		switch {
		case err == nil && !known[token] && caller.Principal.Subject != "alice":
			t.Errorf("%q is accepted as %+v", token, caller)
		case err == nil && (caller.Principal.Issuer == "" || caller.Method == ""):
			t.Errorf("%q is accepted as nobody", token)
		case err != nil && fault.Of(err) != fault.Unauthenticated:
			t.Errorf("%q: %v", token, err)
		}
	})
}

func FuzzRing(f *testing.F) {
	data, err := encodeRing(goldenRing())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte{ringVersion})
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := decodeRing(data)
		if err != nil {
			return
		}
		again, err := encodeRing(r)
		if err != nil || string(again) != string(data) {
			t.Errorf("%x reads as %+v, which is written as %x (%v)", data, r, again, err)
		}
	})
}

func FuzzKeys(f *testing.F) {
	f.Add(corp(f).Keys)
	f.Add(publicPEM(f, testKeys().rsa.Public()))
	f.Add([]byte(`{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, err := ParseKeys(text)
		if err == nil && len(keys) == 0 {
			t.Error("no keys and no error")
		}
		for _, k := range keys {
			if err := usable(k.Key()); err != nil {
				t.Error(err)
			}
		}
	})
}
