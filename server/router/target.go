package router

import (
	"strings"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/server/catalog"
	"github.com/mcpraft/mcpraft/server/exchange"
	"github.com/mcpraft/mcpraft/server/mcp"
)

// A target is what a request of the aggregate is about.
type target struct {
	route
	request *mcp.Message  // in the upstream's names
	item    *catalog.Item // the tool or prompt; nil if it is about a resource
}

// verbatim is the target of a request at the endpoint of one upstream.
func verbatim(q *exchange.Request, m *mcp.Message) *target {
	return &target{route: route{alias: q.Alias}, request: m}
}

// targetOf finds the upstream that a request is for by looking its name up. Only a
// URI that nobody lists is taken apart: results may name resources that no list
// has.
func (r *Router) targetOf(v *catalog.View, m *mcp.Message, params []byte) (*target, *mcp.Error) {
	switch m.Method() {
	case mcp.ToolsCall:
		return r.named(v, catalog.Tool, m, params, "name")
	case mcp.PromptsGet:
		return r.named(v, catalog.Prompt, m, params, "name")
	case mcp.ResourcesRead, mcp.ResourcesSub, mcp.ResourcesUnsub:
		return r.located(v, m, params, "uri")
	case mcp.Complete:
		kind, _ := mcp.Text(mcp.Field(params, "ref", "type"))
		switch kind {
		case "ref/prompt":
			return r.named(v, catalog.Prompt, m, params, "ref", "name")
		case "ref/resource":
			return r.located(v, m, params, "ref", "uri")
		default:
			return nil, invalidParams("params.ref.type of %s is %q, not ref/prompt or ref/resource", m.Method(), kind)
		}
	default:
		return nil, noMethod(m.Method())
	}
}

// named is the target of a request that has the name of a tool or prompt at path.
func (r *Router) named(v *catalog.View, k catalog.Kind, m *mcp.Message, params []byte, path ...string) (*target, *mcp.Error) {
	name, ok := mcp.Text(mcp.Field(params, path...))
	if !ok {
		return nil, invalidParams("params.%s of %s is missing or not a string", strings.Join(path, "."), m.Method())
	}
	item, ok := v.Find(k, name)
	if !ok {
		what := "tool"
		if k == catalog.Prompt {
			what = "prompt"
		}
		alias, _, _ := strings.Cut(name, "__")
		return nil, r.unknown(v, alias, invalidParams("no %s %q here", what, name))
	}
	return newTarget(item.Alias, m, params, item, item.Name, path), nil
}

// located is the target of a request that has the URI of a resource, or of a
// template, at path.
func (r *Router) located(v *catalog.View, m *mcp.Message, params []byte, path ...string) (*target, *mcp.Error) {
	uri, ok := mcp.Text(mcp.Field(params, path...))
	if !ok || uri == "" {
		return nil, invalidParams("params.%s of %s is missing or not a string", strings.Join(path, "."), m.Method())
	}
	found, ok := locate(v, uri)
	if !ok {
		e := invalidParams("no resource %q here, where they are named as resources/list names them", uri)
		e.Data = mcp.WithField(nil, mcp.Quote(uri), "uri")
		alias, _, _ := catalog.UnwrapURI(uri)
		return nil, r.unknown(v, alias, e)
	}
	return newTarget(found.alias, m, params, nil, found.uri, path), nil
}

// A resource is one of an upstream, in the upstream's own name.
type resource struct{ alias, uri string }

// locate finds the resource, or the template, that clients of the aggregate know
// under uri; false if it can be of no upstream.
func locate(v *catalog.View, uri string) (resource, bool) {
	for _, k := range []catalog.Kind{catalog.Resource, catalog.Template} {
		if item, ok := v.Find(k, uri); ok {
			return resource{item.Alias, item.Name}, true
		}
	}
	alias, own, ok := catalog.UnwrapURI(uri)
	_, known := v.Slice(alias)
	return resource{alias, own}, ok && known
}

func newTarget(alias string, m *mcp.Message, params []byte, item *catalog.Item, name string, path []string) *target {
	t := &target{route: route{alias: alias, joined: true}, item: item}
	params = mcp.WithField(params, mcp.Quote(name), path...)
	t.request = m.WithParams(t.inputResponses(params))
	return t
}

// unknown is e, which refuses what nobody has. If what it begins with is an upstream
// that is in trouble, the client is told, for that may be why.
func (r *Router) unknown(v *catalog.View, alias string, e *mcp.Error) *mcp.Error {
	s, listed := v.Slice(alias)
	if listed && s.Err != "" {
		e.Message += "; upstream " + alias + " could not be listed: " + s.Err
	}
	if listed || record.ValidAlias(alias) != nil {
		return e
	}
	u, err := r.lookup(alias)
	switch {
	case err == nil && u.Disabled:
		e.Message += "; upstream " + alias + " is disabled"
	case err == nil:
		e.Message += "; upstream " + alias + " was not listed yet"
	}
	return e
}

// without is t without members of the request's params that are not for the
// upstream.
func (t *target) without(member string) *target {
	out := *t
	params := mcp.WithoutField(t.request.Params(), member)
	params = mcp.WithoutField(params, "_meta", metaEvents)
	out.request = t.request.WithParams(params)
	return &out
}
