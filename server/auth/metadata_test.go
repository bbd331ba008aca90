package auth

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mcpraft/mcpraft/internal/fault"
)

func ask(a *Auth, method, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	a.Metadata().ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w
}

func TestWithoutAnIssuerClientsFindNothingToRegisterWith(t *testing.T) {
	local := small()
	local.Issuer = "our own" // no address: nobody can be sent there
	for name, a := range map[string]*fixture{"no issuer": newFixture(t), "an issuer without an address": newFixture(t, local)} {
		for _, path := range []string{
			resourcePath, resourcePath + "/mcp", resourcePath + "/servers/demo/mcp", serverPath, serverPath + "/mcp", openIDPath, "/register", "/authorize", "/token", "/.well-known/x",
		} {
			for _, method := range []string{http.MethodGet, http.MethodPost} {
				w := ask(a.Auth, method, path)
				var body struct {
					Error struct{ Code, Message, Hint string }
				}
				if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || w.Code != http.StatusNotFound || body.Error.Code != "not_found" || body.Error.Hint == "" ||
					w.Header().Get("Content-Type") != "application/json" || w.Header().Get("Access-Control-Allow-Origin") != "*" {
					t.Errorf("%s: %s %s = %d %s (%v)", name, method, path, w.Code, w.Body, err)
				}
			}
		}
		for _, err := range []error{fault.New(fault.Unauthenticated, "no"), fault.New(fault.Forbidden, "no")} {
			r := httptest.NewRequest(http.MethodPost, "/mcp", nil)
			r.Header.Set("Authorization", "Bearer x")
			if got := a.Challenge(r, err); got != "Bearer" {
				t.Errorf("%s: challenge %q, want a bare Bearer", name, got)
			}
		}
	}
}

func TestChallengeNamesTheMetadataOfTheEndpoint(t *testing.T) {
	f := newFixture(t, corp(t), small())
	lacking := fault.New(fault.Forbidden, "no").WithDetail("scope", "a b")
	refused := fault.New(fault.Unauthenticated, "no")
	for _, test := range []struct {
		path, token string
		err         error
		want        string
	}{
		{"/mcp", "", refused, `Bearer resource_metadata="https://mcp.example.org/.well-known/oauth-protected-resource/mcp", scope="mcp:use"`},
		{"/servers/demo/mcp", "Bearer x", refused, `Bearer error="invalid_token", resource_metadata="https://mcp.example.org/.well-known/oauth-protected-resource/servers/demo/mcp", scope="mcp:use"`},
		{"/servers/demo/mcp", "Bearer x", lacking, `Bearer error="insufficient_scope", resource_metadata="https://mcp.example.org/.well-known/oauth-protected-resource/servers/demo/mcp", scope="a b"`},
		{`/servers/"x/mcp`, "", refused, `Bearer resource_metadata="https://mcp.example.org/.well-known/oauth-protected-resource", scope="mcp:use"`},
	} {
		r := httptest.NewRequest(http.MethodPost, "/mcp", nil)
		r.URL.Path = test.path
		if test.token != "" {
			r.Header.Set("Authorization", test.token)
		}
		if got := f.Challenge(r, test.err); got != test.want {
			t.Errorf("%s\ngot  %s\nwant %s", test.path, got, test.want)
		}
	}
}

func TestMetadataIsThatOfTheEndpoint(t *testing.T) {
	f := newFixture(t, corp(t), small())
	for _, path := range []string{"", "/mcp", "/servers/demo/mcp"} {
		w := ask(f.Auth, http.MethodGet, resourcePath+path)
		var got struct {
			Resource string   `json:"resource"`
			Servers  []string `json:"authorization_servers"`
			Scopes   []string `json:"scopes_supported"`
			Methods  []string `json:"bearer_methods_supported"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK || got.Resource != "https://mcp.example.org"+path ||
			len(got.Servers) != 2 || got.Servers[0] != corpIssuer || strings.Join(got.Scopes, " ") != "mcp:use" || strings.Join(got.Methods, " ") != "header" {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	for _, path := range []string{resourcePath + "/servers/Demo/mcp", resourcePath + "/mcp/", resourcePath + "x", openIDPath, "/register", "/token"} {
		if w := ask(f.Auth, http.MethodGet, path); w.Code != http.StatusNotFound {
			t.Errorf("%s = %d %s", path, w.Code, w.Body)
		}
	}
	if w := ask(f.Auth, http.MethodOptions, resourcePath); w.Code != http.StatusNoContent || w.Header().Get("Access-Control-Allow-Methods") == "" {
		t.Errorf("OPTIONS = %d %v", w.Code, w.Header())
	}
	if w := ask(f.Auth, http.MethodPost, resourcePath); w.Code != http.StatusNotFound {
		t.Errorf("POST = %d", w.Code)
	}
}

// elsewhere answers by path.
type elsewhere map[string]string

func (e elsewhere) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	if body, ok := e[r.URL.String()]; ok {
		w.WriteString(body)
	} else {
		w.WriteHeader(http.StatusNotFound)
	}
	return w.Result(), nil
}

func TestOldClientsGetACopyOfTheServersMetadata(t *testing.T) {
	const document = `{"issuer":"` + corpIssuer + `","token_endpoint":"https://idp.example.org/token"}`
	for name, test := range map[string]struct {
		web  elsewhere
		code int
	}{
		"RFC 8414":  {elsewhere{"https://idp.example.org/.well-known/oauth-authorization-server/realms/corp": document}, http.StatusOK},
		"OpenID":    {elsewhere{corpIssuer + openIDPath: document}, http.StatusOK},
		"another's": {elsewhere{corpIssuer + openIDPath: `{"issuer":"https://evil.example"}`}, http.StatusServiceUnavailable},
		"no JSON":   {elsewhere{corpIssuer + openIDPath: `<html>`}, http.StatusServiceUnavailable},
		"none":      {elsewhere{}, http.StatusServiceUnavailable},
	} {
		f := newFixture(t, corp(t))
		f.servers.client = &http.Client{Transport: test.web}
		for _, path := range []string{serverPath, serverPath + "/mcp"} {
			w := ask(f.Auth, http.MethodGet, path)
			if w.Code != test.code || w.Code == http.StatusOK && w.Body.String() != document || strings.Contains(w.Body.String(), "evil") {
				t.Errorf("%s: %d %s", name, w.Code, w.Body)
			}
		}
	}
}
