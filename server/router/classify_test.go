package router

import (
	"strings"
	"testing"

	"github.com/mcpraft/mcpraft/server/mcp"
)

// Each row is a way to open a request, and who answers it (reference 1.16 and the
// exceptions of the design).
func TestEraIsDecidedPerRequest(t *testing.T) {
	const (
		bare   = `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`
		meta   = `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}`
		other  = `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"progressToken":1}}}`
		open   = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}`
		notice = `{"jsonrpc":"2.0","method":"notifications/initialized"}`
	)
	for name, c := range map[string]struct {
		sent   sent
		body   string
		modern bool
	}{
		"header and meta":                         {sent{version: "2026-07-28"}, meta, true},
		"only meta":                               {sent{}, meta, true},
		"only header":                             {sent{version: "2026-07-28"}, bare, true},
		"header of a later revision":              {sent{version: "2031-01-01"}, bare, true},
		"legacy header":                           {sent{version: "2025-11-25"}, bare, false},
		"no claim":                                {sent{}, bare, false},
		"a session's request with modern header":  {sent{version: "2026-07-28", session: "s"}, bare, false},
		"the same with other members in meta":     {sent{version: "2026-07-28", session: "s"}, other, false},
		"meta beside a session id":                {sent{version: "2026-07-28", session: "s"}, meta, true},
		"initialize after a modern discover":      {sent{version: "2026-07-28"}, open, false},
		"a session's notification, modern header": {sent{version: "2026-07-28", session: "s"}, notice, false},
	} {
		t.Run(name, func(t *testing.T) {
			got := classify(c.sent.request(), parse(t, c.body))
			if got.modern != c.modern {
				t.Errorf("modern = %v, want %v", got.modern, c.modern)
			}
		})
	}
}

func TestModernClaimThatIsIncompleteIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		sent sent
		body string
		code int
	}{
		"only the header": {
			sent{version: "2026-07-28", method: "tools/list"}, `{"jsonrpc":"2.0","id":7,"method":"tools/list"}`, mcp.CodeInvalidParams,
		},
		"only _meta":                 {sent{method: "tools/list"}, modernBody("tools/list", ""), mcp.CodeHeaderMismatch},
		"they differ":                {sent{version: "2025-11-25", method: "tools/list"}, modernBody("tools/list", ""), mcp.CodeHeaderMismatch},
		"a revision that is unknown": {sent{version: "2031-01-01", method: "tools/list"}, strings.ReplaceAll(modernBody("tools/list", ""), "2026-07-28", "2031-01-01"), mcp.CodeUnsupportedVersion},
		"a legacy revision":          {sent{version: "2025-11-25", method: "tools/list"}, strings.ReplaceAll(modernBody("tools/list", ""), "2026-07-28", "2025-11-25"), mcp.CodeUnsupportedVersion},
		"a version that is no text":  {sent{version: "2026-07-28", method: "tools/list"}, strings.ReplaceAll(modernBody("tools/list", ""), `"2026-07-28"`, "3"), mcp.CodeInvalidParams},
		"no capabilities":            {sent{version: "2026-07-28", method: "tools/list"}, strings.ReplaceAll(modernBody("tools/list", ""), "clientCapabilities", "other"), mcp.CodeInvalidParams},
		"a log level that is none":   {sent{version: "2026-07-28", method: "tools/list"}, strings.ReplaceAll(modernBody("tools/list", ""), `"io.modelcontextprotocol/clientCap`, `"io.modelcontextprotocol/logLevel":"loud","io.modelcontextprotocol/clientCap`), mcp.CodeInvalidParams},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			e := wantError(t, w.post(t, c.sent, c.body), c.code, 400)
			if string(mcp.Field(e.Data, "request_id")) != `"req-1"` {
				t.Errorf("data = %s, want the request's id in it", e.Data)
			}
			if c.code == mcp.CodeUnsupportedVersion && !strings.Contains(string(e.Data), `"supported":["2026-07-28","2025-11-25"`) {
				t.Errorf("data = %s, want what is supported", e.Data)
			}
		})
	}
}

func TestSessionlessLegacyRequestsAreRefusedButPing(t *testing.T) {
	w := newWorld(t)
	wantResult(t, w.post(t, sent{}, `{"jsonrpc":"2.0","id":1,"method":"ping"}`), "{}")
	wantError(t, w.post(t, sent{}, `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`), mcp.CodeInvalidRequest, 400)
	wantError(t, w.post(t, sent{}, `{"jsonrpc":"2.0","method":"notifications/initialized"}`), mcp.CodeInvalidRequest, 400)
}
