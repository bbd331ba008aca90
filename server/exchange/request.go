package exchange

import (
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
)

// A Caller is who sent a request, as authentication found. It is valid for one
// request only: what a token may do is looked up again for the next.
type Caller struct {
	Principal record.Principal // never empty
	ClientID  string           // of the token, or what the client calls itself; "" if unknown
	Method    string           // "jwt", "token" or "dev"
	Expires   time.Time        // when the credentials end, and with them every stream; zero: never
	Scopes    []string         // of the token
	Admin     bool             // may use the admin API
}

// A Request is one HTTP request to an MCP endpoint, without its body. The
// header fields hold values as they came, trimmed of surrounding blanks and not
// decoded; Has… tells an empty header from an absent one. A header that came
// more than once holds all values joined by ", " and so equals none of them.
//
// The carrier fills it and does not touch it again before the Handler returns.
type Request struct {
	ID     string // of this request, in logs and in errors: never the JSON-RPC id
	Alias  string // of the upstream in /servers/{alias}/mcp; "" is the aggregate
	Caller Caller
	Remote string // address of the client, for logs

	Session     string // Mcp-Session-Id
	HasSession  bool
	Version     string // MCP-Protocol-Version
	HasVersion  bool
	Method      string // Mcp-Method
	HasMethod   bool
	Name        string // Mcp-Name
	HasName     bool
	LastEventID string // Last-Event-ID; "" if absent

	// Param is the value of the header Mcp-Param-{name}, by a name in any case.
	// Nil means that the carrier saw no such header.
	Param func(name string) (value string, ok bool)

	// JSONOnly is set when the client takes no event stream. Nothing can be sent
	// before the answer then, so whoever would ask this client something must
	// refuse instead.
	JSONOnly bool
}
