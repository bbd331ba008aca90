package credential

import (
	"context"
	"time"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode"
)

// resealInterval is well below the time that a former key still opens.
const resealInterval = time.Hour

// Reseal is the duty of the leader of a term (raftnode.Node.Duty): it seals
// secrets again that are sealed under a former key of the cluster, because that
// key is forgotten some days after it was replaced.
func (c *Credentials) Reseal(ctx context.Context, term raftnode.Term) error {
	tick := time.NewTicker(resealInterval)
	defer tick.Stop()
	for {
		if err := c.resealAll(ctx, term); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (c *Credentials) resealAll(ctx context.Context, term raftnode.Term) error {
	view, _, err := c.c.Replica.Read(ctx, raftnode.ReadOptions{Mode: raftnode.Any})
	if err != nil {
		return err
	}
	defer view.Close()
	for rec, err := range view.Credentials(0, "") {
		if err != nil {
			return err
		}
		if err := c.reseal(ctx, term, &rec); err != nil {
			return err
		}
	}
	return nil
}

// reseal proposes rec under the current key, if it is not. A secret that does not
// open stays as it is: whoever looks for it is told.
func (c *Credentials) reseal(ctx context.Context, term raftnode.Term, rec *record.Credential) error {
	change := &fsm.SealCredential{Name: rec.Name, IfRevision: rec.Revision}
	var err error
	if change.Secret, err = c.renewed(secretPurpose, rec.Name, rec.Secret); err == nil {
		change.Token, err = c.renewed(tokenPurpose, rec.Name, rec.Token)
	}
	if err != nil {
		c.c.Logger.Error("a credential does not open, it cannot be sealed under the newest key", "credential", rec.Name, "err", err)
		return nil
	}
	if change.Secret == nil && change.Token == nil {
		return nil
	}
	receipt, err := c.c.Replica.Propose(ctx, raftnode.Request{Actor: c.c.Actor, Command: change, Term: uint64(term)})
	if err == nil {
		err = receipt.Outcome.Err()
	}
	if k := fault.Of(err); k == fault.Precondition || k == fault.NotFound {
		return nil // it changed: next time
	}
	return err
}

// renewed is sealed under the current key; nil if it is already.
func (c *Credentials) renewed(purpose, name string, sealed []byte) ([]byte, error) {
	if len(sealed) == 0 || c.c.Sealer.Current(sealed) {
		return nil, nil
	}
	plain, err := c.c.Sealer.Open(purpose, []byte(name), sealed)
	if err != nil {
		return nil, err
	}
	return c.c.Sealer.Seal(purpose, []byte(name), plain)
}
