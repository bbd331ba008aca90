package archive

import (
	"context"
	"errors"
	"time"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode"
	"github.com/mcpraft/mcpraft/snapshot"
)

const (
	claimName = "backup"
	// claimAge is when a claim is taken from a holder that may be alive. Two at once
	// do no harm: no two backups share a name.
	claimAge       = 6 * time.Hour
	releaseTimeout = 10 * time.Second
)

// alone does work while this process holds the claim of the cluster's backups.
func (b *Backups) alone(ctx context.Context, work func(snapshot.Backups) error) (err error) {
	backups, err := b.backups(ctx)
	if err != nil {
		return err
	}
	token, err := b.acquire(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.release(ctx, token)) }()
	return work(backups)
}

// acquire takes the claim, from a holder that is gone if need be.
func (b *Backups) acquire(ctx context.Context) (token uint64, err error) {
	held, err := b.holder(ctx)
	if err != nil {
		return 0, err
	}
	claim := record.Claim{Name: claimName, Node: b.c.Node, Process: b.c.Process}
	o, err := b.propose(ctx, 0, &fsm.AcquireClaim{Claim: claim, Replaces: held})
	if k := fault.Of(err); k == fault.Conflict || k == fault.Precondition {
		return 0, fault.New(fault.Conflict, "another node began to work on the backups just now").WithHint("try again when it is done")
	}
	return o.Revision, err
}

// holder is the token of a claim whose holder is gone, and 0 if nobody holds it.
// That somebody does is a Conflict.
func (b *Backups) holder(ctx context.Context) (token uint64, err error) {
	view, _, err := b.c.Replica.Read(ctx, raftnode.ReadOptions{Mode: raftnode.Linearizable})
	if err != nil {
		return 0, err
	}
	defer view.Close()
	claim, err := view.Claim(claimName)
	if fault.Of(err) == fault.NotFound {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	member, err := view.Member(claim.Node)
	if err != nil && fault.Of(err) != fault.NotFound {
		return 0, err
	}
	alive := err == nil && member.Process == claim.Process
	if alive && claim.Acquired.Add(claimAge) > view.Meta().LogTime {
		return 0, fault.New(fault.Conflict, "node %s works on the backups since %s", claim.Node, claim.Acquired.Time().Format(time.RFC3339)).
			WithHint("try again when it is done")
	}
	return claim.Token, nil
}

// release gives the claim up, also when the work was given up. That it was taken
// away meanwhile is no error: what was written is whole.
func (b *Backups) release(ctx context.Context, token uint64) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	_, err := b.propose(ctx, 0, &fsm.ReleaseClaim{Name: claimName, Token: token})
	if k := fault.Of(err); k == fault.NotFound || k == fault.Fenced {
		return nil
	}
	return err
}

// propose has a command applied. It is refused in any other term; 0 means any term.
func (b *Backups) propose(ctx context.Context, term uint64, c fsm.Command) (fsm.Outcome, error) {
	receipt, err := b.c.Replica.Propose(ctx, raftnode.Request{Actor: b.c.Actor, Term: term, Command: c})
	if err == nil {
		err = receipt.Outcome.Err()
	}
	return receipt.Outcome, err
}
