package server

import (
	"context"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/server/catalog"
	"github.com/mcpraft/mcpraft/server/mcp"
	"github.com/mcpraft/mcpraft/server/upstream"
)

// buildCatalog makes the catalogue of this node, and the duty that lists upstreams
// while this node leads.
func (s *Server) buildCatalog(self record.Principal) {
	s.catalog = catalog.New(s.node, s.log)
	s.node.Watch(s.catalog.Changed)
	s.registry.MustRegister(s.catalog.Collector())
	watchers := catalog.NewWatchers(catalog.WatchersConfig{
		Replica:   s.node,
		Upstreams: lister{upstreams: s.upstreams, caller: upstream.Caller{Principal: self, Capabilities: listedFor}},
		Actor:     self,
		Metrics:   catalog.NewMetrics(s.registry),
		Logger:    s.log,
	})
	s.node.Watch(watchers.Changed)
	s.node.Duty("catalogue", watchers.Run)
}

// listedFor are the capabilities of the clients that upstreams are listed for: there
// are upstreams that show those of their tools only that the client in front of them
// can be asked by. Whose client lacks them learns it from the call.
var listedFor = []byte(`{"elicitation":{},"sampling":{}}`)

// A lister is how the catalogue reaches upstreams: as the node itself, in upstream
// sessions of its own. What upstreams ask it is refused.
type lister struct {
	upstreams *upstream.Upstreams
	caller    upstream.Caller
}

func (l lister) Open(ctx context.Context, alias string) (catalog.Opened, error) {
	o, err := l.upstreams.Open(ctx, alias, l.caller)
	return catalog.Opened{Modern: o.Modern, Version: string(o.Version), Initialize: o.Initialize}, err
}

func (l lister) Request(ctx context.Context, alias, method string, params []byte) ([]byte, error) {
	answer, err := l.upstreams.Call(ctx, alias, l.caller, mcp.Request(mcp.NumberID(0), method, params), nil)
	if err != nil {
		return nil, err
	}
	if answer.Kind() != mcp.KindResult {
		return nil, answer.Err()
	}
	return answer.Result(), nil
}

func (l lister) Listen(ctx context.Context, alias string, heard func(method string), gap func()) error {
	w := upstream.Watch{Tools: true, Prompts: true, Resources: true, Missed: gap}
	return l.upstreams.Listen(ctx, alias, l.caller, w, func(m *mcp.Message) { heard(m.Method()) })
}
