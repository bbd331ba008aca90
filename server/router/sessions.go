package router

import (
	"context"

	"github.com/mcpraft/mcpraft/server/exchange"
	"github.com/mcpraft/mcpraft/server/mcp"
	"github.com/mcpraft/mcpraft/server/session"
)

// FromSessions is s for a Config.
func FromSessions(s *session.Sessions) Sessions { return sessions{s} }

// sessions hands out what *session.Sessions does, behind the interfaces of this
// package.
type sessions struct{ *session.Sessions }

func (s sessions) OpenCall(ctx context.Context, l *session.Live, id mcp.ID, stream exchange.Stream, o session.CallOptions) (Call, error) {
	c, err := s.Sessions.OpenCall(ctx, l, id, stream, o)
	if err != nil {
		return nil, err // not a Call that holds nil
	}
	return c, nil
}

func (s sessions) Listen(ctx context.Context, l *session.Live, stream exchange.Stream, o ListenOptions) error {
	return s.Sessions.Listen(ctx, l, stream, session.ListenOptions{
		LastEventID: o.LastEventID,
		Source:      func(ctx context.Context, to *session.Listener) error { return o.Source(ctx, to) },
		Missed:      o.Missed,
		Resume:      func(c *session.Call, u session.Upstream) (*mcp.Message, error) { return o.Resume(c, u) },
		Progress:    o.Progress,
	})
}
