package router

import (
	"context"

	"github.com/mcpraft/mcpraft/server/exchange"
	"github.com/mcpraft/mcpraft/server/mcp"
	"github.com/mcpraft/mcpraft/server/upstream"
)

// discover answers server/discover from what the upstream said of itself: we speak
// all revisions for it.
func (r *Router) discover(ctx context.Context, q *exchange.Request, m *mcp.Message, caller upstream.Caller) (exchange.Answer, error) {
	p, err := r.profile(ctx, q.Alias, caller)
	if err != nil {
		return r.notCalled(q, m, err)
	}
	return exchange.Answer{Message: mcp.Answer(m.ID(), discovery(p))}, nil
}

// supportedVersions is the list of every revision, as JSON.
var supportedVersions = marshal(mcp.Versions())

// discovery is the result of server/discover for an upstream: its own, if it is
// modern, otherwise made from what it answered to initialize.
func discovery(p *profile) []byte {
	result := p.discover
	if result == nil {
		result = []byte("{}")
		for _, name := range []string{"capabilities", "instructions"} {
			if value := mcp.Field(p.initialize, name); value != nil {
				result = mcp.WithField(result, value, name)
			}
		}
	}
	capabilities := mcp.Field(result, "capabilities")
	if capabilities == nil {
		capabilities = []byte("{}")
	}
	result = mcp.WithField(result, offered(capabilities), "capabilities")
	result = mcp.WithField(result, supportedVersions, "supportedVersions")
	return completed(mcp.Discover, result, p.serverInfo)
}

// marshal is for values of our own, which cannot fail.
func marshal(v any) []byte {
	raw, err := mcp.Marshal(v)
	if err != nil {
		panic("router: " + err.Error())
	}
	return raw
}
