package adminapi

import (
	"context"
	"net/url"
)

// A CredentialSpec is what a caller says of a credential for upstreams.
type CredentialSpec struct {
	Kind     string   `cbor:"11,keyasint" json:"kind"`                          // header, oauth
	Header   string   `cbor:"12,keyasint,omitempty" json:"header,omitempty"`    // that carries it; "" means Authorization
	TokenURL string   `cbor:"13,keyasint,omitempty" json:"token_url,omitempty"` // oauth: where access tokens are asked for
	ClientID string   `cbor:"14,keyasint,omitempty" json:"client_id,omitempty"` // oauth
	Scopes   []string `cbor:"15,keyasint,omitempty" json:"scopes,omitempty"`    // oauth; at most 32
	Resource string   `cbor:"16,keyasint,omitempty" json:"resource,omitempty"`  // oauth: for whom the tokens are (RFC 8707)
}

// A Credential is one without its secret, which nobody can read again.
type Credential struct {
	Name string `cbor:"10,keyasint" json:"name"`
	CredentialSpec
	TokenExpires Time   `cbor:"20,keyasint,omitempty" json:"token_expires,omitzero"` // oauth: until when the newest access token is used
	Created      Time   `cbor:"21,keyasint,omitempty" json:"created,omitzero"`
	Updated      Time   `cbor:"22,keyasint,omitempty" json:"updated,omitzero"`
	Revision     uint64 `cbor:"23,keyasint,omitempty" json:"revision"`
}

// PutCredentialRequest creates a credential, or replaces the one that has revision
// IfMatch. Without IfMatch an existing name is a conflict. It takes no
// IdempotencyKey: what a key remembers of a request is no place for a secret.
type PutCredentialRequest struct {
	WriteOptions
	Name string `cbor:"10,keyasint" json:"-"` // [a-z0-9][a-z0-9-]{0,62}
	NewCredential
}

// A NewCredential is the body of PutCredentialRequest.
type NewCredential struct {
	CredentialSpec
	Secret string `cbor:"17,keyasint" json:"secret"` // the header's value or the client's secret, at most 16 KiB
}

// CredentialsRequest lists credentials in the order of their names.
type CredentialsRequest struct {
	ReadOptions
	After string `cbor:"10,keyasint,omitempty"`
	Limit uint64 `cbor:"11,keyasint,omitempty"` // 1 to 1000; 0 means 100
}

// CredentialRequest reads one credential.
type CredentialRequest struct {
	bare
	ReadOptions
	Name string `cbor:"10,keyasint"`
}

// RemoveCredentialRequest removes one credential; IfMatch is optional. While an
// upstream names it that is a conflict.
type RemoveCredentialRequest struct {
	bare
	WriteOptions
	Name string `cbor:"10,keyasint"`
}

func (*PutCredentialRequest) op() Op    { return OpPutCredential }
func (*CredentialsRequest) op() Op      { return OpCredentials }
func (*CredentialRequest) op() Op       { return OpCredential }
func (*RemoveCredentialRequest) op() Op { return OpRemoveCredential }

func credentialPath(name string) string { return "/v1/credentials/" + segment(name) }

func (r *PutCredentialRequest) path() string    { return credentialPath(r.Name) }
func (*CredentialsRequest) path() string        { return "/v1/credentials" }
func (r *CredentialRequest) path() string       { return credentialPath(r.Name) }
func (r *RemoveCredentialRequest) path() string { return credentialPath(r.Name) }

func (*PutCredentialRequest) parameters(url.Values) {}
func (r *PutCredentialRequest) body() any           { return &r.NewCredential }
func (*CredentialsRequest) body() any               { return nil }
func (r *CredentialsRequest) parameters(q url.Values) {
	setIf(q, "after", r.After)
	setNumber(q, "limit", r.Limit)
}

// PutCredential creates or replaces a credential.
func (c *Client) PutCredential(ctx context.Context, r *PutCredentialRequest) (Receipt, Info, error) {
	return call[Receipt](ctx, c, r)
}

// Credentials lists credentials.
func (c *Client) Credentials(ctx context.Context, r *CredentialsRequest) (Page[Credential], Info, error) {
	return call[Page[Credential]](ctx, c, r)
}

// Credential reads one credential.
func (c *Client) Credential(ctx context.Context, r *CredentialRequest) (Credential, Info, error) {
	return call[Credential](ctx, c, r)
}

// RemoveCredential removes one credential.
func (c *Client) RemoveCredential(ctx context.Context, r *RemoveCredentialRequest) (Receipt, Info, error) {
	return call[Receipt](ctx, c, r)
}
