package catalog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/mcp"
)

// A fakeServer is an upstream that lists what a test says.
type fakeServer struct {
	initialize string
	tools      []string // JSON, or plain names
	others     map[string][]string
	pageSize   int // of lists; 0: one page
	ttl        string
	down       error
	refuse     map[string]*mcp.Error // by method

	listings int // of its tools, begun
	times    []time.Time
	ears     []ear
}

type ear struct {
	heard func(string)
	gap   func()
}

// fakeUpstreams are all upstreams of a test.
type fakeUpstreams struct {
	mu      sync.Mutex
	servers map[string]*fakeServer
}

func newFakes() *fakeUpstreams { return &fakeUpstreams{servers: make(map[string]*fakeServer)} }

func (f *fakeUpstreams) add(alias string, tools ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.servers[alias] = &fakeServer{
		initialize: `{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true}},"serverInfo":{"name":"fake"}}`, tools: tools,
	}
}

// change changes a server under the lock.
func (f *fakeUpstreams) change(alias string, do func(*fakeServer)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do(f.servers[alias])
}

// say sends a notification to whoever listens.
func (f *fakeUpstreams) say(alias, method string) {
	for _, e := range f.earsOf(alias) {
		e.heard(method)
	}
}

// gap says that the stream stands again.
func (f *fakeUpstreams) gap(alias string) {
	for _, e := range f.earsOf(alias) {
		e.gap()
	}
}

func (f *fakeUpstreams) earsOf(alias string) []ear {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.servers[alias].ears)
}

func (f *fakeUpstreams) listings(alias string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.servers[alias].listings
}

func (f *fakeUpstreams) find(alias string) (*fakeServer, error) {
	s := f.servers[alias]
	if s == nil {
		return nil, fault.New(fault.Unreachable, "upstream %q refuses connections", alias)
	}
	return s, s.down
}

func (f *fakeUpstreams) Open(_ context.Context, alias string) (Opened, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, err := f.find(alias)
	if err != nil {
		return Opened{}, err
	}
	return Opened{Version: "2025-11-25", Initialize: []byte(s.initialize)}, nil
}

func (f *fakeUpstreams) Request(_ context.Context, alias, method string, params []byte) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, err := f.find(alias)
	if err != nil {
		return nil, err
	}
	if refusal := s.refuse[method]; refusal != nil {
		return nil, refusal
	}
	items := s.others[method]
	if method == mcp.ToolsList {
		items = s.tools
		if params == nil {
			s.listings++
			s.times = append(s.times, time.Now())
		}
	}
	return s.page(method, items, params)
}

func (s *fakeServer) page(method string, items []string, params []byte) ([]byte, error) {
	from := 0
	if cursor, ok := mcp.Text(mcp.Field(params, "cursor")); ok {
		if _, err := fmt.Sscan(cursor, &from); err != nil {
			return nil, err
		}
	}
	to, next := len(items), ""
	if s.pageSize > 0 && from+s.pageSize < len(items) {
		to = from + s.pageSize
		next = fmt.Sprintf(`,"nextCursor":"%d"`, to)
	}
	var b strings.Builder
	for i, item := range items[from:to] {
		if i > 0 {
			b.WriteByte(',')
		}
		if !strings.HasPrefix(item, "{") {
			item = fmt.Sprintf(`{"name":%q, "inputSchema":{"type":"object"}}`, item)
		}
		b.WriteString(item)
	}
	field := ""
	for _, l := range lists {
		if l.method == method {
			field = l.field
		}
	}
	return fmt.Appendf(nil, `{%q:[%s]%s%s}`, field, b.String(), next, s.ttl), nil
}

var errGone = errors.New("gone")

func (f *fakeUpstreams) Listen(ctx context.Context, alias string, heard func(string), gap func()) error {
	f.mu.Lock()
	s, ok := f.servers[alias]
	if !ok {
		f.mu.Unlock()
		return errGone
	}
	s.ears = append(s.ears, ear{heard, gap})
	f.mu.Unlock()
	<-ctx.Done()
	f.mu.Lock()
	defer f.mu.Unlock()
	s.ears = nil
	return ctx.Err()
}
