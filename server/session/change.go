package session

import (
	"context"
	"time"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode"
)

const (
	changeWait     = 5 * time.Second // for a leader
	changeAttempts = 8               // of a change that others overtake
	moveTimeout    = 10 * time.Second
	maxMoves       = 8192 // sessions that wait to be made active
	movesAtOnce    = 256  // sessions in one command
)

// propose appends command for the session's principal and returns where it is.
func (s *Sessions) propose(ctx context.Context, l *Live, command fsm.Command) (raftnode.Receipt, error) {
	receipt, err := s.node.Propose(ctx, raftnode.Request{Actor: l.Record.Principal, Command: command})
	if err == nil {
		err = receipt.Outcome.Err()
	}
	return receipt, err
}

// activate makes l active, in the background: a request does not wait for the
// log. What is lost is tried again by the next request.
func (s *Sessions) activate(l *Live) {
	if !l.moving.CompareAndSwap(false, true) {
		return
	}
	select {
	case s.moves <- l:
	default:
		l.moving.Store(false)
	}
}

// move makes sessions active until ctx ends. One command is on its way at a time;
// the sessions that come meanwhile share the next one.
func (s *Sessions) move(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case first := <-s.moves:
			s.moveToActive(ctx, s.waiting(first))
		}
	}
}

// waiting is first and those behind it, at most movesAtOnce.
func (s *Sessions) waiting(first *Live) []*Live {
	list := []*Live{first}
	for len(list) < movesAtOnce {
		select {
		case l := <-s.moves:
			list = append(list, l)
		default:
			return list
		}
	}
	return list
}

func (s *Sessions) moveToActive(ctx context.Context, list []*Live) {
	ctx, cancel := context.WithTimeout(ctx, moveTimeout)
	defer cancel()
	ids := make([]string, len(list))
	for i, l := range list {
		defer l.moving.Store(false)
		ids[i] = l.Record.ID
	}
	_, err := s.node.Propose(ctx, raftnode.Request{Actor: s.c.Actor, Command: &fsm.ActivateSessions{IDs: ids}})
	if err != nil {
		s.log.Debug("sessions that are used could not be made active yet", "sessions", len(list), "error", err)
	}
}

// byClient is the reason of a session that End has ended, upstream sessions and all.
const byClient = "ended by its client"

// End ends a session for its client: it is terminating, its streams end on all
// nodes, letGo is called to let its upstream sessions go, and then it is dead. An
// error of letGo is logged; it does not keep the session alive. If this node fails
// in between, the session expires.
func (s *Sessions) End(ctx context.Context, l *Live, letGo func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, changeWait)
	defer cancel()
	_, err := s.propose(ctx, l, &fsm.MoveSession{ID: l.Record.ID, To: record.Terminating, Reason: byClient})
	if kind := fault.Of(err); err != nil && kind != fault.Conflict { // a conflict: it is being ended already
		return gone(err)
	}
	if letGo != nil {
		if err := letGo(ctx); err != nil {
			s.log.Warn("upstream sessions of a session that ended", "error", err)
		}
	}
	receipt, err := s.propose(ctx, l, &fsm.MoveSession{ID: l.Record.ID, To: record.Dead, Reason: byClient})
	if fault.Of(err) == fault.Conflict {
		err = nil
	}
	return s.changedAt(ctx, receipt, err) // what was ended here is unknown here
}

// gone gives a session that has ended meanwhile the error of one that has ended.
func gone(err error) error {
	if fault.Of(err) == fault.NotFound {
		return errNoSession()
	}
	return err
}

// SetLogLevel notes what logging/setLevel asked for. It is committed when it
// returns nil.
func (s *Sessions) SetLogLevel(ctx context.Context, l *Live, level string) error {
	ctx, cancel := context.WithTimeout(ctx, changeWait)
	defer cancel()
	receipt, err := s.propose(ctx, l, &fsm.UpdateSession{ID: l.Record.ID, LogLevel: &level})
	return s.changedAt(ctx, receipt, err)
}

// Bind notes what the session holds at an upstream, its session id in clear. The
// subscriptions that it has there stay.
func (s *Sessions) Bind(ctx context.Context, l *Live, b record.Binding) error {
	return s.rebind(ctx, l, b.Alias, func(now record.Binding) (record.Binding, error) {
		sealed, err := sealUpstream(s.c.Sealer, l.Record.ID, b.Session)
		now.Protocol, now.Session = b.Protocol, sealed
		return now, err
	})
}

// Unbind notes that the session holds nothing at an upstream any more.
func (s *Sessions) Unbind(ctx context.Context, l *Live, alias string) error {
	ctx, cancel := context.WithTimeout(ctx, changeWait)
	defer cancel()
	receipt, err := s.propose(ctx, l, &fsm.BindSession{ID: l.Record.ID, Binding: record.Binding{Alias: alias}, Remove: true})
	return s.changedAt(ctx, receipt, err)
}

// Subscribe notes that these events of a resource are wanted too, in the
// upstream's own name of it. It is committed when it returns nil.
func (s *Sessions) Subscribe(ctx context.Context, l *Live, alias, uri string, events record.Events) error {
	return s.rebind(ctx, l, alias, func(now record.Binding) (record.Binding, error) {
		now.SetEvents(uri, now.Subscribed(uri)|events)
		return now, nil
	})
}

// Unsubscribe notes that these events of a resource are not wanted any more.
func (s *Sessions) Unsubscribe(ctx context.Context, l *Live, alias, uri string, events record.Events) error {
	return s.rebind(ctx, l, alias, func(now record.Binding) (record.Binding, error) {
		now.SetEvents(uri, now.Subscribed(uri)&^events)
		return now, nil
	})
}

// rebind changes one binding of a session, however many others change it at the
// same time: each attempt starts from the newest that this node knows, and is
// taken only if nothing has changed since. What changes nothing is proposed, too:
// only then is it known that the newest was the newest.
func (s *Sessions) rebind(ctx context.Context, l *Live, alias string, change func(record.Binding) (record.Binding, error)) error {
	ctx, cancel := context.WithTimeout(ctx, changeWait)
	defer cancel()
	current := l.Record
	for attempt := 1; ; attempt++ {
		now := record.Binding{Alias: alias}
		if b := current.Binding(alias); b != nil {
			now = *b
		}
		next, err := change(now)
		if err != nil {
			return err
		}
		receipt, err := s.propose(ctx, l, &fsm.BindSession{ID: l.Record.ID, Binding: next, IfRevision: current.Revision})
		if fault.Of(err) != fault.Precondition || attempt == changeAttempts {
			return s.changedAt(ctx, receipt, err)
		}
		// Whoever was first is in the log up to the index of our own entry.
		current, err = s.read(ctx, l.Record.ID, raftnode.ReadOptions{Mode: raftnode.Any, MinIndex: receipt.Index})
		if err != nil {
			return gone(err)
		}
	}
}

// changedAt waits until this node's replica has the change, so that the client's
// next request here finds it; err is that of the change.
func (s *Sessions) changedAt(ctx context.Context, receipt raftnode.Receipt, err error) error {
	if err != nil {
		return gone(err)
	}
	view, _, err := s.node.Read(ctx, raftnode.ReadOptions{Mode: raftnode.Any, MinIndex: receipt.Index})
	if err != nil {
		s.log.Debug("a change is committed and not yet here", "index", receipt.Index, "error", err)
		return nil
	}
	view.Close()
	return nil
}
