package router

import (
	"context"
	"sync"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/session"
)

// beforeFirstUse is the session to call an upstream with for which this node knows
// of nothing there. Another node may have opened it a moment ago, for the request
// before this one: to open a second upstream session would lose what the client did
// in the first. So the cluster is asked, once for each session and upstream. Without
// an answer the call goes on with what is known: a session needs no leader.
func (r *Router) beforeFirstUse(ctx context.Context, l *session.Live, to *target) (*session.Live, error) {
	if b := l.Record.Binding(to.alias); !to.joined || b != nil && b.Protocol != "" || !r.looked.first(l.Record.ID, to.alias) {
		return l, nil
	}
	now, err := r.sessions.Newest(ctx, l)
	if fault.Of(err) == fault.NotFound {
		return nil, err
	}
	if err != nil {
		r.log.Debug("whether another node has opened an upstream for a session is not known", "upstream", to.alias, "error", err)
		return l, nil
	}
	return now, nil
}

// maxLookups bounds what lookups remembers. What is forgotten is looked up again.
const maxLookups = 1 << 16

// lookups remembers which sessions were looked up before they used an upstream:
// those that share a session there, or use one that has none, never have anything.
type lookups struct {
	mu   sync.Mutex
	done map[[2]string]struct{} // session and upstream
}

// first reports whether it is asked for the first time.
func (u *lookups) first(session, alias string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	key := [2]string{session, alias}
	if _, ok := u.done[key]; ok {
		return false
	}
	if u.done == nil || len(u.done) >= maxLookups {
		u.done = make(map[[2]string]struct{})
	}
	u.done[key] = struct{}{}
	return true
}
