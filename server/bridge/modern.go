package bridge

import (
	"context"
	"net/http"
	"sync"

	"github.com/mcpraft/mcpraft/internal/strictjson"
	"github.com/mcpraft/mcpraft/server/mcp"
	"github.com/mcpraft/mcpraft/server/mcpclient"
)

const (
	maxSchemas = 4096 // tools whose arguments stand in headers
	maxPages   = 100  // of a list of tools
)

// modern carries requests of the era without sessions. Headers repeat what the
// message says; those of arguments follow the tool's schema, as it was last listed.
type modern struct {
	bridge *Bridge

	mu    sync.Mutex
	tools map[string][]mcp.HeaderParam // that have any, by name
}

func (d *modern) header(m *mcp.Message) (http.Header, int) {
	h := make(http.Header)
	version, _ := mcp.Text(mcp.Meta(m.Params(), mcp.MetaProtocolVersion))
	h.Set(mcp.HeaderVersion, version)
	h.Set(mcp.HeaderMethod, m.Method())
	field := mcp.NameField(m.Method())
	if field == "" {
		return h, 0
	}
	name, ok := mcp.Text(mcp.Field(m.Params(), field))
	if !ok {
		return h, 0
	}
	h.Set(mcp.HeaderName, mcp.EncodeHeader(name))
	if m.Method() == mcp.ToolsCall {
		d.mu.Lock()
		defer d.mu.Unlock()
		for _, p := range d.tools[name] {
			if value, ok := p.Value(mcp.Field(m.Params(), "arguments")); ok {
				h.Set(p.Name(), mcp.EncodeHeader(value))
			}
		}
	}
	return h, 0
}

func (d *modern) resumes() bool { return false }

// mend lists the tools when the headers of a call were not what the tool's schema
// asks for.
func (d *modern) mend(ctx context.Context, m *mcp.Message, refusal *mcpclient.Refusal, _ int) (bool, error) {
	if m.Method() != mcp.ToolsCall || refusal.Answer == nil || refusal.Answer.Code != mcp.CodeHeaderMismatch {
		return false, nil
	}
	params := mcp.WithField([]byte("{}"), mcp.Field(m.Params(), "_meta"), "_meta")
	params = mcp.WithoutField(params, "_meta", mcp.MetaProgressToken)
	for range maxPages {
		list := mcp.Request(mcp.TextID("mcpraft-tools"), mcp.ToolsList, params)
		answer, err := d.bridge.carry(ctx, list, d, func(*mcp.Message) {})
		if err != nil || answer.Err() != nil {
			return false, nil // the refusal stands
		}
		d.learn(answer.Result())
		cursor := mcp.Field(answer.Result(), "nextCursor")
		if cursor == nil {
			break
		}
		params = mcp.WithField(params, cursor, "cursor")
	}
	return true, nil
}

// learn remembers which arguments of tools stand in headers.
func (d *modern) learn(result []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for tool := range strictjson.Elements(mcp.Field(result, "tools")) {
		name, _ := mcp.Text(mcp.Field(tool, "name"))
		params, err := mcp.HeaderParams(mcp.Field(tool, "inputSchema"))
		if err != nil || len(params) == 0 {
			delete(d.tools, name)
			continue
		}
		if d.tools == nil {
			d.tools = make(map[string][]mcp.HeaderParam)
		}
		if len(d.tools) < maxSchemas {
			d.tools[name] = params
		}
	}
}

// carry carries a request of the client.
func (d *modern) carry(ctx context.Context, m *mcp.Message) (*mcp.Message, error) {
	if m.Method() == mcp.SubscriptionsListen {
		return d.listen(ctx, m)
	}
	answer, err := d.bridge.carry(ctx, m, d, d.bridge.out.send)
	if err == nil && m.Method() == mcp.ToolsList && answer.Err() == nil {
		d.learn(answer.Result())
	}
	return answer, err
}

// listen keeps a subscription for as long as the client wants it, over any number
// of nodes: what ends it there, with or without a result, begins it anew. The
// client is told once that it stands, and after each time that it was cut, that
// what it asked about may have changed.
func (d *modern) listen(ctx context.Context, m *mcp.Message) (*mcp.Message, error) {
	stands, wait := false, firstWait
	each := func(n *mcp.Message) {
		if n.Method() != mcp.Acknowledged || !stands {
			d.bridge.out.send(n)
		} else {
			d.mayHaveChanged(n.Params())
		}
		stands, wait = true, firstWait
	}
	for {
		answer, err := d.bridge.carry(ctx, m, d, each)
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case !stands && err != nil:
			return nil, err
		case err == nil && answer.Err() != nil, refusalOf(err) != nil:
			return answer, err
		}
		if !sleep(ctx, wait) {
			return nil, context.Cause(ctx)
		}
		wait = min(2*wait, longestWait)
	}
}

// mayHaveChanged tells the client of a change of everything that a subscription is
// about, as its acknowledgement lists it.
func (d *modern) mayHaveChanged(acknowledged []byte) {
	about := mcp.Field(acknowledged, "notifications")
	params := mcp.WithField([]byte("{}"), mcp.Field(acknowledged, "_meta"), "_meta")
	for _, c := range []struct{ flag, method string }{
		{"toolsListChanged", mcp.ToolsListChanged}, {"resourcesListChanged", mcp.ResourcesListChanged}, {"promptsListChanged", mcp.PromptsListChanged},
	} {
		if string(mcp.Field(about, c.flag)) == "true" {
			d.bridge.out.send(mcp.Notification(c.method, params))
		}
	}
	if uris := mcp.Field(about, "resourceSubscriptions"); len(uris) > 0 && uris[0] == '[' {
		for uri := range strictjson.Elements(uris) {
			d.bridge.out.send(mcp.Notification(mcp.ResourceUpdated, mcp.WithField(params, uri, "uri")))
		}
	}
}
