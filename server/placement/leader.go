package placement

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode"
)

// forgetAfter is long enough for a forgotten process to count as silent.
const forgetAfter = 10 * takeAfter

// terms is the term that this node leads in, if it does.
type terms struct{ now atomic.Pointer[term] }

// A term is the leader's part in one term. Its work is done one piece after the
// other, so that what it counted is still true when its command is applied.
type term struct {
	p      *Placement
	number raftnode.Term
	ctx    context.Context
	begun  time.Time

	turn sync.Mutex // of placing

	mu    sync.Mutex
	heard map[record.ID]sign // by process
}

// A sign is the last sign of life of a process.
type sign struct {
	at      time.Time
	leaving bool // it is about to stop: give it nothing more
}

// lead is the duty.
func (p *Placement) lead(ctx context.Context, number raftnode.Term) error {
	t := &term{p: p, number: number, ctx: ctx, begun: time.Now(), heard: make(map[record.ID]sign)}
	p.terms.now.Store(t)
	defer p.terms.now.CompareAndSwap(t, nil)
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := t.review(ctx); err != nil && ctx.Err() == nil {
				p.log.Warn("claims of lost nodes were not looked at", "error", err)
			}
		case <-ctx.Done():
			return nil
		}
	}
}

func (p *Placement) leads() (*term, error) {
	if t := p.terms.now.Load(); t != nil && t.ctx.Err() == nil {
		return t, nil
	}
	return nil, fault.New(fault.NoLeader, "node %s does not lead", p.c.Self).After(askEvery)
}

// renewed answers a renewal. That this node leads is confirmed after the request
// has come in, so that no other leader can have taken the claims before.
func (p *Placement) renewed(ctx context.Context, q renewRequest) (renewAnswer, error) {
	t, err := p.leads()
	if err != nil {
		return renewAnswer{}, err
	}
	if !t.hear(q, false) {
		// Its claims may be on their way to others. What comes after that is a lease
		// for what is left.
		t.turn.Lock()
		t.hear(q, true)
		t.turn.Unlock()
	}
	view, _, err := p.node.Read(ctx, raftnode.ReadOptions{Mode: raftnode.Linearizable})
	if err != nil {
		return renewAnswer{}, err
	}
	defer view.Close()
	if t.ctx.Err() != nil {
		return renewAnswer{}, fault.New(fault.NoLeader, "node %s has just stopped leading", p.c.Self)
	}
	return renewAnswer{Index: view.Meta().Index}, nil
}

// hear notes a sign of life. It refuses one that comes so late that the claims of
// the process may be being taken, unless the caller has the turn.
func (t *term) hear(q renewRequest, turn bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !turn && t.silent(q.Process) > takeAfter {
		return false
	}
	t.heard[q.Process] = sign{at: time.Now(), leaving: q.Leaving}
	return true
}

// silent is how long a process was not heard in this term. t.mu is held.
func (t *term) silent(process record.ID) time.Duration {
	if s, ok := t.heard[process]; ok {
		return time.Since(s.at)
	}
	return time.Since(t.begun)
}

// gone reports whether the holder of a claim can do nothing more under it. It is
// called in turn, and what follows from it is done in the same.
func (t *term) gone(view *fsm.View, claim record.Claim) bool {
	if m, err := view.Member(claim.Node); err == nil && m.Process != claim.Process && t.heardOf(m.Process) {
		return true // that process holds the lock of the data directory now
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.silent(claim.Process) > takeAfter
}

func (t *term) heardOf(process record.ID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, ok := t.heard[process]
	return ok
}

// lives reports whether a node has a lease and may be given something.
func (t *term) lives(m record.Member) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, ok := t.heard[m.Process]
	return ok && !s.leaving && time.Since(s.at) < Lease
}

// choose is the node for a child: one that offers its command and lives, with the
// fewest children.
func (t *term) choose(view *fsm.View, command, avoid string) (record.Member, error) {
	load := make(map[string]int)
	for claim, err := range view.Claims(record.ChildPrefix) {
		if err != nil {
			return record.Member{}, err
		}
		load[claim.Node]++
	}
	var candidates []record.Member
	offered := 0
	for m, err := range view.Members() {
		if err != nil {
			return record.Member{}, err
		}
		if !m.Offers(command) {
			continue
		}
		offered++
		if m.Node != avoid && t.lives(m) {
			candidates = append(candidates, m)
		}
	}
	if len(candidates) == 0 {
		return record.Member{}, nobody(command, offered)
	}
	return slices.MinFunc(candidates, func(a, b record.Member) int {
		return cmp.Or(cmp.Compare(load[a.Node], load[b.Node]), strings.Compare(a.Node, b.Node))
	}), nil
}

func nobody(command string, offered int) *fault.Error {
	if offered == 0 {
		return fault.New(fault.Unsupported, "no node has the command %q", command).
			WithHint("name it under upstreams.commands in the configuration of the nodes that shall run it")
	}
	return fault.New(fault.Unavailable, "no other node that has the command %q is alive", command).After(time.Second)
}

// placed answers a placeRequest.
func (p *Placement) placed(ctx context.Context, q placeRequest) (placeAnswer, error) {
	t, err := p.leads()
	if err != nil {
		return placeAnswer{}, err
	}
	alias, _, ok := record.ParseChildClaim(q.Name)
	if !ok {
		return placeAnswer{}, fault.New(fault.Invalid, "%q names no child", q.Name)
	}
	t.turn.Lock()
	defer t.turn.Unlock()
	view, _, err := p.node.Read(ctx, raftnode.ReadOptions{Mode: raftnode.Any})
	if err != nil {
		return placeAnswer{}, err
	}
	defer view.Close()
	claim, err := view.Claim(q.Name)
	switch {
	case fault.Of(err) == fault.NotFound && q.Token == 0:
		if err := within(view, alias, q.Limit); err != nil {
			return placeAnswer{}, err
		}
		return t.give(ctx, view, q, record.Claim{Name: q.Name})
	case err != nil:
		return placeAnswer{}, err
	case q.Token == claim.Token, q.Token == 0 && t.gone(view, claim):
		return t.give(ctx, view, q, claim)
	default:
		return placeAnswer{Claim: claim}, nil
	}
}

// within refuses one child more than an upstream may have.
func within(view *fsm.View, alias string, limit int) error {
	n := 0
	for _, err := range view.Claims(record.ChildClaim(alias, "")) {
		if err != nil {
			return err
		}
		n++
	}
	if n < limit {
		return nil
	}
	return fault.New(fault.Overloaded, "upstream %q: all %d processes of its pool are in use", alias, limit).
		WithHint("end sessions, or raise pool.size of the upstream").WithDetail("upstream", alias).After(time.Second)
}

// give gives a claim to the node that is best for it. It is called in turn.
func (t *term) give(ctx context.Context, view *fsm.View, q placeRequest, claim record.Claim) (placeAnswer, error) {
	to, err := t.choose(view, q.Command, q.From)
	if err != nil {
		return placeAnswer{}, err
	}
	return t.giveTo(ctx, claim, to)
}

func (t *term) giveTo(ctx context.Context, claim record.Claim, to record.Member) (placeAnswer, error) {
	given := record.Claim{Name: claim.Name, Node: to.Node, Process: to.Process}
	revision, err := t.propose(ctx, &fsm.AcquireClaim{Claim: given, Replaces: claim.Token})
	if err != nil {
		return placeAnswer{}, err
	}
	given.Token = revision
	t.p.log.Info("child process placed", "claim", given.Name, "node", given.Node, "token", given.Token, "from", claim.Node)
	return placeAnswer{Claim: given}, nil
}

func (t *term) propose(ctx context.Context, c fsm.Command) (revision uint64, err error) {
	r, err := t.p.node.Propose(ctx, raftnode.Request{Actor: t.p.c.Actor, Term: uint64(t.number), Command: c})
	if err == nil {
		err = r.Outcome.Err()
	}
	return r.Outcome.Revision, err
}

// review takes claims from nodes that are lost: those on children that callers
// share go to others at once, the rest ends, because what their callers had there
// has ended, too.
func (t *term) review(ctx context.Context) error {
	t.turn.Lock()
	defer t.turn.Unlock()
	view, _, err := t.p.node.Read(ctx, raftnode.ReadOptions{Mode: raftnode.Any})
	if err != nil {
		return err
	}
	defer view.Close()
	t.forget()
	for claim, err := range view.Claims(record.ChildPrefix) {
		if err != nil {
			return err
		}
		if !t.gone(view, claim) {
			continue
		}
		if err := t.replace(ctx, view, claim); err != nil {
			return err
		}
	}
	return nil
}

// forget drops the signs of processes that ended long ago.
func (t *term) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	maps.DeleteFunc(t.heard, func(_ record.ID, s sign) bool {
		return time.Since(s.at) > forgetAfter && time.Since(t.begun) > forgetAfter
	})
}

func (t *term) replace(ctx context.Context, view *fsm.View, claim record.Claim) error {
	alias, slot, _ := record.ParseChildClaim(claim.Name)
	u, err := view.Upstream(0, alias)
	wanted := err == nil && !u.Disabled && u.Transport == record.TransportStdio
	if !wanted || !record.SharedSlot(slot) {
		_, err := t.propose(ctx, &fsm.ReleaseClaim{Name: claim.Name, Token: claim.Token})
		return err
	}
	to, err := t.choose(view, u.Command, "")
	if err != nil {
		return nil // nobody can: it stays with the node that may come back
	}
	_, err = t.giveTo(ctx, claim, to)
	return err
}
