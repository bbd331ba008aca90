package session

import (
	"context"
	"sync"
	"time"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode"
	"github.com/mcpraft/mcpraft/server/mcp"
)

const (
	recordAfter    = 2 * time.Second // age of a call that gets a record
	recordEvery    = 2 * time.Second // between two records of one call
	recordInterval = 500 * time.Millisecond
	recordTimeout  = 5 * time.Second
	maxRecorded    = 4096 // calls of a node with a record, or waiting for one
	maxDropped     = 4096 // records that wait to be dropped; the others expire
)

// An Upstream is where a call has come to at its upstream: all that another node
// needs to fetch the answer.
type Upstream struct {
	Alias       string
	Protocol    string // negotiated with the upstream
	Session     string // the upstream's session id, in clear; "" if it gave none
	Request     mcp.ID // id of the call at the upstream
	LastEventID string // newest event of the upstream's stream
}

// Upstream notes how far the upstream has come. It costs nothing while the call is
// younger than 2 s, and later one write in 2 s, which is shared with other calls.
// Without a LastEventID the answer cannot be fetched, and nothing is noted.
func (c *Call) Upstream(u Upstream) {
	if u.LastEventID != "" {
		c.s.records.note(c, u)
	}
}

// callWrites is what is written down of a call, and when.
type callWrites struct {
	began   time.Time
	at      Upstream
	noted   bool      // in callRecords
	dirty   bool      // not written as it is
	written time.Time // last; zero: there is no record
}

// callRecords are the calls of this node that have a record in the log, or get one
// when they are old enough.
type callRecords struct {
	mu      sync.Mutex
	calls   map[record.ID]*Call
	dropped []record.ID // records of calls that were answered
}

func newCallRecords() callRecords { return callRecords{calls: make(map[record.ID]*Call)} }

func (r *callRecords) note(c *Call, u Upstream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := &c.writes
	if !w.noted {
		if len(r.calls) >= maxRecorded {
			return
		}
		r.calls[c.id], w.noted = c, true
		w.began = time.Now()
	}
	w.at, w.dirty = u, true
}

// drop forgets a call that was answered.
func (r *callRecords) drop(c *Call) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !c.writes.noted {
		return
	}
	delete(r.calls, c.id)
	if !c.writes.written.IsZero() && len(r.dropped) < maxDropped {
		r.dropped = append(r.dropped, c.id)
	}
}

// due is what is to be written now; everything that is noted if all is set.
func (r *callRecords) due(now time.Time, all bool, session func(*Call) (record.Call, bool)) (list []record.Call) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.calls {
		w := &c.writes
		if !w.dirty || !all && (now.Sub(w.began) < recordAfter || now.Sub(w.written) < recordEvery) {
			continue
		}
		// Taken for written before it is: a record that may exist is dropped later.
		w.dirty, w.written = false, now
		if rec, ok := session(c); ok {
			list = append(list, rec)
		}
	}
	return list
}

// failed has calls written again.
func (r *callRecords) failed(list []record.Call) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range list {
		if c := r.calls[list[i].ID]; c != nil {
			c.writes.dirty = true
		}
	}
}

func (r *callRecords) takeDropped() []record.ID {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := r.dropped
	r.dropped = nil
	return list
}

// recordOf is the record of a call; ok is false if it cannot have one. The lock of
// the records is held.
func (s *Sessions) recordOf(c *Call) (rec record.Call, ok bool) {
	u := &c.writes.at
	sealed, err := sealUpstream(s.c.Sealer, c.session, []byte(u.Session))
	if err == nil {
		rec = record.Call{
			ID: c.id, Session: c.session, RequestID: []byte(c.request), Alias: u.Alias, Protocol: u.Protocol,
			UpstreamSession: sealed, UpstreamRequest: []byte(u.Request), LastEventID: []byte(u.LastEventID),
		}
		err = rec.Validate()
	}
	if err != nil {
		s.log.Debug("a call cannot be written down, so no other node can take it over", "error", err)
	}
	return rec, err == nil
}

// writeCalls writes call records, and drops them, in batches until ctx ends.
func (s *Sessions) writeCalls(ctx context.Context) {
	tick := time.NewTicker(recordInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			// Calls that were answered while the node stopped leave no record behind.
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastReport)
			defer cancel()
			s.dropCalls(last)
			return
		case <-tick.C:
		}
		s.putCalls(ctx, false)
		s.dropCalls(ctx)
	}
}

func (s *Sessions) putCalls(ctx context.Context, all bool) {
	list := s.records.due(time.Now(), all, s.recordOf)
	for len(list) > 0 {
		batch := callBatch(list)
		list = list[len(batch):]
		if err := s.housekeep(ctx, &fsm.PutCalls{Calls: batch}); err != nil {
			s.log.Debug("call records were not written", "calls", len(batch), "error", err)
			s.records.failed(batch)
			s.records.failed(list)
			return
		}
	}
}

// callBatch is the beginning of list that fits one command: a call has at most
// about 3 KiB, so the greatest number of them does.
func callBatch(list []record.Call) []record.Call { return list[:min(len(list), fsm.MaxCallsAtOnce)] }

func (s *Sessions) dropCalls(ctx context.Context) {
	list := s.records.takeDropped()
	for len(list) > 0 {
		n := min(len(list), fsm.MaxBatchItems)
		if err := s.housekeep(ctx, &fsm.DropCalls{IDs: list[:n]}); err != nil {
			s.log.Debug("call records were not dropped; they expire", "calls", len(list), "error", err)
			return
		}
		list = list[n:]
	}
}

// housekeep proposes a command of the node's own.
func (s *Sessions) housekeep(ctx context.Context, command fsm.Command) error {
	ctx, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	receipt, err := s.node.Propose(ctx, raftnode.Request{Actor: s.c.Actor, Command: command})
	if err == nil {
		err = receipt.Outcome.Err()
	}
	return err
}

// takeRecord takes the record of a call whose node is gone: it is nobody else's
// after it returned with ok. An error says that it is not known whether it is ours.
func (s *Sessions) takeRecord(ctx context.Context, session string, id record.ID) (rec record.Call, ok bool, err error) {
	view, _, err := s.node.Read(ctx, raftnode.ReadOptions{Mode: raftnode.Linearizable})
	if err != nil {
		return rec, false, err
	}
	defer view.Close()
	rec, err = view.Call(0, id)
	if fault.Of(err) == fault.NotFound || err == nil && rec.Session != session {
		return rec, false, nil
	}
	if err != nil {
		return rec, false, err
	}
	receipt, err := s.node.Propose(ctx, raftnode.Request{Actor: s.c.Actor, Command: &fsm.DropCalls{IDs: []record.ID{id}}})
	if err == nil {
		err = receipt.Outcome.Err()
	}
	if err != nil {
		return rec, false, err
	}
	counts, err := receipt.Outcome.Counts()
	return rec, counts.Changed == 1, err
}
