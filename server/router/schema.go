package router

import (
	"bytes"
	"context"
	"sync"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/strictjson"
	"github.com/mcpraft/mcpraft/server/exchange"
	"github.com/mcpraft/mcpraft/server/mcp"
)

const (
	maxPublished = 1024            // lists of tools that are remembered
	publishedFor = 5 * time.Minute // at most, without the list being relayed again
	relistAfter  = time.Second     // an older list may be wrong about a call that it refuses
	listTimeout  = 5 * time.Second // for asking the upstream
	maxListPages = 64              // of one list
)

// published remembers which arguments the tools that clients were shown lately
// mirror in headers. Only what was published can be enforced.
//
// A client that was shown the list by another node is owed the same: what is not
// here is asked of the upstream, once, and again before a call is refused by a
// list that may be old.
type published struct {
	mu      sync.Mutex
	lists   map[listKey]*toolList     // at most maxPublished
	running map[listKey]chan struct{} // asked for; closed when that is over
}

// Tools may differ by who asks, so lists are kept apart.
type listKey struct {
	alias     string
	principal record.Principal
}

// A pageFunc gives the result of tools/list at a cursor, in JSON; nil is the first.
type pageFunc func(ctx context.Context, cursor []byte) ([]byte, error)

// A toolList is never changed.
type toolList struct {
	at       time.Time
	mirrored map[string][]mcp.HeaderParam // by tool, those that mirror anything
}

func newPublished() *published {
	return &published{lists: make(map[listKey]*toolList), running: make(map[listKey]chan struct{})}
}

// get is the newest list, nil if there is none to rely on.
func (p *published) get(k listKey) *toolList {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.lists[k]
	if l == nil || time.Since(l.at) > publishedFor {
		return nil
	}
	return l
}

// relayed takes note of a result of tools/list that a client gets. The first page
// begins a new list, others add to it.
func (p *published) relayed(k listKey, first bool, result []byte) {
	page := mirroredBy(result)
	p.mu.Lock()
	defer p.mu.Unlock()
	next := &toolList{at: time.Now(), mirrored: page}
	if old := p.lists[k]; !first && old != nil {
		for tool, params := range old.mirrored {
			if _, ok := page[tool]; !ok {
				page[tool] = params
			}
		}
	}
	if _, ok := p.lists[k]; !ok && len(p.lists) >= maxPublished {
		for other := range p.lists { // any one: it is asked for again when needed
			delete(p.lists, other)
			break
		}
	}
	p.lists[k] = next
}

// ask brings the list up to date by list, which gives one page. One caller of a key
// asks, the others wait for it. Without success an empty list stands for a while:
// what is not known is not enforced.
func (p *published) ask(ctx context.Context, k listKey, list pageFunc) {
	p.mu.Lock()
	if running := p.running[k]; running != nil {
		p.mu.Unlock()
		select {
		case <-running:
		case <-ctx.Done():
		}
		return
	}
	done := make(chan struct{})
	p.running[k] = done
	p.mu.Unlock()

	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	p.askPages(ctx, k, list)

	p.mu.Lock()
	delete(p.running, k)
	p.mu.Unlock()
	close(done)
}

func (p *published) askPages(ctx context.Context, k listKey, list pageFunc) {
	var cursor []byte
	for page := range maxListPages {
		result, err := list(ctx, cursor)
		if err != nil {
			result = nil
		}
		p.relayed(k, page == 0, result)
		if cursor = mcp.Field(result, "nextCursor"); len(cursor) == 0 || cursor[0] != '"' {
			return
		}
	}
}

// mirroredBy reads the tools of a result that mirror arguments in headers.
func mirroredBy(result []byte) map[string][]mcp.HeaderParam {
	mirrored := make(map[string][]mcp.HeaderParam)
	if !mentionsHeaders(result) {
		return mirrored
	}
	for tool := range strictjson.Elements(mcp.Field(result, "tools")) {
		if name, ok := mcp.Text(mcp.Field(tool, "name")); ok {
			if params := mirroredByTool(tool); len(params) > 0 {
				mirrored[name] = params
			}
		}
	}
	return mirrored
}

// mirroredByTool are the arguments that one tool mirrors; none if its headers break
// a rule, for then it is not shown.
func mirroredByTool(tool []byte) []mcp.HeaderParam {
	if !mentionsHeaders(tool) {
		return nil
	}
	params, err := mcp.HeaderParams(mcp.Field(tool, "inputSchema"))
	if err != nil {
		return nil
	}
	return params
}

func mentionsHeaders(result []byte) bool { return bytes.Contains(result, []byte(`"x-mcp-header"`)) }

// withoutBadHeaders leaves out of a list the tools whose headers break a rule, one
// by one: a client of HTTP must not see them, and must see the others.
func withoutBadHeaders(result []byte) []byte {
	if !mentionsHeaders(result) {
		return result
	}
	return rewrite(result, "tools", func(list []byte) []byte {
		var kept [][]byte
		dropped := false
		for tool := range strictjson.Elements(list) {
			if _, err := mcp.HeaderParams(mcp.Field(tool, "inputSchema")); err != nil {
				dropped = true
				continue
			}
			kept = append(kept, tool)
		}
		if !dropped {
			return list
		}
		return append(append([]byte("["), bytes.Join(kept, []byte(","))...), ']')
	})
}

// checkMirrored enforces what the tool's published schema says of headers: the
// catalogue's at the aggregate, otherwise what was relayed. List asks the upstream
// for one page.
func (r *Router) checkMirrored(ctx context.Context, q *exchange.Request, to *target, p *profile, list pageFunc) *mcp.Error {
	params := to.request.Params()
	if to.item != nil {
		return checkParams(q, params, mirroredByTool(to.item.Raw))
	}
	key := listKey{alias: to.alias, principal: q.Caller.Principal}
	tool, _ := mcp.Text(mcp.Field(params, "name"))
	known := r.published.get(key)
	if known == nil && !p.modern() {
		return nil // headers are no business of legacy servers: nobody lists for them
	}
	if known != nil {
		e := checkParams(q, params, known.mirrored[tool])
		if e == nil || time.Since(known.at) < relistAfter {
			return e
		}
	}
	r.published.ask(ctx, key, list)
	if known = r.published.get(key); known == nil {
		return nil
	}
	return checkParams(q, params, known.mirrored[tool])
}
