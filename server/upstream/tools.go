package upstream

import (
	"bytes"
	"context"
	"sync"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/strictjson"
	"github.com/mcpraft/mcpraft/server/mcp"
)

const (
	maxTools     = 10_000 // whose headers are remembered, of one upstream
	maxToolPages = 100    // of one listing of ours
)

// A toolbox remembers which arguments of a modern upstream's tools are repeated
// in headers, as the upstream listed them last. Lists that pass through teach it;
// it lists by itself when a tool is called that it does not know.
type toolbox struct {
	listing flight[struct{}]

	mu       sync.Mutex // nothing blocks under it
	byName   map[string][]mcp.HeaderParam
	complete bool // all pages have been seen since the last change
}

// params are the header arguments of a tool; false if it was not listed.
func (t *toolbox) params(tool string) ([]mcp.HeaderParam, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	params, ok := t.byName[tool]
	return params, ok
}

// prepare lists the tools if a call needs it: the tool is not known, and not all
// pages have been seen. If that fails the call goes without those headers: the
// upstream says so if it minds.
func (t *toolbox) prepare(ctx context.Context, p *path, c *Caller, tool string) {
	t.mu.Lock()
	_, known := t.byName[tool]
	needed := !known && !t.complete
	t.mu.Unlock()
	if needed {
		_ = t.refresh(ctx, p, c)
	}
}

// changed is called when the upstream says that its tools have changed.
func (t *toolbox) changed() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.complete = false
	clear(t.byName)
}

// refresh lists all tools.
func (t *toolbox) refresh(ctx context.Context, p *path, c *Caller) error {
	_, err := t.listing.do(ctx, func() (struct{}, error) {
		return struct{}{}, t.list(ctx, p, c)
	})
	return err
}

func (t *toolbox) list(ctx context.Context, p *path, c *Caller) error {
	var cursor []byte
	for range maxToolPages {
		var params []byte
		if cursor != nil {
			params = mcp.WithField(nil, cursor, "cursor")
		}
		answer, err := p.ask(ctx, c, mcp.Request(mcp.NumberID(0), mcp.ToolsList, params))
		if err != nil {
			return err
		}
		if answer.Kind() != mcp.KindResult {
			return answer.Err()
		}
		t.listed(p.up, answer.Result(), cursor == nil)
		next := mcp.Field(answer.Result(), "nextCursor")
		if len(next) == 0 || next[0] != '"' || bytes.Equal(next, cursor) {
			return nil
		}
		cursor = bytes.Clone(next)
	}
	return fault.New(fault.Unsupported, "upstream %q lists its tools on more than %d pages", p.up.rec.Alias, maxToolPages)
}

// listed learns from one page of a list, and gives the page without the tools
// that break the rules of x-mcp-header: no client may see them.
func (t *toolbox) listed(up *upstream, result []byte, first bool) []byte {
	tools := mcp.Field(result, "tools")
	found := make(map[string][]mcp.HeaderParam)
	var kept [][]byte
	dropped := 0
	for tool := range strictjson.Elements(tools) {
		name, _ := mcp.Text(mcp.Field(tool, "name"))
		params, err := mcp.HeaderParams(mcp.Field(tool, "inputSchema"))
		if err != nil {
			dropped++
			up.metrics.toolDropped()
			up.log.Warn("tool dropped from the list", "tool", clean(name), "reason", clean(err.Error()))
			continue
		}
		found[name] = params
		kept = append(kept, tool)
	}
	t.learn(found, first, mcp.Field(result, "nextCursor") == nil)
	if dropped == 0 {
		return result
	}
	list := append([]byte{'['}, bytes.Join(kept, []byte{','})...)
	return mcp.WithField(result, append(list, ']'), "tools")
}

// learn takes one page. The first one replaces what was known if it is the whole
// list.
func (t *toolbox) learn(page map[string][]mcp.HeaderParam, first, last bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byName == nil || first && last {
		t.byName = make(map[string][]mcp.HeaderParam, len(page))
	}
	for name, params := range page {
		if _, known := t.byName[name]; known || len(t.byName) < maxTools {
			t.byName[name] = params
		}
	}
	if last {
		t.complete = true
	}
}
