package server

import (
	"context"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode"
)

// seedMark is the claim that says that the cluster has its first settings.
const seedMark = "seed/settings"

// seed gives a new cluster its first session settings: the duty of the leader of
// the first term that finds no mark. The settings go first: a leader that dies in
// between leaves a seed that is sown again, never a cluster without one.
type seed struct {
	node     replica
	actor    record.Principal
	name     string
	process  record.ID
	settings record.SessionSettings
}

// replica is the part of a node that seed uses.
type replica interface {
	Propose(ctx context.Context, r raftnode.Request) (raftnode.Receipt, error)
	Read(ctx context.Context, o raftnode.ReadOptions) (*fsm.View, raftnode.ReadInfo, error)
}

func (s *seed) run(ctx context.Context, term raftnode.Term) error {
	done, err := s.sown(ctx)
	if done || err != nil {
		return err
	}
	if err := s.propose(ctx, term, &fsm.PutSessionSettings{Settings: s.settings}); err != nil {
		return err
	}
	mark := record.Claim{Name: seedMark, Node: s.name, Process: s.process}
	return s.propose(ctx, term, &fsm.AcquireClaim{Claim: mark})
}

func (s *seed) sown(ctx context.Context) (bool, error) {
	view, _, err := s.node.Read(ctx, raftnode.ReadOptions{Mode: raftnode.Any})
	if err != nil {
		return false, err
	}
	defer view.Close()
	_, err = view.Claim(seedMark)
	if fault.Of(err) == fault.NotFound {
		return false, nil
	}
	return err == nil, err
}

func (s *seed) propose(ctx context.Context, term raftnode.Term, command fsm.Command) error {
	receipt, err := s.node.Propose(ctx, raftnode.Request{Actor: s.actor, Term: uint64(term), Command: command})
	if err != nil {
		return err
	}
	return receipt.Outcome.Err()
}
