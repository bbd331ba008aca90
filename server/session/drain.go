package session

import (
	"context"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode/peer"
)

const (
	drainLook  = 50 * time.Millisecond  // between looks whether calls have ended
	drainCalm  = 500 * time.Millisecond // without a call until no more are expected
	handTime   = 3 * time.Second        // for handing everything over
	maxAdopt   = 3 << 20                // bytes of a stream that is handed over: one frame
	maxAdopted = 4096                   // streams that are handed over
)

var errDrained = fault.New(fault.Unavailable, "this node is stopping").
	WithHint("open the stream again, on another node").After(minRetry)

// HandedOver is why the context of a call ended that another node goes on with. The
// upstream must not be told that the call is over.
type HandedOver struct{}

func (HandedOver) Error() string {
	return "this node is stopping, and another one goes on with the call"
}

// HandedOver tells those who know the error by this method only.
func (HandedOver) HandedOver() bool { return true }

func errDraining() error {
	return fault.New(fault.Unavailable, "this node is stopping").
		WithHint("send the request again, to another node").After(minRetry)
}

// errGivenUp ends a call that was begun and that no other node can go on with: the
// upstream may have carried it out, so nobody is told to send it again.
func errGivenUp() error {
	return fault.New(fault.OutcomeUnknown, "this node is stopping, and had no answer yet: the call may have been carried out").
		WithHint("look whether it was before you send it again")
}

// Drain prepares the end of this node, while the cluster and Run go on: it sends GET
// streams elsewhere, and lets calls end until ctx does. Calls that still arrive, on
// connections that clients have open, are taken until none has been in flight for
// half a second: whoever sent them did not know better. Calls that are left when
// ctx ends are written down, if another node can go on with them, and given up
// here: their clients are told to come back, or that the outcome is unknown. At last
// what clients may still come for is handed to another node. It returns after at
// most 3 s more, and is called once.
func (s *Sessions) Drain(ctx context.Context) {
	close(s.draining)
	s.eachHub(func(h *hub) {
		for _, l := range h.listeners {
			l.close(errDrained)
		}
	})
	s.awaitCalls(ctx, drainCalm)
	close(s.shut)
	rest, cancel := context.WithTimeout(context.WithoutCancel(ctx), handTime)
	defer cancel()
	s.giveUpCalls(rest)
	s.awaitCalls(rest, 0)
	s.handOver(rest)
}

func (s *Sessions) eachHub(do func(*hub)) {
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		for _, h := range sh.hubs {
			do(h)
		}
		sh.mu.Unlock()
	}
}

// awaitCalls waits until no call has been in flight for as long as calm, or ctx
// ends.
func (s *Sessions) awaitCalls(ctx context.Context, calm time.Duration) {
	tick := time.NewTicker(drainLook)
	defer tick.Stop()
	busy, late := time.Now(), s.late.Load()
	for {
		open := 0
		s.eachHub(func(h *hub) { open += len(h.calls) + len(h.listeners) })
		if now := s.late.Load(); open > 0 || now != late {
			busy, late = time.Now(), now
		} else if time.Since(busy) >= calm {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// giveUpCalls ends the calls that are in flight. Those that have a record, and
// whose client knows how to come back, are another node's from here on.
func (s *Sessions) giveUpCalls(ctx context.Context) {
	s.putCalls(ctx, true)
	var calls []*Call
	s.eachHub(func(h *hub) {
		for _, c := range h.calls {
			calls = append(calls, c)
		}
	})
	for _, c := range calls {
		if !s.records.has(c) || !c.resumable() {
			c.cancel(errGivenUp())
			continue
		}
		c.hangUp(minRetry)
		c.cancel(HandedOver{})
	}
}

// has reports whether c is in the log as it is.
func (r *callRecords) has(c *Call) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return c.writes.noted && !c.writes.dirty && !c.writes.written.IsZero()
}

// handOver gives the answers that clients may not have got to another node: the
// first that takes one is offered the rest.
func (s *Sessions) handOver(ctx context.Context) {
	var list []*stream
	s.eachHub(func(h *hub) {
		for _, st := range h.kept {
			if len(list) < maxAdopted {
				list = append(list, st)
			}
		}
	})
	nodes := s.others()
	handed := 0
	for _, st := range list {
		q, ok := st.handed()
		if !ok {
			continue
		}
		for len(nodes) > 0 {
			if _, err := call[empty](ctx, s, nodes[0], opAdopt, q); err == nil {
				handed++
				break
			}
			if ctx.Err() != nil {
				return
			}
			nodes = nodes[1:]
		}
	}
	if len(list) > 0 {
		s.log.Info("streams handed to another node", "streams", len(list), "handed", handed)
	}
}

// handed is st as another node gets it, if its answer is there and it fits.
func (st *stream) handed() (*adoptRequest, bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if len(st.ring) == 0 || !st.ring[len(st.ring)-1].last || st.bytes > maxAdopt {
		return nil, false
	}
	q := &adoptRequest{Session: st.session, Stream: st.id, Owner: st.owner}
	for i := range st.ring {
		e := &st.ring[i]
		q.Events = append(q.Events, wireEvent{Offset: e.offset, Sequence: e.sequence, ID: e.id, Data: e.data, Last: e.last})
	}
	return q, true
}

// serveAdopt keeps a stream of a node that stops.
func (s *Sessions) serveAdopt(_ context.Context, from peer.From, q *adoptRequest) (empty, error) {
	if err := record.ValidSessionID(q.Session); err != nil {
		return empty{}, err
	}
	if len(q.Events) == 0 || len(q.Events) > maxStreamEvents || q.Stream.IsZero() {
		return empty{}, fault.New(fault.Invalid, "node %s hands over a stream of %d events, want 1 to %d", from.Node, len(q.Events), maxStreamEvents)
	}
	select {
	case <-s.draining:
		return empty{}, errDraining()
	default:
	}
	st := &stream{id: q.Stream, session: q.Session, owner: q.Owner, keys: s.keys, ids: true, events: &s.events, opened: true, told: true}
	sh := s.shard(q.Session)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	h := sh.hubOf(q.Session)
	st.shared = &h.ringBytes
	st.fill(q.Events)
	h.keepStream(st, time.Now())
	return empty{}, nil
}

// fill puts the events of another node into a new ring; it is finished then.
func (st *stream) fill(events []wireEvent) {
	st.mu.Lock()
	defer st.mu.Unlock()
	for i := range events {
		w := &events[i]
		st.next = w.Offset + 1
		if w.Sequence == 0 {
			continue
		}
		st.lost = max(st.lost, w.Sequence-1) // only what is here counts
		st.sequence = w.Sequence
		st.keep(event{offset: w.Offset, sequence: w.Sequence, id: w.ID, data: append([]byte(nil), w.Data...), last: w.Last})
	}
	st.finished = true
}
