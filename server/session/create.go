package session

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode"
	"github.com/mcpraft/mcpraft/server/exchange"
	"github.com/mcpraft/mcpraft/server/mcp"
)

const (
	createWait     = 5 * time.Second // for a leader
	createAttempts = 4               // when others take the room that an eviction made
)

// A Draft is a session to begin.
type Draft struct {
	ID           string // of its record, from NewID; "" for one that nobody knew before
	Caller       exchange.Caller
	Protocol     mcp.Version      // negotiated
	Capabilities []byte           // of the client, JSON as it came
	ClientInfo   []byte           // likewise
	Endpoint     string           // alias of the one upstream, "" for the aggregate
	Transport    string           // "streamable-http", "sse", "stdio"
	Bindings     []record.Binding // upstream sessions opened for it, their ids in clear
	RequestID    string           // for the audit trail
}

// Create commits a new session and gives its id. At the principal's limit the
// session that was idle longest ends for it.
//
// Errors are of kind Quota when the principal begins sessions too fast, Overloaded
// at the limit of the cluster, NoLeader and Unavailable when nothing could be
// committed within 5 s; a repeat is safe, for nobody knows the id of a session
// that may have been left behind.
func (s *Sessions) Create(ctx context.Context, d *Draft) (id string, err error) {
	principal := d.Caller.Principal
	if wait := s.starts.take(principal); wait > 0 {
		return "", fault.New(fault.Quota, "this caller opens more than %g sessions a second", s.c.CreateRate).
			WithHint("keep a session for more than one request").After(wait)
	}
	ctx, cancel := context.WithTimeout(ctx, createWait)
	defer cancel()
	command, err := s.creation(d)
	if err != nil {
		return "", err
	}
	command.Evict = s.victims.next(s.c.Activity, principal)
	for attempt := 1; ; attempt++ {
		receipt, err := s.node.Propose(ctx, raftnode.Request{Actor: principal, RequestID: d.RequestID, Command: command})
		if err != nil {
			return "", notCreated(err)
		}
		err = receipt.Outcome.Err()
		if err == nil {
			return formatSessionID(s.keys, command.Session.ID, receipt.Timeline, receipt.Index), nil
		}
		if fault.Of(err) != fault.Quota || attempt == createAttempts {
			return "", err
		}
		if command, err = s.creation(d); err != nil { // the former belongs to who applied it
			return "", err
		}
		if command.Evict, err = s.findVictim(ctx, principal); err != nil {
			return "", notCreated(err)
		}
	}
}

// creation is the command that begins the session.
func (s *Sessions) creation(d *Draft) (*fsm.CreateSession, error) {
	r := record.Session{
		ID:           cmp.Or(d.ID, newRecordID()),
		Principal:    d.Caller.Principal,
		ClientID:     d.Caller.ClientID,
		State:        record.Initializing,
		Protocol:     string(d.Protocol),
		Capabilities: d.Capabilities,
		ClientInfo:   d.ClientInfo,
		Endpoint:     d.Endpoint,
		Transport:    d.Transport,
		AuthMethod:   d.Caller.Method,
		OwnerNode:    s.c.Self,
	}
	for _, b := range d.Bindings {
		sealed, err := sealUpstream(s.c.Sealer, r.ID, b.Session)
		if err != nil {
			return nil, err
		}
		b.Session = sealed
		r.Bind(b)
	}
	return &fsm.CreateSession{Session: r}, nil
}

func notCreated(err error) error {
	if kind := fault.Of(err); kind != fault.OutcomeUnknown && kind != fault.Timeout {
		return err
	}
	return fault.New(fault.Unavailable, "the session could not be committed in time: %w", err).
		WithHint("send initialize again").After(findRetry)
}

// victimsAtOnce is how many sessions of a principal are noted for eviction by one
// look at all of them, and victimsFor how long that look is trusted.
const (
	victimsAtOnce = 32
	victimsFor    = 5 * time.Second
	maxEvictors   = 1 << 14 // principals with notes
)

// evictions remembers, per principal at its limit, the sessions that were idle
// longest: a client that never ends its sessions evicts one with each new one.
type evictions struct {
	mu    sync.Mutex
	notes map[record.Principal]*victimNotes
}

type victimNotes struct {
	at  time.Time
	ids []string // next to go first
}

func newEvictions() evictions { return evictions{notes: make(map[record.Principal]*victimNotes)} }

// next takes the next victim of the notes, "" if there is none.
func (e *evictions) next(used *Activity, p record.Principal) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := e.notes[p]
	if n == nil || time.Since(n.at) > victimsFor {
		return ""
	}
	for len(n.ids) > 0 {
		id := n.ids[0]
		n.ids = n.ids[1:]
		if seen, ok := used.Seen(id); !ok || seen.Before(n.at) {
			return id
		}
	}
	return ""
}

func (e *evictions) put(p record.Principal, ids []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.notes) < maxEvictors || e.notes[p] != nil {
		e.notes[p] = &victimNotes{at: time.Now(), ids: ids}
	}
}

func (e *evictions) sweep(now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for p, n := range e.notes {
		if now.Sub(n.at) > victimsFor {
			delete(e.notes, p)
		}
	}
}

// findVictim looks at all sessions of p for the one that was idle longest, as far
// as this node knows. It has at most as many as the limit allows.
func (s *Sessions) findVictim(ctx context.Context, p record.Principal) (string, error) {
	// What was refused is decided by the newest state, and so is this.
	view, _, err := s.node.Read(ctx, raftnode.ReadOptions{Mode: raftnode.Linearizable})
	if err != nil {
		return "", err
	}
	defer view.Close()
	type idle struct {
		id    string
		since time.Time
	}
	var all []idle
	for r, err := range view.SessionsByUser(0, p, "") {
		if err != nil {
			return "", err
		}
		if !r.State.Live() {
			continue
		}
		since := r.LastActive.Time()
		if seen, ok := s.c.Activity.Seen(r.ID); ok && seen.After(since) {
			since = seen
		}
		if r.State == record.Terminating {
			since = time.Time{} // nobody misses it
		}
		all = append(all, idle{r.ID, since})
	}
	slices.SortFunc(all, func(a, b idle) int { return cmp.Or(a.since.Compare(b.since), cmp.Compare(a.id, b.id)) })
	if len(all) == 0 {
		return "", nil
	}
	// Half of them at most: the other half may be in use by now.
	rest := all[1:max(1, min(victimsAtOnce, len(all)/2))]
	ids := make([]string, len(rest))
	for i := range rest {
		ids[i] = rest[i].id
	}
	s.victims.put(p, ids)
	return all[0].id, nil
}

// maxLimited bounds the principals whose rate is followed at once.
const maxLimited = 1 << 16

// A limiter holds one token bucket per principal that was seen of late.
type limiter struct {
	rate  rate.Limit
	burst int

	mu      *sync.Mutex // guards buckets
	buckets map[record.Principal]*rate.Limiter
}

func newLimiter(perSecond float64, burst int) limiter {
	return limiter{rate: rate.Limit(perSecond), burst: burst, mu: new(sync.Mutex), buckets: make(map[record.Principal]*rate.Limiter)}
}

// take takes one token of p; if there is none it tells when there will be.
func (l *limiter) take(p record.Principal) (wait time.Duration) {
	l.mu.Lock()
	b := l.buckets[p]
	if b == nil {
		if len(l.buckets) >= maxLimited {
			for other := range l.buckets { // any one: it begins with a full bucket again
				delete(l.buckets, other)
				break
			}
		}
		b = rate.NewLimiter(l.rate, l.burst)
		l.buckets[p] = b
	}
	l.mu.Unlock()
	r := b.Reserve()
	if wait = r.Delay(); wait > 0 {
		r.Cancel()
	}
	return wait
}

// sweep forgets the buckets that are full again.
func (l *limiter) sweep(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p, b := range l.buckets {
		if b.TokensAt(now) >= float64(l.burst) {
			delete(l.buckets, p)
		}
	}
}
