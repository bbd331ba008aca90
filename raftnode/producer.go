package raftnode

import (
	"context"
	"sync"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
)

// producer numbers the commands of this process, so that a retry is recognised
// by the state machine and applied once. A producer is a random id that a logged
// command has opened; its sequences count from 1. Every command carries the
// floor: the highest sequence below which all are answered, and whose results
// the state machine may forget.
//
// A command that nobody waits for any more counts as answered. Should it reach
// the log later, after a command that carried the higher floor, the state
// machine refuses it for good; before that it is applied once.
type producer struct {
	mu    sync.Mutex
	id    record.ID
	ready chan struct{} // closed when id is open
	last  uint64        // newest sequence given out
	floor uint64
	done  [fsm.MaxUnacknowledged]bool // answered, by sequence modulo length; of (floor, last] only
	room  chan struct{}               // closed and replaced when floor moves; nil when nobody waits
}

func newProducer() *producer {
	return &producer{id: newID(), ready: make(chan struct{})}
}

// ticket is one numbered command.
type ticket struct {
	producer record.ID
	sequence uint64
	acked    uint64
}

// begin gives out the next sequence. It waits while the producer is not open or
// has MaxUnacknowledged commands above its floor.
func (p *producer) begin(ctx context.Context) (ticket, error) {
	for {
		p.mu.Lock()
		ready := p.ready
		select {
		case <-ready:
		default:
			p.mu.Unlock()
			if err := waitFor(ctx, ready); err != nil {
				return ticket{}, err
			}
			continue
		}
		if p.last-p.floor < fsm.MaxUnacknowledged {
			p.last++
			t := ticket{producer: p.id, sequence: p.last, acked: p.floor}
			p.mu.Unlock()
			return t, nil
		}
		if p.room == nil {
			p.room = make(chan struct{})
		}
		room := p.room
		p.mu.Unlock()
		if err := waitFor(ctx, room); err != nil {
			return ticket{}, err
		}
	}
}

// end says that t is answered or abandoned.
func (p *producer) end(t ticket) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t.producer != p.id {
		return // of a producer that was closed meanwhile
	}
	p.done[t.sequence%fsm.MaxUnacknowledged] = true
	moved := false
	for p.floor < p.last {
		next := &p.done[(p.floor+1)%fsm.MaxUnacknowledged]
		if !*next {
			break
		}
		*next = false
		p.floor++
		moved = true
	}
	if moved && p.room != nil {
		close(p.room)
		p.room = nil
	}
}

// opened says that id is open in the state.
func (p *producer) opened(id record.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if id != p.id {
		return
	}
	select {
	case <-p.ready:
	default:
		close(p.ready)
	}
}

// replace starts over with a new id when the state machine says that id is
// closed. It reports false if that has happened already.
func (p *producer) replace(id record.ID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.ready:
	default:
		return false
	}
	if id != p.id {
		return false
	}
	p.id, p.last, p.floor = newID(), 0, 0
	clear(p.done[:])
	p.ready = make(chan struct{})
	if p.room != nil {
		close(p.room)
		p.room = nil
	}
	return true
}

// current is the id, and whether it is open.
func (p *producer) current() (record.ID, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.ready:
		return p.id, true
	default:
		return p.id, false
	}
}

func waitFor(ctx context.Context, c <-chan struct{}) error {
	select {
	case <-c:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
