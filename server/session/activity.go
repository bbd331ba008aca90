package session

import (
	"context"
	"hash/maphash"
	"log/slog"
	"sync"
	"time"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/raftnode"
)

// ReportInterval is how often a node looks for activity that is due to be
// written to the log. It is a constant because Expiry on another node relies on
// it.
const ReportInterval = 5 * time.Second

const (
	shardCount     = 64
	reportBatch    = fsm.MaxBatchItems
	reportTimeout  = 10 * time.Second // of one batch
	lastReport     = 3 * time.Second  // for all batches when the node stops
	reportFraction = 3                // a session is reported at most once in TTL / reportFraction
)

// A Proposer appends a command to the log; *raftnode.Node is one.
type Proposer interface {
	Propose(ctx context.Context, r raftnode.Request) (raftnode.Receipt, error)
}

// ActivityConfig is what an Activity is made of.
type ActivityConfig struct {
	Proposer Proposer
	Actor    record.Principal // this node
	Logger   *slog.Logger     // nil means discard
}

// Activity is the node half: when the clients of this node last used their
// sessions. Touch may be called from any goroutine; Run is called once.
//
// There is one record for each session that was touched and whose activity is
// not yet in the log, or was reported less than a third of its TTL ago; the
// limit of live sessions bounds it.
type Activity struct {
	c      ActivityConfig
	log    *slog.Logger
	start  time.Time // monotonic zero of the times below
	seed   maphash.Seed
	shards [shardCount]shard

	// What log time was when Run last learned it; used by Run alone.
	logTime record.LogTime // 0: not known yet
	at      time.Time
}

type shard struct {
	mu       sync.Mutex // guards sessions and what they point to
	sessions map[string]*touched
}

// touched is one session. Times are since Activity.start.
type touched struct {
	ttl      time.Duration
	seen     time.Duration // newest activity
	reported time.Duration // newest activity that is in the log; below 0: none
	due      time.Duration // not reported again before
}

// NewActivity makes an Activity.
func NewActivity(c ActivityConfig) *Activity {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	a := &Activity{c: c, log: c.Logger, start: time.Now(), seed: maphash.MakeSeed()}
	for i := range a.shards {
		a.shards[i].sessions = make(map[string]*touched)
	}
	return a
}

// Touch notes that the live session id, which has that TTL, was used just now.
func (a *Activity) Touch(id string, ttl time.Duration) {
	now := time.Since(a.start)
	s := &a.shards[maphash.String(a.seed, id)%shardCount]
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.sessions[id]
	if t == nil {
		t = &touched{reported: -1}
		s.sessions[id] = t
	}
	t.ttl, t.seen = ttl, now
}

// Seen is when a session was last used on this node; ok is false if that is in
// the log, or was not here.
func (a *Activity) Seen(id string) (at time.Time, ok bool) {
	s := &a.shards[maphash.String(a.seed, id)%shardCount]
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.sessions[id]
	if t == nil || t.seen <= t.reported {
		return time.Time{}, false
	}
	return a.start.Add(t.seen), true
}

// Run reports what is due every ReportInterval until ctx ends, and once more
// then. What could not be reported stays due.
func (a *Activity) Run(ctx context.Context) error {
	tick := time.NewTicker(ReportInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			a.report(ctx, false)
		case <-ctx.Done():
			// The next node must not find a session idle that was busy here.
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastReport)
			defer cancel()
			a.report(last, true)
			return nil
		}
	}
}

// A due is one session of a report.
type due struct {
	id   string
	seen time.Duration
}

// report writes what is due to the log; everything that is not there yet if all
// is set.
func (a *Activity) report(ctx context.Context, all bool) {
	var batch []due
	for i := range a.shards {
		batch = a.shards[i].collect(batch, time.Since(a.start), all)
		for len(batch) >= reportBatch {
			if !a.send(ctx, batch[:reportBatch]) {
				return
			}
			batch = batch[reportBatch:]
		}
	}
	if len(batch) > 0 {
		a.send(ctx, batch)
	}
}

// collect appends the sessions that are due, and forgets those that were silent
// since their last report.
func (s *shard) collect(batch []due, now time.Duration, all bool) []due {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, t := range s.sessions {
		switch {
		case t.seen > t.reported && (all || now >= t.due):
			batch = append(batch, due{id, t.seen})
		case t.seen <= t.reported && now >= t.due:
			delete(s.sessions, id)
		}
	}
	return batch
}

// send proposes one batch and reports whether it is in the log.
func (a *Activity) send(ctx context.Context, batch []due) bool {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	touches := make([]fsm.Touch, len(batch))
	for i, d := range batch {
		touches[i] = fsm.Touch{ID: d.id, LastActive: a.inLogTime(d.seen)}
	}
	receipt, err := a.c.Proposer.Propose(ctx, raftnode.Request{Actor: a.c.Actor, Command: &fsm.TouchSessions{Touches: touches}})
	if err == nil {
		err = receipt.Outcome.Err()
	}
	if err != nil {
		a.log.Warn("session activity not reported", "sessions", len(batch), "err", err)
		return false
	}
	a.logTime, a.at = receipt.Outcome.Time, time.Now()
	now := time.Since(a.start)
	for _, d := range batch {
		s := &a.shards[maphash.String(a.seed, d.id)%shardCount]
		s.mu.Lock()
		if t := s.sessions[d.id]; t != nil {
			t.reported, t.due = d.seen, now+t.ttl/reportFraction
		}
		s.mu.Unlock()
	}
	return true
}

// inLogTime is the log time of a moment on this node, by what the last report
// told. Without one it is "now", which the state machine takes to be the time of
// the entry: later than the truth, so never too early to expire by.
func (a *Activity) inLogTime(seen time.Duration) record.LogTime {
	if a.logTime == 0 {
		return record.LogTime(1<<64 - 1)
	}
	return a.logTime.Add(a.start.Add(seen).Sub(a.at))
}
