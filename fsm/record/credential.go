package record

import "strings"

// Kinds of credentials.
const (
	CredentialHeader = "header" // one header with a value that does not change
	CredentialOAuth  = "oauth"  // access tokens by the client credentials grant (RFC 6749, 4.4)
)

// Bounds of a credential.
const (
	MaxCredentialScopes = 32
	MaxSealedSecret     = 20 << 10 // bytes of a secret or an access token, sealed
)

// A Credential is what the cluster shows to upstreams in place of its clients'
// own tokens, which never leave it. Whatever is secret in it is sealed under the
// cluster's keys.
type Credential struct {
	Name         string   `cbor:"1,keyasint"` // [a-z0-9][a-z0-9-]*
	Kind         string   `cbor:"2,keyasint"`
	Header       string   `cbor:"3,keyasint,omitempty"` // name of the header that carries it; "" means Authorization
	TokenURL     string   `cbor:"4,keyasint,omitempty"` // oauth
	ClientID     string   `cbor:"5,keyasint,omitempty"` // oauth
	Scopes       []string `cbor:"6,keyasint,omitempty"` // oauth
	Resource     string   `cbor:"7,keyasint,omitempty"` // oauth: for whom the tokens are (RFC 8707); "" says nothing
	Secret       []byte   `cbor:"8,keyasint"`           // sealed: the header's value, or the client's secret
	Token        []byte   `cbor:"9,keyasint,omitempty"` // sealed: the newest access token
	TokenExpires LogTime  `cbor:"10,keyasint,omitempty"`
	Created      LogTime  `cbor:"11,keyasint,omitempty"` // set when applied
	Updated      LogTime  `cbor:"12,keyasint,omitempty"` // set when applied, by whoever put it; a new access token is no update
	Revision     uint64   `cbor:"13,keyasint,omitempty"` // set when applied
}

// Validate reports every mistake of c.
func (c *Credential) Validate() error {
	p := problems{noun: "credential"}
	p.name("name", c.Name, MaxName)
	p.text("header", c.Header, MaxName, false)
	if strings.ContainsFunc(c.Header, func(r rune) bool { return !isHeaderRune(r) }) {
		p.add("header", "%q is no name of a header", c.Header)
	}
	switch c.Kind {
	case CredentialHeader:
		if c.TokenURL != "" || c.ClientID != "" || len(c.Scopes) > 0 || c.Resource != "" || len(c.Token) > 0 {
			p.add("kind", "is header, which has no token_url, client_id, scopes, resource or token")
		}
	case CredentialOAuth:
		p.httpURL("token_url", c.TokenURL)
		p.text("client_id", c.ClientID, MaxClientID, true)
		p.text("resource", c.Resource, MaxURL, false)
	default:
		p.add("kind", "%q is not one of header, oauth", c.Kind)
	}
	if len(c.Scopes) > MaxCredentialScopes {
		p.add("scopes", "has %d, the limit is %d", len(c.Scopes), MaxCredentialScopes)
	}
	for _, scope := range c.Scopes {
		p.text("scopes", scope, MaxKey, true)
	}
	p.sealed("secret", c.Secret, true)
	p.sealed("token", c.Token, false)
	return p.err()
}

func (p *problems) sealed(field string, data []byte, required bool) {
	switch {
	case required && len(data) == 0:
		p.add(field, "is missing")
	case len(data) > MaxSealedSecret:
		p.add(field, "has %d bytes, the limit is %d", len(data), MaxSealedSecret)
	}
}

// ValidCredentialName reports why name cannot name a credential, or nil.
func ValidCredentialName(name string) error { return validName("credential", name) }

// isHeaderRune reports whether r may be in the name of a header (tchar of RFC
// 9110, 5.6.2).
func isHeaderRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", r)
}
