package auth

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Bounds of an Issuer.
const (
	DefaultLeeway  = 10 * time.Second
	MaxLeeway      = 30 * time.Second
	DefaultRefresh = 15 * time.Minute
	MinSecret      = 32 // bytes of a shared secret, and of a token in a file
)

// hmacMethod is the one method with a shared secret.
const hmacMethod = "HS256"

// Methods are the signatures that an issuer with public keys can use. Each fits
// one type of key; SHA-1, none, and a shared secret beside public keys are not
// among them.
var Methods = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"}

// defaultMethods are those that issuers use unless they are told otherwise.
var defaultMethods = []string{"RS256", "ES256", "EdDSA"}

// An Issuer makes JWTs that are accepted. Exactly one of Secret, Keys and JWKS is
// given.
type Issuer struct {
	Name      string        // for logs and metrics
	Issuer    string        // iss, compared byte by byte
	Audiences []string      // aud must hold one of them
	Methods   []string      // alg must be one of them; empty: HS256 with a Secret, else RS256, ES256 and EdDSA
	Secret    []byte        // at least MinSecret bytes
	Keys      []byte        // a public key in PEM, a JWK or a JWK set
	JWKS      string        // URL of a JWK set; https, but for loopback
	Refresh   time.Duration // of the set; 0 means DefaultRefresh
	Leeway    time.Duration // for clocks that differ, at most MaxLeeway; 0 means DefaultLeeway, below 0 none
	Subject   string        // claim that names the principal; "" means sub
	Client    string        // claim that names the client; "" means azp, else client_id
	Scopes    []string      // that a token must have, all of them
}

// Validate reports every mistake in i.
func (i *Issuer) Validate() error {
	var errs []error
	wrong := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("issuer "+i.Name+": "+format, args...))
	}
	switch i.Issuer {
	case "":
		wrong("issuer is missing")
	case TokenIssuer, "node":
		wrong("issuer %q is that of the cluster's own principals", i.Issuer)
	}
	if len(i.Audiences) == 0 || slices.Contains(i.Audiences, "") {
		wrong("audience is missing: a token for somebody else must not be accepted")
	}
	sources := 0
	for _, given := range []bool{len(i.Secret) > 0, len(i.Keys) > 0, i.JWKS != ""} {
		if given {
			sources++
		}
	}
	if sources != 1 {
		wrong("exactly one of a secret, keys and a JWKS URL must be given, there are %d", sources)
	}
	if n := len(i.Secret); n > 0 && n < MinSecret {
		wrong("the secret has %d bytes, want at least %d", n, MinSecret)
	}
	if len(i.Keys) > 0 {
		if _, err := ParseKeys(i.Keys); err != nil {
			wrong("%v", err)
		}
	}
	if i.JWKS != "" {
		if err := CheckURL(i.JWKS); err != nil {
			wrong("JWKS URL: %v", err)
		}
	}
	for _, m := range i.Methods {
		if len(i.Secret) > 0 && m != hmacMethod || len(i.Secret) == 0 && !slices.Contains(Methods, m) {
			wrong("method %q does not go with its keys", m)
		}
	}
	for _, scope := range i.Scopes {
		if !ValidScope(scope) {
			wrong("scope %q is not one word of visible ASCII without quotes", scope)
		}
	}
	if i.Leeway > MaxLeeway {
		wrong("leeway %v is above %v", i.Leeway, MaxLeeway)
	}
	if i.Refresh < 0 {
		wrong("refresh %v is negative", i.Refresh)
	}
	return errors.Join(errs...)
}

func (i Issuer) withDefaults() Issuer {
	if len(i.Methods) == 0 {
		i.Methods = defaultMethods
		if len(i.Secret) > 0 {
			i.Methods = []string{hmacMethod}
		}
	}
	if i.Leeway == 0 {
		i.Leeway = DefaultLeeway
	}
	i.Leeway = max(i.Leeway, 0)
	if i.Refresh == 0 {
		i.Refresh = DefaultRefresh
	}
	if i.Subject == "" {
		i.Subject = "sub"
	}
	return i
}

// isServer reports whether clients can be sent to i: its name is an address.
func (i *Issuer) isServer() bool { return CheckURL(i.Issuer) == nil }

// CheckURL reports why keys cannot be fetched from s, or nil: whoever can change
// what comes from there can sign tokens.
func CheckURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return fmt.Errorf("%q is no URL", s)
	case u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())):
		return fmt.Errorf("%q is not https", s)
	case u.Host == "" || u.User != nil || u.Fragment != "" || strings.ContainsAny(s, " \t\r\n"):
		return fmt.Errorf("%q must have a host, and no user and no fragment", s)
	}
	return nil
}

// ValidScope reports whether s is a scope-token of RFC 6749: it can stand in a
// challenge as it is.
func ValidScope(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '"' || r == '\\' })
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
