package router

import (
	"context"
	"sync"
	"time"

	"github.com/mcpraft/mcpraft/server/mcp"
	"github.com/mcpraft/mcpraft/server/upstream"
)

const (
	profileFor  = 30 * time.Second // how long it is believed
	maxProfiles = 4096
)

// A profile is what an upstream said of itself, to callers of the modern era. It is
// never changed.
type profile struct {
	at         time.Time
	initialize []byte      // the result of initialize, or what stands for it
	discover   []byte      // the result of server/discover; nil for a legacy upstream
	version    mcp.Version // spoken with it
	serverInfo []byte      // nil if it did not say
}

func (p *profile) modern() bool { return p.version.Modern() }

// profiles are the profiles by alias: an era belongs to the upstream, whoever asks.
type profiles struct {
	mu   sync.Mutex
	list map[string]*profile // at most maxProfiles
}

func newProfiles() *profiles { return &profiles{list: make(map[string]*profile)} }

func (p *profiles) get(alias string) *profile {
	p.mu.Lock()
	defer p.mu.Unlock()
	if known := p.list[alias]; known != nil && time.Since(known.at) < profileFor {
		return known
	}
	return nil
}

func (p *profiles) put(alias string, o *profile) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.list[alias]; !ok && len(p.list) >= maxProfiles {
		for other := range p.list { // any one: it is asked for again
			delete(p.list, other)
			break
		}
	}
	p.list[alias] = o
}

// profile is what the upstream says of itself to a caller of the modern era, now or
// within profileFor.
func (r *Router) profile(ctx context.Context, alias string, caller upstream.Caller) (*profile, error) {
	if known := r.profiles.get(alias); known != nil {
		return known, nil
	}
	caller.Modern = true
	// A session that this opens at a legacy upstream is the one that calls will use.
	caller.Capabilities = declared(caller.Capabilities, eras{client: mcp.V20260728, upstream: mcp.NewestLegacy})
	opened, err := r.upstreams.Open(ctx, alias, caller)
	if err != nil {
		return nil, err
	}
	p := profileOf(&opened)
	r.profiles.put(alias, p)
	return p, nil
}

func profileOf(o *upstream.Opened) *profile {
	return &profile{
		at:         time.Now(),
		initialize: o.Initialize,
		discover:   o.Discover,
		version:    o.Version,
		serverInfo: mcp.Field(o.Initialize, "serverInfo"),
	}
}
