package router

import (
	"bytes"
	"sync"

	"github.com/mcpraft/mcpraft/server/catalog"
	"github.com/mcpraft/mcpraft/server/exchange"
	"github.com/mcpraft/mcpraft/server/mcp"
)

// A listing is a list that is answered from the catalogue.
type listing struct {
	kind   catalog.Kind
	member string // of the result
}

var listings = map[string]listing{
	mcp.ToolsList:     {catalog.Tool, "tools"},
	mcp.ResourcesList: {catalog.Resource, "resources"},
	mcp.TemplatesList: {catalog.Template, "resourceTemplates"},
	mcp.PromptsList:   {catalog.Prompt, "prompts"},
}

const (
	maxListBytes = 4 << 20 // of a page: there are clients that read only the first

	// listTTL is how long a modern client may keep a list, in ms, if it does not
	// listen for changes.
	listTTL = "10000"
)

// list answers a request for one of the lists of the aggregate. Nobody is asked:
// the answer is the same on every node that has applied the same.
func (r *Router) list(q *exchange.Request, m *mcp.Message, c *claim, v mcp.Version) exchange.Answer {
	cursor, e := cursorOf(c)
	if e != nil {
		return refuse(q, m, e)
	}
	result, err := r.lists.page(r.catalog.Now(), pageKey{method: m.Method(), version: v, cursor: cursor})
	if err != nil {
		return refuse(q, m, invalidParams("params.cursor of %s is none that was given: %v", m.Method(), err))
	}
	if v.Modern() {
		result = completed(m.Method(), result, r.serverInfo)
	}
	return exchange.Answer{Message: mcp.Answer(m.ID(), result)}
}

func cursorOf(c *claim) (string, *mcp.Error) {
	raw := mcp.Field(c.params, "cursor")
	if raw == nil || string(raw) == "null" {
		return "", nil
	}
	cursor, ok := mcp.Text(raw)
	if !ok {
		return "", invalidParams("params.cursor is not a string")
	}
	return cursor, nil
}

// maxRendered bounds the bytes of pages that are kept.
const maxRendered = 32 << 20

// lists keeps the first pages of the newest catalogue as they were last written.
type lists struct {
	mu    sync.Mutex
	view  *catalog.View
	pages map[pageKey][]byte
	bytes int // at most maxRendered
}

type pageKey struct {
	method  string
	version mcp.Version
	cursor  string
}

// page is one page of a list in words of the client's revision.
func (l *lists) page(v *catalog.View, k pageKey) ([]byte, error) {
	l.mu.Lock()
	known := l.pages[k]
	current := l.view == v
	l.mu.Unlock()
	if current && known != nil {
		return known, nil
	}
	result, err := render(v, k)
	if err != nil || k.cursor != "" {
		return result, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.view != v {
		l.view, l.pages, l.bytes = v, make(map[pageKey][]byte), 0
	}
	if l.pages[k] == nil && l.bytes+len(result) <= maxRendered {
		l.pages[k] = result
		l.bytes += len(result)
	}
	return result, nil
}

// render writes a page. What the catalogue holds is what upstreams of all revisions
// said, so that everything is put into the client's words.
func render(v *catalog.View, k pageKey) ([]byte, error) {
	list := listings[k.method]
	items, next, err := v.Page(list.kind, k.cursor, maxListBytes)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.WriteByte('{')
	b.Write(mcp.Quote(list.member))
	b.WriteString(":[")
	for i, item := range items {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(item.Aggregate)
	}
	b.WriteByte(']')
	if next != "" {
		b.WriteString(`,"nextCursor":`)
		b.Write(mcp.Quote(next))
	}
	if k.version.Modern() {
		b.WriteString(`,"ttlMs":` + listTTL)
	}
	b.WriteByte('}')
	result := b.Bytes()
	if k.method != mcp.ToolsList {
		return result, nil
	}
	if result = withoutTasks(result); k.version.Modern() {
		return withoutBadHeaders(result), nil
	}
	return olderResult(k.version, k.method, result), nil
}
