package raftnode

import (
	"context"
	"sync"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

// pending is one encoded command on its way into the log.
type pending struct {
	ctx     context.Context // of whoever waits for it
	actor   record.Principal
	encoded []byte
	foreign bool        // forwarded by another node: goes into this node's log or back
	answer  chan answer // capacity 1

	next, prev *pending // in its lane
	lane       *lane    // nil when it is in no queue
}

func newPending(ctx context.Context, actor record.Principal, encoded []byte) *pending {
	return &pending{ctx: ctx, actor: actor, encoded: encoded, answer: make(chan answer, 1)}
}

// answer is what became of a pending command.
type answer struct {
	outcome fsm.Outcome
	index   uint64
	err     error
	unknown bool // with err: the command may have been appended
}

// queue holds commands that wait for a place in an envelope (on the leader) or
// in a forwarded batch (elsewhere). It is bounded, and fair: each principal has
// a lane, and lanes take turns, so that one caller that floods the node delays
// itself only.
type queue struct {
	maxCommands int
	maxBytes    int

	mu       sync.Mutex
	lanes    map[record.Principal]*lane
	turn     *lane // next to be served, in a ring; nil when empty
	commands int
	bytes    int
	least    int           // commands that somebody waits for
	filled   chan struct{} // capacity 1: there are as many
}

// lane is the commands of one principal, oldest first.
type lane struct {
	actor      record.Principal
	head, tail *pending
	next, prev *lane // in the ring
}

func newQueue(maxCommands, maxBytes int) *queue {
	return &queue{
		maxCommands: maxCommands, maxBytes: maxBytes,
		lanes:  make(map[record.Principal]*lane),
		filled: make(chan struct{}, 1),
	}
}

// push appends p, or refuses it when the queue is full.
func (q *queue) push(p *pending) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.commands >= q.maxCommands || q.bytes+len(p.encoded) > q.maxBytes {
		return fault.New(fault.Overloaded, "%d commands (%d bytes) wait on this node, the limit is %d (%d bytes)", q.commands, q.bytes, q.maxCommands, q.maxBytes).
			After(retryOverloaded)
	}
	l := q.lanes[p.actor]
	if l == nil {
		l = &lane{actor: p.actor}
		q.lanes[p.actor] = l
		q.join(l)
	}
	p.lane, p.prev, p.next = l, l.tail, nil
	if l.tail == nil {
		l.head = p
	} else {
		l.tail.next = p
	}
	l.tail = p
	q.commands++
	q.bytes += len(p.encoded)
	if q.commands >= q.least {
		q.ring()
	}
	return nil
}

// ring has whoever serves the queue look at it again.
func (q *queue) ring() {
	select {
	case q.filled <- struct{}{}:
	default:
	}
}

// has reports whether least commands wait, at least one. If not, filled tells
// when they do.
func (q *queue) has(least int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.least = least
	return q.commands >= least
}

// take removes commands, one of each lane in turn, until the next would not fit.
// It returns nil when the queue is empty.
func (q *queue) take(maxCommands, maxBytes int) []*pending {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.commands == 0 {
		return nil
	}
	batch := make([]*pending, 0, min(maxCommands, q.commands))
	size := 0
	for q.turn != nil && len(batch) < maxCommands {
		p := q.turn.head
		if len(batch) > 0 && size+len(p.encoded) > maxBytes {
			break
		}
		size += len(p.encoded)
		batch = append(batch, p)
		next := q.turn.next
		q.unlink(p)
		if q.turn != nil {
			q.turn = next
		}
	}
	return batch
}

// remove takes p out; false means that it was taken before.
func (q *queue) remove(p *pending) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if p.lane == nil {
		return false
	}
	q.unlink(p)
	return true
}

// len is the number of commands and their bytes.
func (q *queue) len() (commands, bytes int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.commands, q.bytes
}

func (q *queue) unlink(p *pending) {
	l := p.lane
	if p.prev == nil {
		l.head = p.next
	} else {
		p.prev.next = p.next
	}
	if p.next == nil {
		l.tail = p.prev
	} else {
		p.next.prev = p.prev
	}
	p.lane, p.next, p.prev = nil, nil, nil
	q.commands--
	q.bytes -= len(p.encoded)
	if l.head == nil {
		q.leave(l)
	}
}

// join puts l at the end of the ring: right before the one whose turn it is.
func (q *queue) join(l *lane) {
	if q.turn == nil {
		l.next, l.prev = l, l
		q.turn = l
		return
	}
	l.next, l.prev = q.turn, q.turn.prev
	l.prev.next, l.next.prev = l, l
}

func (q *queue) leave(l *lane) {
	delete(q.lanes, l.actor)
	if l.next == l {
		q.turn = nil
		return
	}
	l.prev.next, l.next.prev = l.next, l.prev
	if q.turn == l {
		q.turn = l.next
	}
}
