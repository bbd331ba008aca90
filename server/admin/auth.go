package admin

import (
	"context"
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
