package router

import (
	"context"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/server/exchange"
	"github.com/mcpraft/mcpraft/server/mcp"
	"github.com/mcpraft/mcpraft/server/session"
	"github.com/mcpraft/mcpraft/server/upstream"
)

// transport is how clients of these sessions reach us.
const transport = "streamable-http"

// initialize opens a session: first at the upstream, with what the client can be
// asked there, then in the cluster, and only then is the client told. A session of
// the aggregate opens nothing at upstreams before it calls them.
func (r *Router) initialize(ctx context.Context, q *exchange.Request, m *mcp.Message, c *claim) (exchange.Answer, error) {
	draft, e := draftOf(q, c)
	if e != nil {
		return refuse(q, m, e), nil
	}
	if q.Alias == "" {
		id, err := r.sessions.Create(ctx, draft)
		if err != nil {
			return exchange.Answer{}, err
		}
		return exchange.Answer{Message: mcp.Answer(m.ID(), r.joinedInitialize(draft.Protocol)), Session: id}, nil
	}
	caller := upstream.Caller{
		Principal: q.Caller.Principal,
		Session:   draft.ID,
		// To an upstream of the other era nothing is declared before a call.
		Capabilities: declared(draft.Capabilities, eras{client: draft.Protocol, upstream: draft.Protocol}),
		ClientInfo:   draft.ClientInfo,
		Version:      draft.Protocol,
	}
	opened, err := r.upstreams.Open(ctx, q.Alias, caller)
	if err != nil {
		return r.notCalled(q, m, err)
	}
	caller.Binding = &record.Binding{Alias: q.Alias, Protocol: string(opened.Version), Session: []byte(opened.Session)}
	draft.Bindings = []record.Binding{*caller.Binding}
	id, err := r.sessions.Create(ctx, draft)
	if err != nil {
		r.upstreams.Close(context.WithoutCancel(ctx), q.Alias, caller)
		return exchange.Answer{}, err
	}
	return exchange.Answer{Message: mcp.Answer(m.ID(), initialized(opened.Initialize, draft.Protocol)), Session: id}, nil
}

// draftOf reads what a client says of itself. Who leaves capabilities or its name
// out has none.
func draftOf(q *exchange.Request, c *claim) (*session.Draft, *mcp.Error) {
	requested, ok := mcp.Text(mcp.Field(c.params, "protocolVersion"))
	if !ok {
		return nil, invalidParams("params.protocolVersion of initialize is missing or not a string; supported versions %s", versionList)
	}
	capabilities := object(mcp.Field(c.params, "capabilities"))
	if capabilities == nil {
		capabilities = []byte("{}")
	}
	info := object(mcp.Field(c.params, "clientInfo"))
	if len(capabilities) > record.MaxCapabilities || len(info) > record.MaxClientInfo {
		return nil, invalidParams("params of initialize are too large: capabilities may have %d bytes, clientInfo %d", record.MaxCapabilities, record.MaxClientInfo)
	}
	return &session.Draft{
		ID:           session.NewID(),
		Caller:       q.Caller,
		Protocol:     mcp.NegotiateLegacy(requested),
		Capabilities: capabilities,
		ClientInfo:   info,
		Endpoint:     q.Alias,
		Transport:    transport,
		RequestID:    q.ID,
	}, nil
}

// object is value if it is an object, otherwise nil.
func object(value []byte) []byte {
	if len(value) == 0 || value[0] != '{' {
		return nil
	}
	return value
}

// initialized is the upstream's result of initialize as the client gets it: in the
// revision that was agreed on with the client, with the capabilities that can be
// carried.
func initialized(result []byte, v mcp.Version) []byte {
	if result == nil {
		result = []byte("{}")
	}
	capabilities := object(mcp.Field(result, "capabilities"))
	if capabilities == nil {
		capabilities = []byte("{}")
	}
	result = mcp.WithField(result, offered(capabilities), "capabilities")
	return mcp.WithField(result, mcp.Quote(string(v)), "protocolVersion")
}
