package front

import (
	"net/http"
	"strings"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// A place is what lies at a path.
type place uint8

const (
	nowhere   place = iota
	endpoint        // of MCP
	discovery       // where OAuth clients look
)

// oauthPaths are what OAuth clients of the earlier revisions try without having
// found metadata.
var oauthPaths = map[string]bool{"/register": true, "/authorize": true, "/token": true}

// placeOf says what lies at path, and the alias if it is the endpoint of one
// upstream. A slash at the end is no difference: people write it.
func placeOf(path string) (p place, alias string) {
	path = strings.TrimSuffix(path, "/")
	if path == "/mcp" {
		return endpoint, ""
	}
	if rest, ok := strings.CutPrefix(path, "/servers/"); ok {
		if alias, ok := strings.CutSuffix(rest, "/mcp"); ok && alias != "" && !strings.Contains(alias, "/") {
			return endpoint, alias
		}
		return nowhere, ""
	}
	if strings.HasPrefix(path, "/.well-known/") || oauthPaths[path] {
		return discovery, ""
	}
	return nowhere, ""
}

// noSuchPlace is the error of a path where nothing is.
func noSuchPlace(path string) error {
	return fault.New(fault.NotFound, "there is nothing at %s", path).
		WithHint("MCP is at /servers/{name}/mcp, one MCP server each, and at /mcp; the admin API has a port of its own")
}

// noMethod is the error of a method that no endpoint has.
func noMethod(method, why string) error {
	return fault.New(fault.MethodNotAllowed, "%s is not answered here", method).WithHint("%s", why)
}

func checkMethod(method string) error {
	switch method {
	case http.MethodPost, http.MethodGet, http.MethodDelete:
		return nil
	}
	return noMethod(method, "an MCP endpoint takes POST (a message), GET (the stream of a session) and DELETE (the end of a session)")
}
