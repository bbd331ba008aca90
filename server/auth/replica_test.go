package auth

import (
	"context"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode"
	"github.com/mcpraft/mcpraft/test/model/solo"
)

// lagging reads nothing of what was written, but at the leader; or, with onView,
// calls it once between the view and its reader.
type lagging struct {
	*solo.Replica
	onView       func()
	linearizable int
}

func (l *lagging) Read(ctx context.Context, o raftnode.ReadOptions) (*fsm.View, raftnode.ReadInfo, error) {
	if l.onView != nil {
		view, info, err := l.Replica.Read(ctx, o)
		if call := l.onView; call != nil {
			l.onView = nil
			call()
		}
		return view, info, err
	}
	if o.Mode == raftnode.Linearizable {
		l.linearizable++
		return l.Replica.Read(ctx, o)
	}
	return nil, raftnode.ReadInfo{}, errUnknownToken // as if the record were not there
}

// cutOff has an old state, and knows nobody who could tell how old.
type cutOff struct{ *solo.Replica }

func (c *cutOff) Read(ctx context.Context, o raftnode.ReadOptions) (*fsm.View, raftnode.ReadInfo, error) {
	switch o.Mode {
	case raftnode.Linearizable:
		return nil, raftnode.ReadInfo{}, fault.New(fault.NoLeader, "no leader is known")
	case raftnode.Bounded:
		return nil, raftnode.ReadInfo{}, fault.New(fault.Stale, "nobody says how old this replica is")
	}
	return nil, raftnode.ReadInfo{}, errUnknownToken // as if the record were not there
}
