package archive

import (
	"context"
	"fmt"
	"time"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode"
	"github.com/mcpraft/mcpraft/wal"
)

const (
	maxPoll   = time.Second // between looks at what was applied
	minPoll   = 20 * time.Millisecond
	pollShare = 20 // of a flush interval

	entryOverhead = 32 // bytes of an entry beside its data, roughly
)

// A part is what becomes the next segment: the entries behind the archived index.
type part struct {
	at          place // that it follows
	first, last uint64
	gap         bool // nobody has what lies between at and first
	entries     []wal.Entry
	bytes       int64
	due         time.Time // when its oldest change must go; zero: it has only upkeep so far
	now         bool      // no more can be added: it must go
}

// gather collects entries until a part is due: it is large enough, its oldest change
// is old enough, or somebody waits for it. It returns nil when ctx ends.
func (r *run) gather(ctx context.Context) (*part, error) {
	at, err := r.place(ctx)
	if err != nil {
		return nil, err
	}
	if at.Timeline.IsZero() {
		sleep(ctx, maxPoll) // the cluster is about to get its name
		return nil, ctx.Err()
	}
	p := &part{at: at, first: at.Last + 1, last: at.Last}
	if at.Sequence == 0 {
		if err := p.begin(r.c.Log); err != nil {
			return nil, err
		}
	}
	tick := time.NewTicker(min(max(r.pitr.Flush/pollShare, minPoll), maxPoll))
	defer tick.Stop()
	for {
		if err := r.fill(ctx, p); err != nil {
			return nil, err
		}
		if r.isDue(p) {
			return p, nil
		}
		select {
		case <-tick.C:
		case <-r.wanted.wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// begin lets the first part of a timeline begin where this node's log does: what
// lies before is in the backup that comes first.
func (p *part) begin(log Log) error {
	span, err := log.LogRange()
	if err != nil {
		return err
	}
	p.first, p.last = span.First, span.First-1
	return nil
}

func (r *run) isDue(p *part) bool {
	switch {
	case p.last < p.first:
		return false
	case p.now, p.bytes >= r.pitr.SegmentBytes, r.wanted.index.Load() >= p.first:
		return true
	}
	return !p.due.IsZero() && !time.Now().Before(p.due)
}

// fill adds what was applied since, up to the size of a segment.
func (r *run) fill(ctx context.Context, p *part) error {
	span, err := r.c.Log.LogRange()
	if err != nil || span.Applied <= p.last {
		return err
	}
	if span.First > p.last+1 {
		return r.fetch(ctx, p, span)
	}
	r.missing = time.Time{}
	for e, err := range r.c.Log.Entries(p.last+1, span.Applied) {
		if err != nil {
			return err
		}
		if r.add(p, e); p.bytes >= r.pitr.SegmentBytes {
			return nil
		}
	}
	p.last = span.Applied
	return nil
}

func (r *run) add(p *part, e wal.Entry) {
	p.entries = append(p.entries, e)
	p.last = e.Index
	p.bytes += int64(len(e.Data)) + entryOverhead
	if !p.due.IsZero() || !matters(e) {
		return
	}
	// The clock of the leader that stamped it may be another: never wait longer.
	age := time.Since(e.LogTime.Time())
	p.due = time.Now().Add(r.pitr.Flush - min(max(age, 0), r.pitr.Flush))
}

// matters reports whether somebody would miss the entry: the cluster's own upkeep,
// this archive's included, is no reason to cut a segment.
func matters(e wal.Entry) bool { return e.Kind == wal.Commands && !fsm.Housekeeping(e.Data) }

// voterPatience is for how long entries that this node does not have are looked for
// on nodes that do not answer, before they are given up.
const voterPatience = 10 * time.Minute

// fetch adds entries that this node's log does not have, from a node that has them.
// When no node has, the part begins behind them, and says so.
func (r *run) fetch(ctx context.Context, p *part, span raftnode.LogRange) error {
	if r.missing.IsZero() {
		r.missing = time.Now()
	}
	others, err := r.others(ctx)
	if err != nil {
		return err
	}
	oldest := span.First
	var silent error
	for _, node := range others {
		a, err := r.ask(ctx, node, entriesRequest{From: p.last + 1, To: span.Applied})
		if err != nil {
			silent = fault.New(fault.Unreachable, "entries from %d on may be on node %s, which does not answer: %w", p.last+1, node, err)
			continue
		}
		if a.To > p.last {
			return r.take(p, a)
		}
		oldest = min(oldest, a.First)
	}
	switch {
	case p.last >= p.first:
		p.now = true // what there is goes first
	case silent != nil && time.Since(r.missing) < voterPatience:
		return silent
	case oldest <= span.Applied:
		p.skip(oldest)
		r.lost(p)
	}
	return nil
}

// take adds what another node has sent, if it is what was asked for.
func (r *run) take(p *part, a entriesAnswer) error {
	for _, e := range a.Entries {
		if e.Index <= p.last || e.Index > a.To {
			return fault.New(fault.Integrity, "entry %d was sent behind entry %d", e.Index, p.last)
		}
		r.add(p, wal.Entry{Index: e.Index, Term: e.Term, Kind: e.Kind, LogTime: e.LogTime, Data: e.Data})
	}
	p.last = a.To
	return nil
}

// skip lets p begin at index: nobody has the entries before it.
func (p *part) skip(index uint64) {
	p.gap = p.at.Sequence > 0
	p.first, p.last = index, index-1
}

// lost says so, loudly. The base duty takes the backup that closes the gap.
func (r *run) lost(p *part) {
	if !p.gap {
		return
	}
	r.metrics.lost.Add(float64(p.first - p.at.Last - 1))
	message := fmt.Sprintf("entries %d to %d were cut off the log of every node before they could be archived: no point between them can be restored", p.at.Last+1, p.first-1)
	r.log.Error("the archive has a gap", "first", p.at.Last+1, "last", p.first-1)
	r.c.Alarms.Raise(raftnode.AlarmGap, message)
}

// firstTime is the log time that the part begins with.
func (p *part) firstTime() record.LogTime {
	for _, e := range p.entries {
		if e.LogTime > 0 {
			return max(e.LogTime, p.at.LastTime)
		}
	}
	return p.at.LastTime
}
