package session

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mcpraft/mcpraft/fsm/record"
)

const (
	maxEndings     = 20_000           // sessions of one walk whose upstream sessions are let go
	endingsAtOnce  = 32               // of them
	endingsTime    = 10 * time.Second // for all of one walk
	endingsOverlap = time.Minute      // that a new leader looks back at, for what the last one left undone
)

// endings are the sessions whose upstream sessions the leader has yet to let go:
// those that expired, were killed or made room. Their tombstones still name what
// they held, so that the leader needs to have known nothing of them before, and any
// node may have held them. It is the best effort of one node: what is missed, or
// does not fit into the limits, the upstream ends in its own time, and what is let
// go twice, around a change of the leader, the upstream does not know any more.
type endings struct {
	since record.LogTime // what ended up to then is done
	until record.LogTime // that of the walk
	list  []record.Session
}

// begin begins a walk over a state of that log time.
func (e *endings) begin(now record.LogTime) { e.until, e.list = now, nil }

// look notes s if there is something to let go.
func (e *endings) look(s *record.Session) {
	if s.State == record.Dead && s.Ended > e.since && s.Reason != byClient && holds(s) && len(e.list) < maxEndings {
		e.list = append(e.list, *s)
	}
}

// holds reports whether s has an upstream session to itself.
func holds(s *record.Session) bool {
	for i := range s.Bindings {
		if len(s.Bindings[i].Session) > 0 {
			return true
		}
	}
	return false
}

// letGo has what the walk found let go, and waits for it.
func (e *Expiry) letGo(ctx context.Context, left *endings) {
	list := left.list
	left.since, left.list = left.until, nil
	if e.c.LetGo == nil || len(list) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, endingsTime)
	defer cancel()
	var all errgroup.Group
	all.SetLimit(endingsAtOnce)
	for i := range list {
		if ctx.Err() != nil {
			break
		}
		all.Go(func() error {
			e.c.LetGo(ctx, &Live{Record: list[i], sealer: e.c.Sealer})
			return nil
		})
	}
	_ = all.Wait() // no call gives an error
}
