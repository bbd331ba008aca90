package placement

import (
	"context"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode"
)

// Run renews this node's lease until ctx ends; what it holds then, it holds until the
// lease ends.
func (p *Placement) Run(ctx context.Context) error {
	renew := time.NewTicker(renewEvery)
	defer renew.Stop()
	watch := time.NewTicker(renewEvery / 5)
	defer watch.Stop()
	renewed := make(chan struct{}, 1)
	renewed <- struct{}{} // a token: one renewal runs at a time
	for {
		p.tell()
		select {
		case <-watch.C: // the end of a lease is noticed while a renewal hangs
		case <-renew.C:
			select {
			case <-renewed:
				go func() { // waited for below, through renewed
					p.renew(ctx)
					renewed <- struct{}{}
				}()
			default:
			}
		case <-ctx.Done():
			<-renewed
			return ctx.Err()
		}
	}
}

// renew asks the leader for a longer lease.
func (p *Placement) renew(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, Lease)
	defer cancel()
	p.mu.Lock()
	leaving := p.leaving
	p.mu.Unlock()
	sent := time.Now()
	answer, err := callLeader[renewAnswer](ctx, p, opRenew, renewRequest{Node: p.c.Self, Process: p.c.Process, Leaving: leaving}, p.renewed)
	if err != nil {
		p.log.Debug("lease not renewed", "error", err)
		return
	}
	// What was taken from us must be known here before we hold what is left.
	view, _, err := p.node.Read(ctx, raftnode.ReadOptions{Mode: raftnode.Any, MinIndex: answer.Index})
	if err != nil {
		p.log.Debug("lease not renewed", "error", err)
		return
	}
	view.Close()
	p.mu.Lock()
	p.until = sent.Add(Lease)
	p.mu.Unlock()
	p.tell()
}

// leased reports whether there is a lease at now. The wall clock counts, too: the
// other one stands still while a machine is suspended.
func (p *Placement) leased(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.leasedLocked(now)
}

func (p *Placement) leasedLocked(now time.Time) bool {
	return now.Before(p.until) && now.Round(0).Before(p.until.Round(0))
}

// tell brings it to Changes if there is a lease and was none before, or the reverse.
func (p *Placement) tell() {
	p.mu.Lock()
	leased := p.leasedLocked(time.Now())
	news := leased != p.told
	p.told = leased
	if news {
		p.wake()
	}
	p.mu.Unlock()
	if !news {
		return
	}
	if leased {
		p.log.Info("this node may run child processes: it has a lease")
	} else {
		p.log.Warn("this node has lost its lease; its child processes end", "after", Lease.String())
	}
	p.changed()
}

// Leave has the leader give nothing more to this node, which is about to stop.
func (p *Placement) Leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leaving = true
}

// callLeader asks the leader, wherever it is; here is who answers if that is this
// node.
func callLeader[A, Q any](ctx context.Context, p *Placement, op uint16, q Q, here func(context.Context, Q) (A, error)) (A, error) {
	var answer A
	leader, _, ok := p.node.Leader()
	if !ok {
		return answer, fault.New(fault.NoLeader, "no leader is known").After(askEvery)
	}
	if leader == p.c.Self {
		return here(ctx, q)
	}
	body, err := record.Encode(q)
	if err != nil {
		return answer, err
	}
	data, err := p.node.Call(ctx, leader, op, body)
	if err != nil {
		return answer, err
	}
	if err := record.Decode(data, &answer); err != nil {
		return answer, fault.New(fault.Internal, "the answer of node %s to operation %d does not decode: %w", leader, op, err)
	}
	return answer, nil
}

// ask has the leader place something.
func (p *Placement) ask(ctx context.Context, q placeRequest) (record.Claim, error) {
	answer, err := callLeader[placeAnswer](ctx, p, opPlace, q, p.placed)
	return answer.Claim, err
}
