package auth

import (
	"context"
	"log/slog"
	"time"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/seal"
	"github.com/mcpraft/mcpraft/raftnode"
)

const (
	rotationLook    = time.Hour // between two looks, if nothing is due before
	proposalTimeout = 10 * time.Second
)

// A Replica is the state as a node changes and reads it; *raftnode.Node is one.
type Replica interface {
	Reader
	// Propose returns when the command is applied, here or not, or refused.
	Propose(ctx context.Context, r raftnode.Request) (raftnode.Receipt, error)
}

// RotationConfig is what a Rotation is made of.
type RotationConfig struct {
	Replica Replica
	Root    seal.Ring
	Actor   record.Principal // this node
	Period  time.Duration    // that a key is used; 0 means DefaultRotation
	Logger  *slog.Logger     // nil means discard
}

// A Rotation makes the keys of the cluster and replaces them in time.
type Rotation struct {
	c      RotationConfig
	policy policy
	wake   chan struct{}
}

// NewRotation makes a Rotation.
func NewRotation(c RotationConfig) *Rotation {
	if c.Period == 0 {
		c.Period = DefaultRotation
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &Rotation{c: c, policy: policy{c.Period, Grace, Settle}, wake: make(chan struct{}, 1)}
}

// changed makes Run look again. It does not block.
func (r *Rotation) changed() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run is the duty of the leader of term (raftnode.Node.Duty): it makes the first
// ring, and does what falls due until ctx ends. What it proposes takes effect in
// that term only.
func (r *Rotation) Run(ctx context.Context, term raftnode.Term) error {
	clock, err := r.startClock(ctx)
	if err != nil {
		return err
	}
	for {
		wait, err := r.look(ctx, term, clock)
		if err != nil {
			return err
		}
		select {
		case <-time.After(min(max(wait, time.Millisecond), rotationLook)):
		case <-r.wake:
		case <-ctx.Done():
			return nil
		}
	}
}

// A clock tells log time between entries.
type clock struct {
	logTime record.LogTime
	at      time.Time
}

func (c clock) now() record.LogTime { return c.logTime.Add(time.Since(c.at)) }

// startClock begins at the newest entry, which is at least that of the epoch.
func (r *Rotation) startClock(ctx context.Context) (clock, error) {
	view, _, err := r.c.Replica.Read(ctx, raftnode.ReadOptions{Mode: raftnode.Any})
	if err != nil {
		return clock{}, err
	}
	defer view.Close()
	return clock{logTime: view.Meta().LogTime, at: time.Now()}, nil
}

// look does what is due, and returns when to look again.
func (r *Rotation) look(ctx context.Context, term raftnode.Term, c clock) (wait time.Duration, err error) {
	view, _, err := r.c.Replica.Read(ctx, raftnode.ReadOptions{Mode: raftnode.Any})
	if err != nil {
		return 0, err
	}
	defer view.Close()
	now := c.now()
	stored, err := view.KeyRing()
	if fault.Of(err) == fault.NotFound {
		first, err := firstRing(now)
		if err != nil {
			return 0, err
		}
		_, err = r.put(ctx, uint64(term), r.c.Actor, first, 0, "made")
		return r.policy.rotation, err
	}
	if err != nil {
		return 0, err
	}
	opened, err := openRing(r.c.Root, stored)
	if err != nil {
		return 0, err
	}
	hashed, err := hashKeys(view)
	if err != nil {
		return 0, err
	}
	changed, wait, err := r.policy.step(&opened, now, func(id uint32) bool { return hashed[id] })
	if err != nil {
		return 0, err
	}
	what := "rotated"
	if !changed && r.underOldRoot(stored) {
		changed, what = true, "sealed anew"
	}
	if !changed {
		return wait, nil
	}
	_, err = r.put(ctx, uint64(term), r.c.Actor, opened, stored.Revision, what)
	return wait, err
}

// hashKeys are the ids of the keys that API tokens were hashed with. There are at
// most fsm.MaxTokens.
func hashKeys(view *fsm.View) (map[uint32]bool, error) {
	used := make(map[uint32]bool)
	for t, err := range view.Tokens(0, "") {
		if err != nil {
			return nil, err
		}
		used[t.KeyID] = true
	}
	return used, nil
}

// underOldRoot reports whether the key files have a newer key than the one that
// stored is sealed by.
func (r *Rotation) underOldRoot(stored record.KeyRing) bool {
	newest, err := r.c.Root.Newest()
	if err != nil {
		return false
	}
	by, err := seal.SealedBy(stored.Sealed)
	return err == nil && by != newest.ID()
}

func (r *Rotation) put(ctx context.Context, term uint64, actor record.Principal, content ring, revision uint64, what string) (raftnode.Receipt, error) {
	sealed, err := sealRing(r.c.Root, content)
	if err != nil {
		return raftnode.Receipt{}, err
	}
	limited, cancel := context.WithTimeout(ctx, proposalTimeout)
	defer cancel()
	receipt, err := r.c.Replica.Propose(limited, raftnode.Request{
		Actor: actor, Term: term,
		Command: &fsm.PutKeyRing{Ring: record.KeyRing{Sealed: sealed}, IfRevision: revision},
	})
	if err == nil {
		err = receipt.Outcome.Err()
	}
	if err == nil {
		r.c.Logger.Info("key ring", "change", what, "revision", receipt.Outcome.Revision, "keys", len(content.Keys))
	}
	return receipt, err
}

// Now begins a rotation without waiting for the time of the current key; the new
// one is used after Settle. It works on every node, for actor. Conflict: one is
// going on.
func (r *Rotation) Now(ctx context.Context, actor record.Principal) (raftnode.Receipt, error) {
	none := raftnode.Receipt{}
	view, _, err := r.c.Replica.Read(ctx, raftnode.ReadOptions{Mode: raftnode.Linearizable})
	if err != nil {
		return none, err
	}
	defer view.Close()
	stored, err := view.KeyRing()
	if err != nil {
		return none, err
	}
	opened, err := openRing(r.c.Root, stored)
	if err != nil {
		return none, err
	}
	if next := opened.upcoming(); next != nil {
		return none, fault.New(fault.Conflict, "a rotation to key %d is going on", next.ID).WithHint("it ends within %v of its begin", Settle)
	}
	if err := opened.add(view.Meta().LogTime); err != nil {
		return none, err
	}
	return r.put(ctx, 0, actor, opened, stored.Revision, "rotated")
}
