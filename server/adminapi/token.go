package adminapi

import (
	"context"
	"net/url"
)

// Life of an API token.
const (
	DefaultTokenTTL = Duration(90 * 24 * 3600 * 1000)
	MaxTokenTTL     = Duration(366 * 24 * 3600 * 1000)
)

// A TokenSpec is what a caller says of an API token.
type TokenSpec struct {
	Name     string     `cbor:"10,keyasint" json:"name"`                          // 1 to 63 of a-z, 0-9 and -
	User     *Principal `cbor:"11,keyasint,omitempty" json:"user,omitempty"`      // who its holder is; absent: issuer mcpraft, subject its name
	ClientID string     `cbor:"12,keyasint,omitempty" json:"client_id,omitempty"` // at most 256 bytes
	Admin    bool       `cbor:"13,keyasint,omitempty" json:"admin,omitempty"`     // may use this API too; without it MCP only
	Scopes   []string   `cbor:"14,keyasint,omitempty" json:"scopes,omitempty"`    // at most 32
	TTL      Duration   `cbor:"15,keyasint,omitempty" json:"ttl,omitzero"`        // 1s to 366 days; 0 means 90 days
}

// A Token is an API token without its secret, which nobody can read again.
type Token struct {
	Name     string    `cbor:"1,keyasint" json:"name"`
	User     Principal `cbor:"2,keyasint" json:"user"`
	ClientID string    `cbor:"3,keyasint,omitempty" json:"client_id,omitempty"`
	Admin    bool      `cbor:"4,keyasint,omitempty" json:"admin,omitempty"`
	Scopes   []string  `cbor:"5,keyasint,omitempty" json:"scopes,omitempty"`
	Created  Time      `cbor:"6,keyasint,omitempty" json:"created,omitzero"`
	Expires  Time      `cbor:"7,keyasint,omitempty" json:"expires,omitzero"`
	Revision uint64    `cbor:"8,keyasint,omitempty" json:"revision"`
}

// A CreatedToken answers CreateTokenRequest: the one time that the token is told.
type CreatedToken struct {
	Name     string `cbor:"1,keyasint" json:"name"`
	Token    string `cbor:"2,keyasint" json:"token"` // mcpraft_NAME_SECRET
	Expires  Time   `cbor:"3,keyasint,omitempty" json:"expires,omitzero"`
	Revision uint64 `cbor:"4,keyasint,omitempty" json:"revision"`
}

// CreateTokenRequest makes an API token, or gives the one of revision IfMatch a
// new secret and what the request says. Without IfMatch an existing name is a
// conflict. It takes no IdempotencyKey: a secret cannot be told twice.
type CreateTokenRequest struct {
	WriteOptions
	TokenSpec
}

// TokensRequest lists API tokens in the order of their names.
type TokensRequest struct {
	ReadOptions
	After string `cbor:"10,keyasint,omitempty"`
	Limit uint64 `cbor:"11,keyasint,omitempty"` // 1 to 1000; 0 means 100
}

// TokenRequest reads one API token.
type TokenRequest struct {
	bare
	ReadOptions
	Name string `cbor:"10,keyasint"`
}

// RevokeTokenRequest revokes one API token; IfMatch is optional. A node refuses
// the token as soon as it has applied the change.
type RevokeTokenRequest struct {
	bare
	WriteOptions
	Name string `cbor:"10,keyasint"`
}

// RotateKeysRequest begins a rotation of the cluster's own keys now: new ids and
// sealed records use the new key a minute later, the old one verifies for a week.
type RotateKeysRequest struct {
	bare
	WriteOptions
}

func (*CreateTokenRequest) op() Op { return OpCreateToken }
func (*TokensRequest) op() Op      { return OpTokens }
func (*TokenRequest) op() Op       { return OpToken }
func (*RevokeTokenRequest) op() Op { return OpRevokeToken }
func (*RotateKeysRequest) op() Op  { return OpRotateKeys }

func tokenPath(name string) string { return "/v1/tokens/" + segment(name) }

func (*CreateTokenRequest) path() string   { return "/v1/tokens" }
func (*TokensRequest) path() string        { return "/v1/tokens" }
func (r *TokenRequest) path() string       { return tokenPath(r.Name) }
func (r *RevokeTokenRequest) path() string { return tokenPath(r.Name) }
func (*RotateKeysRequest) path() string    { return "/v1/keys/rotate" }

func (*CreateTokenRequest) parameters(url.Values) {}
func (r *CreateTokenRequest) body() any           { return &r.TokenSpec }
func (*TokensRequest) body() any                  { return nil }
func (r *TokensRequest) parameters(q url.Values) {
	setIf(q, "after", r.After)
	setNumber(q, "limit", r.Limit)
}

// CreateToken makes an API token.
func (c *Client) CreateToken(ctx context.Context, r *CreateTokenRequest) (CreatedToken, Info, error) {
	return call[CreatedToken](ctx, c, r)
}

// Tokens lists API tokens.
func (c *Client) Tokens(ctx context.Context, r *TokensRequest) (Page[Token], Info, error) {
	return call[Page[Token]](ctx, c, r)
}

// Token reads one API token.
func (c *Client) Token(ctx context.Context, r *TokenRequest) (Token, Info, error) {
	return call[Token](ctx, c, r)
}

// RevokeToken revokes one API token.
func (c *Client) RevokeToken(ctx context.Context, r *RevokeTokenRequest) (Receipt, Info, error) {
	return call[Receipt](ctx, c, r)
}

// RotateKeys begins a rotation of the cluster's own keys.
func (c *Client) RotateKeys(ctx context.Context, r *RotateKeysRequest) (Receipt, Info, error) {
	return call[Receipt](ctx, c, r)
}
