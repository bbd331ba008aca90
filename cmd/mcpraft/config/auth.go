package config

import (
	"cmp"
	"fmt"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/seal"
	"github.com/mcpraft/mcpraft/server/auth"
)

// maxPublicKeyBytes bounds a file of public keys.
const maxPublicKeyBytes = 256 << 10

// maxIssuers bounds auth.issuers.
const maxIssuers = 16

func (l *loader) checkAuth() {
	a := l.config.Auth
	l.checkKeyFile(a.KeyFile)
	if a.PublicURL != "" {
		if err := checkOrigin(a.PublicURL); err != nil {
			l.wrong("auth.public_url", "write it as https://mcp.example.org", "%v", err)
		}
	}
	if len(a.Issuers) > maxIssuers {
		l.wrong("auth.issuers", "", "%d issuers, the limit is %d", len(a.Issuers), maxIssuers)
	}
	seen := make(map[string]string)
	for _, name := range slices.Sorted(maps.Keys(a.Issuers)) {
		at, i := "auth.issuers."+name, a.Issuers[name]
		if first, twice := seen[i.Issuer]; twice && i.Issuer != "" {
			l.wrong(at+".issuer", "tokens name their issuer, and it must be clear which keys are theirs", "%q is that of issuer %s", i.Issuer, first)
		}
		seen[i.Issuer] = name
		l.checkIssuer(at, i)
	}
}

// checkKeyFile wants one wherever there is, or can be, a second node: it must be
// the same there.
func (l *loader) checkKeyFile(name string) {
	if name != "" {
		l.checkPath("auth.key_file", name)
		return
	}
	reason := ""
	host, _, ok := splitAddress(l.config.Listen.Peer.Addr)
	switch {
	case l.others() > 0:
		reason = "cluster.join"
	case slices.Contains([]int{3, 5}, l.config.Cluster.BootstrapExpect):
		reason = "cluster.bootstrap_expect"
	case ok && !isLoopback(host):
		reason = "listen.peer.addr"
	default:
		return
	}
	l.missing("auth.key_file", reason, "make one with mcpraft keys generate FILE, and give every node the same", "nodes share the keys of the cluster")
}

// checkOrigin wants scheme://host[:port] as a browser writes it.
func checkOrigin(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || s != u.Scheme+"://"+strings.ToLower(u.Host) {
		return fmt.Errorf("%q is not scheme://host[:port] in lower case, without a path", s)
	}
	return nil
}

func (l *loader) checkIssuer(at string, i Issuer) {
	switch i.Issuer {
	case "":
		l.missing(at+".issuer", at, "", "tokens are recognised by it")
	case auth.TokenIssuer, "node":
		l.wrong(at+".issuer", "", "%q is the issuer of the cluster's own principals", i.Issuer)
	}
	if len(i.Audience) == 0 {
		l.missing(at+".audience", at, "write what the issuer puts into aud for this gateway", "a token for somebody else must not be accepted")
	}
	l.checkSource(at, i)
	if i.JWKSURL != "" {
		if err := auth.CheckURL(i.JWKSURL); err != nil {
			l.wrong(at+".jwks_url", "whoever can change what comes from there can sign tokens", "%v", err)
		}
	}
	if i.PublicKeyFile != "" {
		l.checkPath(at+".public_key_file", i.PublicKeyFile)
	}
	if i.SecretFile != "" {
		l.checkPath(at+".secret_file", i.SecretFile)
	}
	allowed := auth.Methods
	if i.SecretFile != "" {
		allowed = []string{"HS256"}
	}
	for n, method := range i.Methods {
		if !slices.Contains(allowed, method) {
			l.wrong(fmt.Sprintf("%s.methods[%d]", at, n), "with these keys it can be "+strings.Join(allowed, ", "), "%q is no signature of theirs", method)
		}
	}
	for n, scope := range i.Scopes {
		if !auth.ValidScope(scope) {
			l.wrong(fmt.Sprintf("%s.scopes[%d]", at, n), "", "%q is no scope: one word without quotes", scope)
		}
	}
}

// checkSource wants exactly one source of keys.
func (l *loader) checkSource(at string, i Issuer) {
	var given []string
	for key, value := range map[string]string{"jwks_url": i.JWKSURL, "public_key_file": i.PublicKeyFile, "secret_file": i.SecretFile} {
		if value != "" {
			given = append(given, key)
		}
	}
	slices.Sort(given)
	switch len(given) {
	case 0:
		l.missing(at+".jwks_url", at, "or name a public_key_file, or a secret_file", "signatures cannot be checked without keys")
	case 1:
	default:
		l.wrong(at+"."+given[1], "remove all but one", "%s is given too", given[0])
	}
}

// auth reads the files that the section auth names.
func (c *fileChecker) auth() {
	if name := c.Config.Auth.KeyFile; name != "" {
		if _, err := seal.LoadRing(name); err != nil {
			c.wrong("auth.key_file", err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Config.Auth.Issuers)) {
		at, i := "auth.issuers."+name, c.Config.Auth.Issuers[name]
		if i.SecretFile != "" {
			if _, err := ReadSecret(i.SecretFile); err != nil {
				c.wrong(at+".secret_file", err)
			}
		}
		if i.PublicKeyFile != "" {
			if _, err := readPublicKeys(i.PublicKeyFile); err != nil {
				c.wrong(at+".public_key_file", err)
			}
		}
	}
}

func readPublicKeys(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, fileFault(err)
	}
	if info.Size() > maxPublicKeyBytes {
		return nil, fault.New(fault.Invalid, "%s has %d bytes, the limit is %d", name, info.Size(), maxPublicKeyBytes)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fileFault(err)
	}
	if _, err := auth.ParseKeys(text); err != nil {
		return nil, fault.New(fault.Invalid, "%s: %v", name, err).WithHint("name a public key in PEM, or a JWK set")
	}
	return text, nil
}

// AuthIssuers are the issuers with the keys that their files hold, in the order
// of their names.
func (c *Config) AuthIssuers() ([]auth.Issuer, error) {
	var list []auth.Issuer
	for _, name := range slices.Sorted(maps.Keys(c.Auth.Issuers)) {
		i := c.Auth.Issuers[name]
		one := auth.Issuer{
			Name: name, Issuer: i.Issuer, Audiences: i.Audience, Methods: i.Methods, JWKS: i.JWKSURL,
			Refresh: i.JWKSRefresh.Std(), Leeway: cmp.Or(i.ClockSkew.Std(), -1),
			Subject: i.Claims.Subject, Client: i.Claims.Client, Scopes: i.Scopes,
		}
		if i.SecretFile != "" {
			secret, err := ReadSecret(i.SecretFile)
			if err != nil {
				return nil, err
			}
			one.Secret = []byte(secret)
		}
		if i.PublicKeyFile != "" {
			keys, err := readPublicKeys(i.PublicKeyFile)
			if err != nil {
				return nil, err
			}
			one.Keys = keys
		}
		list = append(list, one)
	}
	return list, nil
}

// PublicURL is where clients reach the MCP port: scheme://host[:port].
func (c *Config) PublicURL() string {
	if c.Auth.PublicURL != "" {
		return c.Auth.PublicURL
	}
	scheme := "https"
	if c.Listen.MCP.TLS == "" {
		scheme = "http"
	}
	return scheme + "://" + strings.ToLower(c.MCPAddr())
}
