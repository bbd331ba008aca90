package auth

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/strictjson"
)

const (
	resourcePath = "/.well-known/oauth-protected-resource"   // RFC 9728
	serverPath   = "/.well-known/oauth-authorization-server" // RFC 8414
	openIDPath   = "/.well-known/openid-configuration"

	mirrorFor   = 15 * time.Minute // that a copy of a server's metadata is shown
	mirrorRetry = 10 * time.Second // after it could not be fetched
)

// Challenge is the value of WWW-Authenticate for r, which was refused with err.
// Without an issuer that clients can be sent to it is a bare "Bearer": anything
// more would make them look for a server to register with.
func (a *Auth) Challenge(r *http.Request, err error) string {
	if len(a.servers.list) == 0 {
		return "Bearer"
	}
	e := fault.As(err)
	challenge := "Bearer "
	scope := a.servers.scopes
	switch {
	case e != nil && e.Kind == fault.Forbidden:
		challenge += `error="insufficient_scope", `
		if lacking := e.Details["scope"]; lacking != "" {
			scope = lacking
		}
	case r.Header.Get("Authorization") != "":
		challenge += `error="invalid_token", `
	}
	challenge += `resource_metadata="` + a.c.PublicURL + resourcePath + endpoint(r.URL.Path) + `"`
	if scope != "" {
		challenge += `, scope="` + scope + `"`
	}
	return challenge
}

// endpoint is path if it is that of an MCP endpoint, else "".
func endpoint(path string) string {
	alias, ok := strings.CutPrefix(path, "/servers/")
	if ok {
		alias, ok = strings.CutSuffix(alias, "/mcp")
	}
	if path == "/mcp" || ok && record.ValidAlias(alias) == nil {
		return path
	}
	return ""
}

// Metadata answers what clients ask before they have a token: all of
// /.well-known/, and /register, /authorize and /token, where old clients look for
// a server. It needs no authentication and tells every page (CORS). With issuers
// it has the resource metadata of each endpoint, and a copy of the first issuer's
// own metadata for clients of 2025-03-26, who look for it here; anything else,
// and everything without issuers, is a 404 in JSON.
func (a *Auth) Metadata() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		if r.Method == http.MethodOptions {
			h.Set("Access-Control-Allow-Methods", "GET, OPTIONS")
			h.Set("Access-Control-Allow-Headers", "MCP-Protocol-Version")
			w.WriteHeader(http.StatusNoContent)
			return
		}
		document, err := a.document(r)
		if err != nil {
			answer(w, fault.Of(err).Status(), errorBody(err))
			return
		}
		answer(w, http.StatusOK, document)
	})
}

func answer(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // an error here means that nobody listens
}

func errorBody(err error) []byte {
	e := fault.As(err)
	type body struct {
		Code      string `json:"code"`
		Message   string `json:"message"`
		Hint      string `json:"hint,omitempty"`
		Retryable bool   `json:"retryable"`
	}
	text, err := json.Marshal(map[string]body{"error": {e.Kind.String(), e.Message, e.Hint, e.Kind.Retryable()}})
	if err != nil {
		return []byte("{}") // strings and a bool always encode
	}
	return text
}

// document is what is to be read at r.
func (a *Auth) document(r *http.Request) ([]byte, error) {
	path := r.URL.Path
	if len(a.servers.list) == 0 {
		return nil, fault.New(fault.NotFound, "there is nothing at %s: this gateway uses no OAuth server", path).
			WithHint("send Authorization: Bearer TOKEN with an API token")
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return nil, fault.New(fault.NotFound, "there is nothing at %s for %s", path, r.Method).
			WithHint("the authorization server is named in %s", resourcePath)
	}
	if of, ok := strings.CutPrefix(path, resourcePath); ok && endpoint(of) == of {
		return a.resource(of)
	}
	if of, ok := strings.CutPrefix(path, serverPath); ok && endpoint(of) == of {
		return a.servers.metadata(r.Context())
	}
	return nil, fault.New(fault.NotFound, "there is nothing at %s", path).
		WithHint("the authorization server is named in %s", resourcePath)
}

// resource is the metadata of the endpoint at path, "" for the gateway.
func (a *Auth) resource(path string) ([]byte, error) {
	return strictjson.Marshal(struct {
		Resource string   `json:"resource"`
		Servers  []string `json:"authorization_servers"`
		Scopes   []string `json:"scopes_supported,omitempty"`
		Methods  []string `json:"bearer_methods_supported"`
		Name     string   `json:"resource_name"`
	}{a.c.PublicURL + path, a.servers.list, strings.Fields(a.servers.scopes), []string{"header"}, "mcpraft"})
}

// servers are the issuers that clients can be sent to.
type servers struct {
	list   []string // addresses
	scopes string   // that a token of the first must have
	client *http.Client

	mu    sync.Mutex // held while the copy is fetched: the others wait for it
	copy  []byte     // of the metadata of the first
	err   error      // why there is no copy
	until time.Time  // copy and err count
}

func newServers(issuers []Issuer, client *http.Client) *servers {
	s := &servers{client: client}
	for _, i := range issuers {
		if !i.isServer() {
			continue
		}
		if len(s.list) == 0 {
			s.scopes = strings.Join(i.Scopes, " ")
		}
		s.list = append(s.list, i.Issuer)
	}
	return s
}

// metadata is a copy of what the first server publishes.
func (s *servers) metadata(ctx context.Context) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Now().Before(s.until) {
		return s.copy, s.err
	}
	s.copy, s.err = s.fetch(context.WithoutCancel(ctx))
	s.until = time.Now().Add(mirrorFor)
	if s.err != nil {
		s.err = fault.New(fault.Unavailable, "the metadata of the authorization server cannot be fetched: %w", s.err).
			WithHint("ask %s itself", s.list[0]).After(mirrorRetry)
		s.until = time.Now().Add(mirrorRetry)
	}
	return s.copy, s.err
}

// fetch tries the two places where a server's metadata can be.
func (s *servers) fetch(ctx context.Context) ([]byte, error) {
	issuer := s.list[0]
	u, err := url.Parse(issuer)
	if err != nil {
		return nil, err
	}
	inserted := *u
	inserted.Path = serverPath + strings.TrimSuffix(u.Path, "/")
	text, err := s.get(ctx, issuer, inserted.String())
	if err != nil {
		text, err = s.get(ctx, issuer, strings.TrimSuffix(issuer, "/")+openIDPath)
	}
	return text, err
}

func (s *servers) get(ctx context.Context, issuer, at string) ([]byte, error) {
	text, err := get(ctx, s.client, at)
	if err != nil {
		return nil, err
	}
	var document struct {
		Issuer string `json:"issuer"`
	}
	rules := strictjson.Rules{Depth: maxKeySetDepth, AllowUnknown: true}
	if err := rules.DecodeBytes(text, &document); err != nil {
		return nil, err
	}
	if document.Issuer != issuer {
		return nil, fault.New(fault.Integrity, "%s is the metadata of %q, not of %q", at, document.Issuer, issuer)
	}
	return text, nil
}
