package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// signers are the private keys of the issuers of the tests.
type signers struct {
	rsa, other *rsa.PrivateKey
	p256, p384 *ecdsa.PrivateKey
	ed         ed25519.PrivateKey
}

var testKeys = sync.OnceValue(func() signers {
	var s signers
	var errs [5]error
	s.rsa, errs[0] = rsa.GenerateKey(rand.Reader, 2048)
	s.other, errs[1] = rsa.GenerateKey(rand.Reader, 2048)
	s.p256, errs[2] = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	s.p384, errs[3] = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	_, s.ed, errs[4] = ed25519.GenerateKey(rand.Reader)
	for _, err := range errs {
		if err != nil {
			panic(err)
		}
	}
	return s
})

const (
	corpIssuer  = "https://idp.example.org/realms/corp"
	smallIssuer = "https://small.example.org"
	audience    = "https://mcp.example.org"
	hmacSecret  = "a shared secret of at least 32 bytes, as hex"
)

// corp signs with public keys in a JWK set; small with a shared secret.
func corp(t testing.TB) Issuer {
	k := testKeys()
	return Issuer{
		Name: "corp", Issuer: corpIssuer, Audiences: []string{audience, "gateway"}, Scopes: []string{"mcp:use"},
		Methods: []string{"RS256", "PS256", "ES256", "ES384", "EdDSA"},
		Keys: jwks(t,
			jwkOf(t, k.rsa.Public(), "rsa", ""), jwkOf(t, k.rsa.Public(), "rsa-only-rs", "RS256"), jwkOf(t, k.p256.Public(), "p256", ""),
			jwkOf(t, k.p384.Public(), "p384", ""), jwkOf(t, k.ed.Public(), "ed", ""),
		),
	}
}

func small() Issuer {
	return Issuer{Name: "small", Issuer: smallIssuer, Audiences: []string{audience}, Secret: []byte(hmacSecret)}
}

func jwkOf(t testing.TB, key crypto.PublicKey, kid, alg string) json.RawMessage {
	t.Helper()
	k, err := jwkset.NewJWKFromKey(key, jwkset.JWKOptions{Metadata: jwkset.JWKMetadataOptions{KID: kid, ALG: jwkset.ALG(alg)}})
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(k.Marshal())
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func jwks(t testing.TB, keys ...json.RawMessage) []byte {
	t.Helper()
	text, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// A forgery is a token in the making. Header and claims are those of a good one,
// with what change does; raw takes the place of their JSON.
type forgery struct {
	method            jwt.SigningMethod
	key               any
	header, claims    map[string]any
	rawHead, rawClaim string
	encoding          *base64.Encoding
}

func good() *forgery {
	now := time.Now()
	return &forgery{
		method: jwt.SigningMethodRS256, key: testKeys().rsa,
		header: map[string]any{"alg": "RS256", "typ": "at+jwt", "kid": "rsa"},
		claims: map[string]any{
			"iss": corpIssuer, "sub": "alice", "aud": audience, "exp": now.Add(time.Hour).Unix(), "nbf": now.Unix(), "iat": now.Unix(),
			"azp": "client-1", "scope": "mcp:use other",
		},
		encoding: base64.RawURLEncoding,
	}
}

func goodSmall() *forgery {
	f := good()
	f.method, f.key = jwt.SigningMethodHS256, []byte(hmacSecret)
	f.header = map[string]any{"alg": "HS256", "typ": "JWT"}
	f.claims["iss"] = smallIssuer
	return f
}

// sign is the token as text.
func (f *forgery) sign(t testing.TB) string {
	t.Helper()
	part := func(raw string, v map[string]any) string {
		if raw == "" {
			text, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			raw = string(text)
		}
		return f.encoding.EncodeToString([]byte(raw))
	}
	text := part(f.rawHead, f.header) + "." + part(f.rawClaim, f.claims)
	if f.method == nil {
		return text + "."
	}
	signature, err := f.method.Sign(text, f.key)
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + f.encoding.EncodeToString(signature)
}

func small2JWT(t testing.TB, change func(*forgery)) string {
	f := goodSmall()
	if change != nil {
		change(f)
	}
	return f.sign(t)
}

func TestTokensOfEveryMethodAreAccepted(t *testing.T) {
	f := newFixture(t, corp(t), small())
	k := testKeys()
	for name, change := range map[string]func(*forgery){
		"RS256": func(*forgery) {},
		"PS256": func(f *forgery) { f.method, f.header["alg"] = jwt.SigningMethodPS256, "PS256" },
		"ES256": func(f *forgery) {
			f.method, f.key, f.header["alg"], f.header["kid"] = jwt.SigningMethodES256, k.p256, "ES256", "p256"
		},
		"ES384": func(f *forgery) {
			f.method, f.key, f.header["alg"], f.header["kid"] = jwt.SigningMethodES384, k.p384, "ES384", "p384"
		},
		"EdDSA": func(f *forgery) {
			f.method, f.key, f.header["alg"], f.header["kid"] = jwt.SigningMethodEdDSA, k.ed, "EdDSA", "ed"
		},
		"HS256":                      func(f *forgery) { *f = *goodSmall() },
		"second audience, in a list": func(f *forgery) { f.claims["aud"] = []string{"somebody", "gateway"} },
		"scp as a list":              func(f *forgery) { delete(f.claims, "scope"); f.claims["scp"] = []string{"mcp:use"} },
		"client_id":                  func(f *forgery) { delete(f.claims, "azp"); f.claims["client_id"] = "client-1" },
		"no nbf and iat":             func(f *forgery) { delete(f.claims, "nbf"); delete(f.claims, "iat") },
		"expired within the leeway":  func(f *forgery) { f.claims["exp"] = time.Now().Add(-DefaultLeeway / 2).Unix() },
		"exp with a fraction":        func(f *forgery) { f.claims["exp"] = float64(time.Now().Unix()) + 100.5 },
		"jwk, jku and x5u of the forger": func(f *forgery) {
			f.header["jwk"], f.header["jku"], f.header["x5u"] = map[string]any{}, "http://x", "http://x"
		},
		"claims that nobody here knows":   func(f *forgery) { f.claims["groups"] = []any{1, map[string]any{"a": nil}} },
		"claims that differ only in case": func(f *forgery) { f.claims["EXP"], f.claims["Sub"] = 1, "mallory" },
	} {
		forged := good()
		change(forged)
		caller, err := f.Authenticate(t.Context(), "", forged.sign(t))
		if err != nil || caller.Principal.Subject != "alice" || caller.Principal.Issuer != forged.claims["iss"] || caller.ClientID != "client-1" || caller.Method != MethodJWT || caller.Admin || caller.Expires.IsZero() {
			t.Errorf("%s: %+v, %v", name, caller, err)
		}
	}
}

// publicPEM is the public key in the form that the forger finds it in.
func publicPEM(t testing.TB, key crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// forgeries are tokens that must be refused, by what is wrong with them. text,
// if it is set, changes the finished token.
func forgeries(t testing.TB) map[string]string {
	k := testKeys()
	list := make(map[string]string)
	add := func(name string, change func(*forgery), text ...func(string) string) {
		f := good()
		change(f)
		token := f.sign(t)
		for _, edit := range text {
			token = edit(token)
		}
		list[name] = token
	}
	none := func(alg string) func(*forgery) {
		return func(f *forgery) { f.method, f.header["alg"] = nil, alg }
	}
	set := func(name string, value any) func(*forgery) { return func(f *forgery) { f.claims[name] = value } }
	without := func(name string) func(*forgery) { return func(f *forgery) { delete(f.claims, name) } }
	kid := func(value any) func(*forgery) { return func(f *forgery) { f.header["kid"] = value } }
	keep := func(*forgery) {}

	// No signature, or one by a key that anybody has.
	add("alg none", none("none"))
	add("alg None", none("None"))
	add("alg NONE with a signature", func(f *forgery) { f.header["alg"] = "NONE" })
	add("alg empty", none(""))
	add("alg missing", func(f *forgery) { delete(f.header, "alg") })
	add("alg a number", func(f *forgery) { f.header["alg"] = 1 })
	add("alg null", func(f *forgery) { f.header["alg"] = nil })
	add("HS256 with the public key in PEM", func(f *forgery) {
		f.method, f.key, f.header["alg"] = jwt.SigningMethodHS256, publicPEM(t, k.rsa.Public()), "HS256"
	})
	add("HS256 with the public key in DER", func(f *forgery) {
		block, _ := pem.Decode(publicPEM(t, k.rsa.Public()))
		f.method, f.key, f.header["alg"] = jwt.SigningMethodHS256, block.Bytes, "HS256"
	})
	add("HS256 with an empty key", func(f *forgery) { f.method, f.key, f.header["alg"] = jwt.SigningMethodHS256, []byte{}, "HS256" })
	add("HS256 with the other issuer's secret", func(f *forgery) {
		f.method, f.key, f.header["alg"] = jwt.SigningMethodHS256, []byte(hmacSecret), "HS256"
	})
	add("RS256 for the issuer with a secret", set("iss", smallIssuer))
	add("signature cut off", keep, func(s string) string { return s[:strings.LastIndexByte(s, '.')+1] })
	add("signature of another token", keep, func(s string) string {
		return s[:strings.LastIndexByte(s, '.')] + list["RS256 for the issuer with a secret"][strings.LastIndexByte(list["RS256 for the issuer with a secret"], '.'):]
	})
	add("one bit of the signature", keep, func(s string) string { return flip(s, len(s)-20) })
	add("one bit of the claims", keep, func(s string) string { return flip(s, strings.IndexByte(s, '.')+40) })
	add("claims exchanged", keep, func(s string) string {
		parts := strings.Split(s, ".")
		parts[1] = base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"iss":%q,"sub":"root","aud":%q,"exp":9999999999,"scope":"mcp:use"}`, corpIssuer, audience))
		return strings.Join(parts, ".")
	})
	add("a stranger's key under a known id", func(f *forgery) { f.key = k.other })
	add("ES256 signature of zeros", keep, func(s string) string {
		f := good()
		f.header["alg"], f.header["kid"], f.method = "ES256", "p256", nil
		return f.sign(t) + base64.RawURLEncoding.EncodeToString(make([]byte, 64))
	})
	add("ES256 with a key of P-384", func(f *forgery) {
		f.header["alg"], f.header["kid"], f.method = "ES256", "p384", nil
	}, func(s string) string { return s + base64.RawURLEncoding.EncodeToString(make([]byte, 64)) })
	add("ES384 with a key of P-256", func(f *forgery) {
		f.header["alg"], f.header["kid"], f.method = "ES384", "p256", nil
	}, func(s string) string { return s + base64.RawURLEncoding.EncodeToString(make([]byte, 96)) })
	add("EdDSA under the id of an RSA key", func(f *forgery) { f.method, f.key, f.header["alg"] = jwt.SigningMethodEdDSA, k.ed, "EdDSA" })
	add("RS512, which the issuer does not use", func(f *forgery) { f.method, f.header["alg"] = jwt.SigningMethodRS512, "RS512" })
	add("PS256 by a key that is for RS256", func(f *forgery) {
		f.method, f.header["alg"], f.header["kid"] = jwt.SigningMethodPS256, "PS256", "rsa-only-rs"
	})

	// Keys that the forger brings along.
	add("jwk in the header", func(f *forgery) {
		f.key = k.other
		f.header["jwk"] = json.RawMessage(jwkOf(t, k.other.Public(), "rsa", ""))
		delete(f.header, "kid")
	})
	add("jku in the header", func(f *forgery) { f.key, f.header["jku"] = k.other, "https://evil.example/keys" })
	add("x5u in the header", func(f *forgery) { f.key, f.header["x5u"] = k.other, "https://evil.example/cert" })
	add("x5c in the header", func(f *forgery) { f.key, f.header["x5c"] = k.other, []string{"MIIB"} })

	// Key ids.
	add("no kid where there are many keys", func(f *forgery) { delete(f.header, "kid") })
	add("kid unknown", kid("nobody"))
	add("kid empty", kid(""))
	add("kid a path", kid("../../../../dev/null"))
	add("kid SQL", kid("' UNION SELECT 'key"))
	add("kid a number", kid(1))
	add("kid a list", kid([]string{"rsa"}))
	add("kid null byte", kid("rsa\x00"))
	add("kid huge", kid(strings.Repeat("k", maxKeyID+1)))

	// Headers that ask for something else.
	add("crit", func(f *forgery) { f.header["crit"] = []string{"exp"} })
	add("crit unknown", func(f *forgery) { f.header["crit"], f.header["x"] = []string{"x"}, 1 })
	add("b64 false", func(f *forgery) { f.header["b64"] = false })
	add("zip", func(f *forgery) { f.header["zip"] = "DEF" })
	add("typ of an ID-JAG", func(f *forgery) { f.header["typ"] = "oauth-id-jag+jwt" })
	add("typ of a logout token", func(f *forgery) { f.header["typ"] = "logout+jwt" })
	add("typ of a DPoP proof", func(f *forgery) { f.header["typ"] = "dpop+jwt" })

	// Claims.
	add("no iss", without("iss"))
	add("iss foreign", set("iss", "https://evil.example"))
	add("iss with a slash more", set("iss", corpIssuer+"/"))
	add("iss in capitals", set("iss", strings.ToUpper(corpIssuer)))
	add("iss a list", set("iss", []string{corpIssuer}))
	add("no aud", without("aud"))
	add("aud foreign", set("aud", "https://other.example"))
	add("aud empty", set("aud", ""))
	add("aud empty list", set("aud", []string{}))
	add("aud with a suffix", set("aud", audience+".evil.example"))
	add("aud an object", set("aud", map[string]any{audience: true}))
	add("aud a list with a number", set("aud", []any{audience, 1}))
	add("no exp", without("exp"))
	add("exp null", set("exp", nil))
	add("exp text", set("exp", "9999999999"))
	add("exp past", set("exp", time.Now().Add(-time.Minute).Unix()))
	add("exp negative", set("exp", -1))
	add("exp beyond all time", set("exp", json.Number("1e300")))
	add("nbf future", set("nbf", time.Now().Add(time.Minute).Unix()))
	add("nbf text", set("nbf", "soon"))
	add("iat future", set("iat", time.Now().Add(time.Minute).Unix()))
	add("no sub", without("sub"))
	add("sub empty", set("sub", ""))
	add("sub a number", set("sub", 1))
	add("sub with a control character", set("sub", "alice\x00root"))
	add("sub too long", set("sub", strings.Repeat("a", 513)))
	add("azp a list", set("azp", []string{"client-1"}))
	add("scope a number", set("scope", 1))
	add("cnf", set("cnf", map[string]any{"jkt": "x"}))

	// Two readers, two meanings.
	pair := func(member string) func(*forgery) {
		return func(f *forgery) {
			text, _ := json.Marshal(f.claims)
			f.rawClaim = strings.TrimSuffix(string(text), "}") + "," + member + "}"
		}
	}
	add("sub twice", pair(`"sub":"root"`))
	add("exp twice", pair(`"exp":9999999999`))
	add("name twice deep inside", pair(`"x":{"a":1,"a":2}`))
	add("alg twice", func(f *forgery) { f.rawHead = `{"alg":"RS256","kid":"rsa","alg":"none"}` })
	add("kid twice", func(f *forgery) { f.rawHead = `{"alg":"RS256","kid":"x","kid":"rsa"}` })
	add("claims invalid UTF-8", func(f *forgery) { f.rawClaim = "{\"iss\":\"" + corpIssuer + "\",\"sub\":\"\xff\"}" })
	add("claims a list", func(f *forgery) { f.rawClaim = "[]" })
	add("claims null", func(f *forgery) { f.rawClaim = "null" })
	add("claims nested deep", pair(`"x":`+strings.Repeat("[", 64)+strings.Repeat("]", 64)))
	add("something after the claims", func(f *forgery) { text, _ := json.Marshal(f.claims); f.rawClaim = string(text) + "{}" })
	add("padding", func(f *forgery) { f.encoding = base64.URLEncoding; f.claims["x"] = "1" })
	add("standard alphabet", func(f *forgery) { f.encoding = base64.RawStdEncoding; f.claims["x"] = "???>>>~~~" })
	add("line break inside", keep, func(s string) string { return s[:30] + "\n" + s[30:] })
	add("spare bits set", keep, spareBits)
	add("four parts", keep, func(s string) string { return s + ".x" })
	add("two parts", keep, func(s string) string { return s[:strings.LastIndexByte(s, '.')] })
	add("five parts, as of a JWE", keep, func(s string) string { return s + ".x.x" })
	add("empty header", keep, func(s string) string { return s[strings.IndexByte(s, '.'):] })
	add("oversized", set("x", strings.Repeat("x", MaxCredentials)))
	add("a space in front", keep, func(s string) string { return " " + s })
	return list
}

// flip changes the character at i to another of the alphabet.
func flip(s string, i int) string {
	c := byte('A')
	if s[i] == 'A' {
		c = 'B'
	}
	return s[:i] + string(c) + s[i+1:]
}

// spareBits sets bits of the last character that no byte comes from.
func spareBits(s string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, s[len(s)-1])
	return s[:len(s)-1] + string(alphabet[last|3])
}

func TestForgedTokensAreRefused(t *testing.T) {
	f := newFixture(t, corp(t), small())
	list := forgeries(t)
	if len(list) < 60 {
		t.Fatalf("%d forgeries, want at least 60", len(list))
	}
	for name, token := range list {
		caller, err := f.Authenticate(t.Context(), "", token)
		e := fault.As(err)
		if e == nil || e.Kind != fault.Unauthenticated || e.Hint == "" {
			t.Errorf("%s: accepted as %+v, or refused without a word: %v", name, caller, err)
			continue
		}
		for _, secret := range []string{hmacSecret, "crypto/", "rsa:", "kid", "keyfunc"} {
			if strings.Contains(e.Message+e.Hint, secret) {
				t.Errorf("%s: the refusal tells %q: %s", name, secret, e.Message)
			}
		}
	}
}

// What a token says is spoken of only when its signature is good.
func TestRefusalOfABadSignatureTellsNothingOfTheClaims(t *testing.T) {
	f := newFixture(t, corp(t))
	messages := make(map[string]bool)
	for _, change := range []func(map[string]any){
		func(map[string]any) {},
		func(c map[string]any) { c["exp"] = 1 },
		func(c map[string]any) { c["aud"] = "other" },
		func(c map[string]any) { delete(c, "sub") },
	} {
		forged := good()
		forged.key = testKeys().other
		change(forged.claims)
		_, err := f.Authenticate(t.Context(), "", forged.sign(t))
		messages[fault.As(err).Message] = true
	}
	forged := good()
	forged.header["kid"] = "unknown"
	_, err := f.Authenticate(t.Context(), "", forged.sign(t))
	messages[fault.As(err).Message] = true
	if len(messages) != 1 {
		t.Errorf("messages differ: %q", slices.Collect(maps.Keys(messages)))
	}
}

func TestAGoodTokenWithoutTheScopeIsForbiddenAndNamesIt(t *testing.T) {
	f := newFixture(t, corp(t))
	forged := good()
	forged.claims["scope"] = "other"
	_, err := f.Authenticate(t.Context(), "", forged.sign(t))
	if e := fault.As(err); e.Kind != fault.Forbidden || e.Details["scope"] != "mcp:use" {
		t.Errorf("error = %+v", e)
	}
}

func TestKeysThatAreNoPublicKeysAreRefused(t *testing.T) {
	k := testKeys()
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k.p256)
	if err != nil {
		t.Fatal(err)
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	private, err := jwkset.NewJWKFromKey(k.ed, jwkset.JWKOptions{Marshal: jwkset.JWKMarshalOptions{Private: true}, Metadata: jwkset.JWKMetadataOptions{KID: "x"}})
	if err != nil {
		t.Fatal(err)
	}
	privateText, _ := json.Marshal(private.Marshal())
	for name, text := range map[string][]byte{
		"nothing":             nil,
		"text":                []byte("hello"),
		"empty set":           []byte(`{"keys":[]}`),
		"weak RSA":            publicPEM(t, weak.Public()),
		"P-224":               publicPEM(t, p224.Public()),
		"private key in PEM":  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}),
		"two keys in PEM":     append(publicPEM(t, k.rsa.Public()), publicPEM(t, k.p256.Public())...),
		"private JWK":         privateText,
		"shared secret":       []byte(`{"kty":"oct","k":"c2VjcmV0"}`),
		"private beside good": jwks(t, jwkOf(t, k.rsa.Public(), "a", ""), privateText),
		"name twice":          []byte(`{"kty":"OKP","kty":"RSA"}`),
		"too large":           append(publicPEM(t, k.rsa.Public()), make([]byte, maxKeySetBytes)...),
	} {
		if keys, err := ParseKeys(text); err == nil {
			t.Errorf("%s: taken as %d keys", name, len(keys))
		}
	}
	for name, text := range map[string][]byte{
		"RSA": publicPEM(t, k.rsa.Public()), "P-256": publicPEM(t, k.p256.Public()), "Ed25519": publicPEM(t, k.ed.Public()),
		"JWK": jwkOf(t, k.p384.Public(), "", ""), "unknown beside good": jwks(t, json.RawMessage(`{"kty":"OKP","crv":"Ed448","x":"AA"}`), jwkOf(t, k.rsa.Public(), "a", "")),
	} {
		if keys, err := ParseKeys(text); err != nil || len(keys) != 1 {
			t.Errorf("%s: %d keys, %v", name, len(keys), err)
		}
	}
}

func TestOneKeyNeedsNoName(t *testing.T) {
	i := corp(t)
	i.Keys = publicPEM(t, testKeys().rsa.Public())
	f := newFixture(t, i)
	for _, kid := range []any{"whatever", nil} {
		forged := good()
		if forged.header["kid"] = kid; kid == nil {
			delete(forged.header, "kid")
		}
		if _, err := f.Authenticate(t.Context(), "", forged.sign(t)); err != nil {
			t.Errorf("kid %v: %v", kid, err)
		}
	}
}

func TestAMethodIsForOneTypeAndSizeOfKey(t *testing.T) {
	k := testKeys()
	for method, key := range map[string]any{
		"RS256": k.rsa.Public(), "RS512": k.rsa.Public(), "PS384": k.rsa.Public(), "ES256": k.p256.Public(), "ES384": k.p384.Public(), "EdDSA": k.ed.Public(),
	} {
		for _, other := range []any{k.rsa.Public(), k.p256.Public(), k.p384.Public(), k.ed.Public()} {
			if want := other.(interface{ Equal(crypto.PublicKey) bool }).Equal(key); fits(method, other) != want {
				t.Errorf("%s and a %T: %v, want %v", method, other, !want, want)
			}
		}
		if fits(method, []byte("secret")) || fits(method, nil) {
			t.Errorf("%s fits a secret", method)
		}
	}
	if fits("HS256", k.rsa.Public()) || fits("none", k.rsa.Public()) || fits("ES512", k.p256.Public()) {
		t.Error("a method that no public key has fits one")
	}
}
