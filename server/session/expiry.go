package session

import (
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode"
)

// Grace is what Expiry adds to every TTL: two intervals for a report to come
// due and be sent, two for clocks and commits.
const Grace = 4 * ReportInterval

const (
	expiryBatch     = 500
	expiryPause     = 500 * time.Millisecond // between batches: at most 1,000 sessions a second
	expiryPerRound  = 20_000                 // candidates of one walk; more are found by the next
	proposalTimeout = 10 * time.Second
	walkShare       = 50 // a walk takes at most 1/walkShare of the time, on one core
)

// A Replica is the state as the leader changes and reads it; *raftnode.Node is
// one.
type Replica interface {
	Proposer
	Read(ctx context.Context, o raftnode.ReadOptions) (*fsm.View, raftnode.ReadInfo, error)
}

// ExpiryConfig is what an Expiry is made of.
type ExpiryConfig struct {
	Replica Replica
	Actor   record.Principal // this node
	Metrics *Metrics         // nil means unregistered

	// LetGo is told, once a session has ended in any way but by its client, to end
	// what it holds at upstreams (Live.Bindings; Live.ID is empty). Several calls run
	// at once, for at most 10 s a round. Sealer opens the bindings. Nil: nobody is
	// told.
	LetGo  func(ctx context.Context, l *Live)
	Sealer Sealer

	// IdleAfter is how long a session is active without activity before it is
	// suspended; 0 means half its TTL. Activity is reported once in a third of the
	// TTL, so less than that, or Grace, makes no sense.
	IdleAfter time.Duration
}

// Expiry is the leader half: it suspends idle sessions, ends those whose time has
// come, has the upstream sessions of those that ended let go, and forgets
// tombstones. It keeps nothing between terms.
type Expiry struct{ c ExpiryConfig }

// NewExpiry makes an Expiry.
func NewExpiry(c ExpiryConfig) *Expiry {
	if c.Metrics == nil {
		c.Metrics = NewMetrics(nil)
	}
	return &Expiry{c: c}
}

// Run is the duty of the leader of term (raftnode.Node.Duty): a round every
// clean-up interval of the settings until ctx ends, the first one ReportInterval
// from now. It returns the error of a round that failed, to be called again
// later. What it proposes takes effect in that term only.
func (e *Expiry) Run(ctx context.Context, term raftnode.Term) error {
	clock, err := e.startClock(ctx)
	if err != nil {
		return err
	}
	left := endings{since: clock.now().Add(-endingsOverlap)}
	for pause := ReportInterval; ; {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
		if pause, err = e.round(ctx, term, clock, &left); err != nil {
			return err
		}
	}
}

// A clock tells log time between entries: the log time at some moment of this
// process, and what has passed since. It may run behind, never ahead by more
// than the drift of this machine's clock.
type clock struct {
	logTime record.LogTime
	at      time.Time
}

func (c *clock) now() record.LogTime { return c.logTime.Add(time.Since(c.at)) }

// advance sets the clock to a newer log time.
func (c *clock) advance(t record.LogTime) {
	if t > c.now() {
		c.logTime, c.at = t, time.Now()
	}
}

// startClock begins at the newest entry, which is at least that of the epoch.
func (e *Expiry) startClock(ctx context.Context) (*clock, error) {
	view, err := e.view(ctx)
	if err != nil {
		return nil, err
	}
	defer view.Close()
	return &clock{logTime: view.Meta().LogTime, at: time.Now()}, nil
}

func (e *Expiry) view(ctx context.Context) (*fsm.View, error) {
	view, _, err := e.c.Replica.Read(ctx, raftnode.ReadOptions{Mode: raftnode.Any})
	return view, err
}

// round is one walk and what follows from it. It returns how long to wait until
// the next.
func (e *Expiry) round(ctx context.Context, term raftnode.Term, c *clock, left *endings) (pause time.Duration, err error) {
	began := time.Now()
	found, err := e.walk(ctx, c, left)
	took := time.Since(began)
	e.c.Metrics.walk.Set(took.Seconds())
	if err != nil {
		return 0, err
	}
	if err := e.propose(ctx, term, found); err != nil {
		return 0, err
	}
	e.letGo(ctx, left)
	if found.full() {
		return expiryPause, nil
	}
	return max(found.interval, walkShare*took), nil
}

// findings of a walk.
type findings struct {
	expired  []fsm.Expiry
	dead     []string
	idle     []*fsm.MoveSession
	interval time.Duration
}

func (f *findings) full() bool { return len(f.expired)+len(f.dead)+len(f.idle) >= expiryPerRound }

// walk looks at every session once. The state has no index by expiry: keeping
// one would cost each touch two writes, and this costs the leader alone, about
// two seconds for a million sessions.
func (e *Expiry) walk(ctx context.Context, c *clock, left *endings) (findings, error) {
	view, err := e.view(ctx)
	if err != nil {
		return findings{}, err
	}
	defer view.Close()
	settings, err := view.SessionSettings(0)
	if err != nil {
		return findings{}, err
	}
	c.advance(view.Meta().LogTime)
	now := c.now()
	found := findings{interval: time.Duration(settings.CleanupInterval) * time.Millisecond}
	left.begin(view.Meta().LogTime)
	for s, err := range view.Sessions(0, "") {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return findings{}, err
		}
		left.look(&s)
		switch {
		case fsm.Purgeable(&s, settings, now):
			found.dead = append(found.dead, s.ID)
		case s.State.Live() && s.Expires().Add(Grace) <= now:
			found.expired = append(found.expired, fsm.Expiry{ID: s.ID, SeenLastActive: s.LastActive})
		case s.State == record.Active && e.idle(&s, now):
			found.idle = append(found.idle, &fsm.MoveSession{ID: s.ID, To: record.Suspended, Reason: "idle", IfRevision: s.Revision})
		}
		if found.full() {
			break
		}
	}
	return found, nil
}

// idle reports whether s has been without activity for so long that it is put
// aside. A session with a stream open counts as active: its node reports it.
func (e *Expiry) idle(s *record.Session, now record.LogTime) bool {
	after := e.c.IdleAfter
	if after == 0 {
		after = time.Duration(s.TTL) * time.Millisecond / 2
	}
	return s.LastActive.Add(after+Grace) <= now
}

// suspend moves a batch of idle sessions at once; the leader packs the commands
// into few entries. One that was used, or changed, meanwhile stays as it is.
func (e *Expiry) suspend(ctx context.Context, term raftnode.Term, batch []*fsm.MoveSession) error {
	limited, cancel := context.WithTimeout(ctx, proposalTimeout)
	defer cancel()
	var moves errgroup.Group
	moves.SetLimit(movesAtOnce)
	for _, move := range batch {
		moves.Go(func() error {
			receipt, err := e.c.Replica.Propose(limited, raftnode.Request{Actor: e.c.Actor, Term: uint64(term), Command: move})
			if err != nil {
				return err
			}
			if receipt.Outcome.Kind == 0 {
				e.c.Metrics.suspended.Inc()
			}
			if receipt.Outcome.Kind == fault.Fenced {
				return receipt.Outcome.Err()
			}
			return nil
		})
	}
	err := moves.Wait()
	rest(ctx)
	return err
}

// rest is the pause between two batches.
func rest(ctx context.Context) {
	select {
	case <-time.After(expiryPause):
	case <-ctx.Done():
	}
}

// propose carries the findings out, a batch at a time.
func (e *Expiry) propose(ctx context.Context, term raftnode.Term, found findings) error {
	for len(found.expired) > 0 {
		n := min(len(found.expired), expiryBatch)
		changed, err := e.send(ctx, term, &fsm.ExpireSessions{Candidates: found.expired[:n]})
		if err != nil {
			return err
		}
		e.c.Metrics.expired.Add(float64(changed))
		found.expired = found.expired[n:]
	}
	for len(found.dead) > 0 {
		n := min(len(found.dead), expiryBatch)
		changed, err := e.send(ctx, term, &fsm.PurgeSessions{IDs: found.dead[:n]})
		if err != nil {
			return err
		}
		e.c.Metrics.purged.Add(float64(changed))
		found.dead = found.dead[n:]
	}
	for batch := range slices.Chunk(found.idle, expiryBatch) {
		if err := e.suspend(ctx, term, batch); err != nil {
			return err
		}
	}
	return nil
}

// send proposes one batch in term, then rests. It returns how many sessions the
// state machine agreed to change.
func (e *Expiry) send(ctx context.Context, term raftnode.Term, batch fsm.Command) (changed uint64, err error) {
	limited, cancel := context.WithTimeout(ctx, proposalTimeout)
	defer cancel()
	receipt, err := e.c.Replica.Propose(limited, raftnode.Request{Actor: e.c.Actor, Term: uint64(term), Command: batch})
	if err == nil {
		err = receipt.Outcome.Err()
	}
	if err != nil {
		return 0, err
	}
	counts, err := receipt.Outcome.Counts()
	if err != nil {
		return 0, fault.New(fault.Internal, "the outcome of a session batch does not decode: %w", err)
	}
	rest(ctx)
	return counts.Changed, nil
}
