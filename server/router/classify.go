package router

import (
	"github.com/mcpraft/mcpraft/server/exchange"
	"github.com/mcpraft/mcpraft/server/mcp"
)

// A claim is what a message says about its era, read once. The slices are parts of
// the message.
type claim struct {
	params  []byte // nil: absent
	meta    []byte // params._meta; nil: absent
	version []byte // the protocol version in meta, as JSON; nil: absent
	modern  bool   // to be answered by the rules of 2026-07-28 and later
}

// classify decides the era of one message. It looks at nothing but this request:
// connections have no era.
//
// A protocol version in _meta makes a message modern. So does a header of a
// modern revision, with two exceptions that real clients need: with a session id
// the message is that session's, and an initialize opens a session as ever.
func classify(q *exchange.Request, m *mcp.Message) claim {
	c := claim{params: m.Params()}
	if c.params != nil {
		c.meta = mcp.Field(c.params, "_meta")
	}
	if c.meta != nil {
		c.version = mcp.Field(c.meta, mcp.MetaProtocolVersion)
	}
	switch {
	case c.version != nil:
		c.modern = true
	case q.HasVersion && mcp.Version(q.Version).Modern():
		c.modern = !q.HasSession && m.Method() != mcp.Initialize
	}
	return c
}
