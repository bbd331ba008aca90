package admin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

// An Authenticator says who presents a bearer token. It is called for each
// request from any number of goroutines, and once for a stream. A token that it
// does not accept is fault.Unauthenticated.
type Authenticator interface {
	Authenticate(ctx context.Context, token string) (record.Principal, error)
}

// A Token is a bearer token with a name of its own. Who has it administers the
// cluster.
type Token struct {
	Name   string // subject of the principal
	Secret string // at least MinSecret bytes
}

// MinSecret is the least length of a token, in bytes.
const MinSecret = 16

// TokenIssuer is the issuer of the principals behind Tokens.
const TokenIssuer = "mcpraft"

// Tokens accepts a fixed list of tokens. It is an error for one to be short or
// unnamed; an empty list accepts nobody.
func Tokens(list ...Token) (Authenticator, error) {
	known := make(tokens, 0, len(list))
	for _, t := range list {
		if len(t.Secret) < MinSecret || t.Name == "" {
			return nil, fault.New(fault.Invalid, "token %q has %d bytes, want a name and at least %d bytes", t.Name, len(t.Secret), MinSecret).
				WithHint("make one with: openssl rand -hex 32")
		}
		known = append(known, tokenHash{sha256.Sum256([]byte(t.Secret)), record.Principal{Issuer: TokenIssuer, Subject: t.Name}})
	}
	return known, nil
}

type tokenHash struct {
	sum       [sha256.Size]byte
	principal record.Principal
}

type tokens []tokenHash

// Authenticate compares the hash of token with each known one in constant time.
func (list tokens) Authenticate(_ context.Context, token string) (record.Principal, error) {
	sum := sha256.Sum256([]byte(token))
	var found record.Principal
	for i := range list {
		if subtle.ConstantTimeCompare(sum[:], list[i].sum[:]) == 1 {
			found = list[i].principal
		}
	}
	if found == (record.Principal{}) {
		return found, fault.New(fault.Unauthenticated, "the bearer token is not one of this cluster").
			WithHint("mcpraft dev keeps its token in a CLI context (mcpraft context show); the first token of a production cluster is in the file named by auth.bootstrap_token_file")
	}
	return found, nil
}

// authenticate says who sent r.
func (a *API) authenticate(r *http.Request) (record.Principal, error) {
	values := r.Header["Authorization"]
	if len(values) == 0 {
		return record.Principal{}, fault.New(fault.Unauthenticated, "the request has no Authorization header").
			WithHint("send Authorization: Bearer TOKEN")
	}
	scheme, token, ok := strings.Cut(values[0], " ")
	if len(values) > 1 || !ok || !strings.EqualFold(scheme, "Bearer") || token == "" {
		return record.Principal{}, fault.New(fault.Unauthenticated, "the Authorization header is not one bearer token").
			WithHint("send Authorization: Bearer TOKEN")
	}
	return a.c.Authenticator.Authenticate(r.Context(), token)
}
