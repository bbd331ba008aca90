package upstream

import (
	"context"
	"sync"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

const (
	// tendEvery is how often claims are compared with what runs, beside each change.
	tendEvery = 5 * time.Second

	// unusedAfter is how long a claim may be held of which nothing runs.
	unusedAfter = time.Minute

	releaseLimit = 5 * time.Second
)

// look has tend look at the claims soon.
func (cs *children) look() {
	select {
	case cs.kick <- struct{}{}:
	default:
	}
}

// tend keeps what runs on this node what it holds claims of, until ctx ends.
func (cs *children) tend(ctx context.Context) {
	if cs.ups.o.Children.Claims == nil {
		return
	}
	tick := time.NewTicker(tendEvery)
	defer tick.Stop()
	for {
		select {
		case <-cs.kick:
		case <-cs.ups.o.Children.Changes:
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		cs.killFenced()
		own, err := cs.ups.o.Children.Claims.Own()
		if err != nil {
			cs.ups.o.Logger.Debug("claims on processes were not read", "error", err)
			continue
		}
		for _, claim := range own {
			cs.see(ctx, claim)
		}
	}
}

// see does what a claim of this node asks for.
func (cs *children) see(ctx context.Context, claim record.Claim) {
	alias, slot, ok := record.ParseChildClaim(claim.Name)
	if !ok {
		return
	}
	if _, held := cs.ups.o.Children.Claims.Held(claim.Name); !held {
		return
	}
	up, err := cs.ups.find(alias)
	switch {
	case err != nil && fault.Of(err) != fault.NotFound && fault.Of(err) != fault.Unavailable:
	case err != nil || !up.stdio() || !up.wants(slot):
		cs.giveUp(ctx, claim.Name)
	case record.SharedSlot(slot):
		cs.keep(ctx, up, claim)
	case up.unused(claim):
		cs.giveUp(ctx, claim.Name)
	}
}

// wants reports whether the upstream, as its record is now, has that slot.
func (up *upstream) wants(slot string) bool {
	shared := up.rec.SessionMode == "" || up.rec.SessionMode == modeShared
	if shared != record.SharedSlot(slot) {
		return false
	}
	if !shared {
		return true
	}
	for n := range up.mostChildren() {
		if (key{mode: modeShared, slot: uint32(n)}).childSlot() == slot {
			return true
		}
	}
	return false
}

// unused reports whether a claim stands for nothing that anybody has open here.
func (up *upstream) unused(claim record.Claim) bool {
	if time.Since(claim.Acquired.Time()) < unusedAfter {
		return false
	}
	up.mu.Lock()
	defer up.mu.Unlock()
	for k := range up.sessions {
		if up.claim(k) == claim.Name {
			return false
		}
	}
	return true
}

// giveUp ends the process of a claim, if one runs, and then gives the claim up.
func (cs *children) giveUp(ctx context.Context, name string) {
	token, held := cs.ups.o.Children.Claims.Held(name)
	if !held {
		return
	}
	sl := cs.end(name)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseLimit)
	defer cancel()
	if err := cs.ups.o.Children.Claims.Release(ctx, name, token); err != nil {
		sl.bar(false)
		cs.ups.o.Logger.Warn("a claim on a process was not given up", "claim", name, "error", err)
		return
	}
	cs.forget(name)
}

// forget drops what is known of a claim that this node has no more.
func (cs *children) forget(name string) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	delete(cs.slots, name)
}

// end ends the process of a claim, if one runs, and waits for it. None is started
// under that claim until its slot is unbarred.
func (cs *children) end(name string) *slot {
	sl := cs.slot(name)
	c := sl.bar(true)
	if c != nil {
		c.ending.Store(true)
		c.proc.Stop()
		sl.gone(c)
	}
	return sl
}

// keep has the process of a claim that callers share run from now on, for as long
// as this node holds the claim under that token.
func (cs *children) keep(ctx context.Context, up *upstream, claim record.Claim) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.kept[claim.Name] {
		return
	}
	_, slot, _ := record.ParseChildClaim(claim.Name)
	cs.kept[claim.Name] = true
	begun := cs.ups.own(func() {
		defer func() {
			cs.mu.Lock()
			delete(cs.kept, claim.Name)
			cs.mu.Unlock()
			cs.look() // perhaps another keeper is wanted
		}()
		for ctx.Err() == nil && cs.keepOnce(ctx, up.rec.Alias, slot, claim) {
		}
	})
	if !begun {
		delete(cs.kept, claim.Name)
	}
}

// keepOnce starts the process and waits for its end, or that of whatever it stands
// for. It reports whether to go on.
func (cs *children) keepOnce(ctx context.Context, alias, slot string, claim record.Claim) bool {
	claims := cs.ups.o.Children.Claims
	if token, held := claims.Held(claim.Name); !held || token != claim.Token {
		return false
	}
	up, err := cs.ups.find(alias)
	if err != nil || !up.stdio() || !up.wants(slot) {
		return false // tend gives it up
	}
	k, ok := sharedKey(slot)
	if !ok {
		return false
	}
	s := up.session(k)
	defer s.leave()
	st, err := s.current(ctx, new(Caller), false)
	if err != nil {
		up.log.Warn("process not usable", "claim", claim.Name, "error", err)
		return cs.recover(ctx, up, claim)
	}
	select {
	case <-st.channel.done:
		return cs.recover(ctx, up, claim)
	case <-up.over:
		return true
	case <-ctx.Done():
		return false
	}
}

// recover does what the upstream's record wants after a failure, and reports
// whether the process is to be started again here.
func (cs *children) recover(ctx context.Context, up *upstream, claim record.Claim) bool {
	if ctx.Err() != nil {
		return false
	}
	if up.rec.Recovery != record.RecoverRelocate {
		return true
	}
	if token, held := cs.ups.o.Children.Claims.Held(claim.Name); !held || token != claim.Token {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, releaseLimit)
	defer cancel()
	if err := cs.move(ctx, up, claim); err != nil {
		up.log.Warn("process is started again where it was: it could not be moved", "claim", claim.Name, "error", err)
		return true
	}
	return false
}

// move ends the process of a claim and gives the claim to another node.
func (cs *children) move(ctx context.Context, up *upstream, claim record.Claim) error {
	sl := cs.end(claim.Name)
	if err := cs.ups.o.Children.Claims.Move(ctx, claim.Name, claim.Token, up.rec.Command); err != nil {
		sl.bar(false)
		return err
	}
	cs.forget(claim.Name)
	return nil
}

// Leave ends the processes of this node, which is about to stop, and gives their
// claims to others: those that callers share at once, the rest when they are asked
// for. What cannot be given away until ctx ends is taken when the lease has ended.
func (u *Upstreams) Leave(ctx context.Context) {
	claims := u.o.Children.Claims
	if claims == nil {
		return
	}
	u.children.leaving.Store(true)
	own, err := claims.Own()
	if err != nil {
		u.o.Logger.Warn("claims on processes were not read", "error", err)
		return
	}
	var wg sync.WaitGroup
	for _, claim := range own {
		wg.Go(func() { u.children.leave(ctx, claim) })
	}
	wg.Wait()
}

func (cs *children) leave(ctx context.Context, claim record.Claim) {
	alias, slot, _ := record.ParseChildClaim(claim.Name)
	up, err := cs.ups.find(alias)
	if err == nil && record.SharedSlot(slot) && up.wants(slot) {
		if err := cs.move(ctx, up, claim); err == nil {
			return
		}
	}
	cs.giveUp(ctx, claim.Name)
}
