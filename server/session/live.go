package session

import (
	"context"
	"crypto/subtle"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode"
	"github.com/mcpraft/mcpraft/server/mcp"
)

// A Live is a session as this node's replica knew it at some moment. It does not
// change; the next request gets another one.
type Live struct {
	ID     string         // as the client knows it
	Record record.Session // not to be changed

	moving  atomic.Bool // it is on its way to being active
	sealer  Sealer
	opening sync.Once
	opened  []record.Binding
	openErr error
}

// Version is the negotiated revision of the protocol.
func (l *Live) Version() mcp.Version { return mcp.Version(l.Record.Protocol) }

// TTL is how long the session lives without activity.
func (l *Live) TTL() time.Duration { return time.Duration(l.Record.TTL) * time.Millisecond }

// Binding is what the session holds at the upstream alias, its upstream session
// id in clear; nil if there is nothing. It is not to be changed.
func (l *Live) Binding(alias string) (*record.Binding, error) {
	l.opening.Do(l.open)
	if l.openErr != nil {
		return nil, l.openErr
	}
	for i := range l.opened {
		if l.opened[i].Alias == alias {
			return &l.opened[i], nil
		}
	}
	return nil, nil
}

// Bindings is what the session holds at all upstreams, like Binding.
func (l *Live) Bindings() ([]record.Binding, error) {
	l.opening.Do(l.open)
	return l.opened, l.openErr
}

func (l *Live) open() {
	for _, b := range l.Record.Bindings {
		plain, err := openUpstream(l.sealer, l.Record.ID, b.Session)
		if err != nil {
			l.openErr = err
			return
		}
		b.Session = plain
		l.opened = append(l.opened, b)
	}
}

// sealUpstream protects an upstream's session id, a bearer secret, in a record of
// the session id; an empty one stays empty.
func sealUpstream(k Sealer, id string, plain []byte) ([]byte, error) {
	if len(plain) == 0 {
		return nil, nil
	}
	return k.Seal(purposeBinding, []byte(id), plain)
}

func openUpstream(k Sealer, id string, sealed []byte) ([]byte, error) {
	if len(sealed) == 0 {
		return nil, nil
	}
	plain, err := k.Open(purposeBinding, []byte(id), sealed)
	if err != nil {
		return nil, fault.New(fault.Integrity, "the upstream session in a session's record does not open: %w", err)
	}
	return plain, nil
}

const (
	findWait  = 3 * time.Second // for proof that a session does not exist
	findRetry = time.Second     // told to the client if there was none
)

// Get is the session with that id, as its client sent it, for a request of
// principal; the request counts as its activity. A session that this replica
// knows needs no leader.
//
// Errors are of kind NotFound when it is proven that there is no such session, it
// has ended, or belongs to somebody else; Unavailable when that could not be found
// out within 3 s; Forbidden while an administrator has suspended it.
func (s *Sessions) Get(ctx context.Context, id string, principal record.Principal) (*Live, error) {
	l := s.known(id)
	if l == nil {
		var err error
		if l, err = s.find(ctx, id); err != nil {
			return nil, err
		}
	}
	if l.Record.Principal != principal || !open(&l.Record) {
		return nil, errNoSession()
	}
	if l.Record.State == record.Suspended && l.Record.ByAdmin {
		return nil, fault.New(fault.Forbidden, "the session is suspended by an administrator").
			WithHint("an administrator can resume it; a new session can be opened with initialize")
	}
	s.c.Activity.Touch(l.Record.ID, l.TTL())
	if l.Record.State != record.Active {
		s.activate(l)
	}
	return l, nil
}

// open reports whether clients can use r; one that is being ended is gone for
// them.
func open(r *record.Session) bool { return r.State.Live() && r.State != record.Terminating }

func errNoSession() error {
	return fault.New(fault.NotFound, "no session of this caller has that id, or it has ended").
		WithHint("open a new session: send initialize without Mcp-Session-Id")
}

// known is the session from memory; nil if it must be looked for. Only ids that
// were verified are in memory.
func (s *Sessions) known(id string) *Live {
	if len(id) <= recordIDLen || len(id) > maxSessionID {
		return nil
	}
	sh := s.shard(id[:recordIDLen])
	sh.mu.Lock()
	l := sh.live[id[:recordIDLen]]
	sh.mu.Unlock()
	if l == nil || subtle.ConstantTimeCompare([]byte(l.ID), []byte(id)) != 1 {
		return nil
	}
	return l
}

// find looks for the session in the replica. That it is not there proves nothing
// before the replica has applied the entry that the id names, on the timeline
// that it names; for any other id only a linearizable read does.
func (s *Sessions) find(ctx context.Context, id string) (*Live, error) {
	ref, ok := parseSessionID(id)
	if !ok {
		return nil, errNoSession()
	}
	ctx, cancel := context.WithTimeout(ctx, findWait)
	defer cancel()
	if !ref.verified(s.keys) {
		// The key that made it may not have come to this node yet.
		if err := s.catchUp(ctx); err != nil {
			return nil, unproven(err)
		}
		if !ref.verified(s.keys) {
			return nil, errNoSession()
		}
	}
	any := raftnode.ReadOptions{Mode: raftnode.Any}
	if l, err := s.load(ctx, ref.record, id, any); l != nil || err != nil {
		return l, unproven(err)
	}
	proof := raftnode.ReadOptions{Mode: raftnode.Linearizable}
	if ref.timeline == s.node.Timeline() {
		proof = raftnode.ReadOptions{Mode: raftnode.Any, MinIndex: ref.index}
	}
	l, err := s.load(ctx, ref.record, id, proof)
	if err == nil && l == nil {
		return nil, errNoSession()
	}
	return l, unproven(err)
}

// Newest is the session as it was committed last, which this replica may not have
// applied yet. Errors are those of Get.
func (s *Sessions) Newest(ctx context.Context, l *Live) (*Live, error) {
	ctx, cancel := context.WithTimeout(ctx, findWait)
	defer cancel()
	now, err := s.load(ctx, l.Record.ID, l.ID, raftnode.ReadOptions{Mode: raftnode.Linearizable})
	if err == nil && (now == nil || !open(&now.Record)) {
		return nil, errNoSession()
	}
	return now, unproven(err)
}

// catchUp waits until this replica has everything that was committed before.
func (s *Sessions) catchUp(ctx context.Context) error {
	view, _, err := s.node.Read(ctx, raftnode.ReadOptions{Mode: raftnode.Linearizable})
	if err == nil {
		view.Close()
	}
	return err
}

// unproven is the error of a search that proved nothing.
func unproven(err error) error {
	if err == nil {
		return nil
	}
	return fault.New(fault.Unavailable, "this node cannot tell yet whether the session exists: %w", err).
		WithHint("send the request again, to any node").After(findRetry)
}

// loadAttempts bounds how often a record that changes while it is read is read
// again; the last reading is used, and not kept.
const loadAttempts = 3

// load reads the session's record and keeps it, unless a change came in while it
// was read, or it is dead. It gives nil when a view as fresh as o asks has no such
// session. id was verified, or is empty: then nothing is kept.
func (s *Sessions) load(ctx context.Context, recordID, id string, o raftnode.ReadOptions) (*Live, error) {
	sh := s.shard(recordID)
	for attempt := 1; ; attempt++ {
		sh.mu.Lock()
		generation := sh.generation
		sh.mu.Unlock()
		r, err := s.read(ctx, recordID, o)
		if fault.Of(err) == fault.NotFound {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		l := &Live{ID: id, Record: r, sealer: s.c.Sealer}
		if id == "" || r.State == record.Dead || sh.keep(l, generation) || attempt == loadAttempts {
			return l, nil
		}
	}
}

// keep stores l unless the shard has changed since generation.
func (sh *sessionShard) keep(l *Live, generation uint64) bool {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.generation != generation {
		return false
	}
	if len(sh.live) >= maxKnown/shardCount {
		for id := range sh.live { // any one: who is used comes back
			delete(sh.live, id)
			break
		}
	}
	sh.live[l.Record.ID] = l
	return true
}

func (s *Sessions) read(ctx context.Context, recordID string, o raftnode.ReadOptions) (record.Session, error) {
	view, _, err := s.node.Read(ctx, o)
	if err != nil {
		return record.Session{}, err
	}
	defer view.Close()
	return view.Session(0, recordID)
}

// watch is told of changes, on the goroutine that applies them.
func (s *Sessions) watch(changes []fsm.Change) {
	for _, c := range changes {
		switch {
		case c.Noun == fsm.ChangedAll:
			for i := range s.shards {
				s.shards[i].invalidateAll(&s.changed)
			}
		case c.Noun == fsm.ChangedSession && c.Scope == 0:
			s.shard(c.Key).invalidate(c.Key, &s.changed)
		}
	}
}

// invalidate forgets a record that has changed, and has it looked at if this node
// knows the session.
func (sh *sessionShard) invalidate(id string, changed *changedSet) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.generation++
	l := sh.live[id]
	delete(sh.live, id)
	if h := sh.hubs[id]; l != nil || h != nil {
		changed.add(id, clientID(l, h))
	}
}

func (sh *sessionShard) invalidateAll(changed *changedSet) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.generation++
	for id, l := range sh.live {
		changed.add(id, clientID(l, sh.hubs[id]))
	}
	for id, h := range sh.hubs {
		changed.add(id, clientID(nil, h))
	}
	clear(sh.live)
}

// clientID is the session's id as its client knows it, "" if this node does not.
func clientID(l *Live, h *hub) string {
	switch {
	case l != nil:
		return l.ID
	case h != nil:
		return h.client
	}
	return ""
}

// maxChanged bounds the changes that wait to be looked at; sessions whose change
// is dropped are looked at when they are next used.
const maxChanged = 1 << 17

// A changedSet holds the sessions whose records have changed, each once.
type changedSet struct {
	mu    sync.Mutex
	ids   map[string]string // record id → client's id, "" if unknown
	ready chan struct{}     // capacity 1: there is something
}

func newChangedSet() changedSet {
	return changedSet{ids: make(map[string]string), ready: make(chan struct{}, 1)}
}

func (c *changedSet) add(id, client string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old, ok := c.ids[id]; !ok && len(c.ids) >= maxChanged || ok && old != "" {
		return
	}
	c.ids[id] = client
	select {
	case c.ready <- struct{}{}:
	default:
	}
}

func (c *changedSet) take() map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	ids := c.ids
	c.ids = make(map[string]string)
	return ids
}

// follow looks at the sessions that changed: it has the new record ready for the
// next request, and ends what is open of a session that has ended.
func (s *Sessions) follow(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.changed.ready:
		}
		for id, client := range s.changed.take() {
			l, err := s.load(ctx, id, client, raftnode.ReadOptions{Mode: raftnode.Any})
			if err != nil {
				s.log.Debug("a session that changed could not be read", "error", err)
				continue
			}
			if l == nil { // purged, or lost in a recovery
				l = &Live{Record: record.Session{ID: id, State: record.Dead}}
			}
			s.take(l)
		}
	}
}

// take applies a session's new state to what this node holds of it.
func (s *Sessions) take(l *Live) {
	switch {
	case !open(&l.Record):
		s.closeHub(l.Record.ID, errEnded(), true)
		if l.Record.State == record.Dead && s.c.Ended != nil {
			s.c.Ended(&l.Record)
		}
	case l.Record.State == record.Suspended && l.Record.ByAdmin:
		s.closeHub(l.Record.ID, errSuspended(), false)
	}
}

func errEnded() *fault.Error { return fault.New(fault.NotFound, "the session has ended") }

func errSuspended() *fault.Error {
	return fault.New(fault.Forbidden, "an administrator has suspended the session")
}
