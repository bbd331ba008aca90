package fsm

import (
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

var sessions = table[record.Session]{
	key: func(scope record.Scope, s *record.Session) []byte {
		return tableSession.textKey(scope, s.ID)
	},
	indexes: func(scope record.Scope, s *record.Session) [][]byte {
		return [][]byte{
			textIndex(tableSessionByUser, scope, s.ID, s.Principal.Issuer, s.Principal.Subject),
			textIndex(tableSessionByClient, scope, s.ID, s.ClientID),
			append(sessionStatePrefix(scope, s.State), s.ID...),
			textIndex(tableSessionByOwner, scope, s.ID, s.OwnerNode),
		}
	},
}

var sessionSettings = table[record.SessionSettings]{
	key: func(scope record.Scope, _ *record.SessionSettings) []byte {
		return tableSessionSettings.key(scope)
	},
}

func sessionStatePrefix(scope record.Scope, state record.SessionState) []byte {
	return append(tableSessionByState.key(scope), byte(state))
}

// Counters of live sessions.
func sessionCountKey(scope record.Scope) []byte { return tableSessionCount.key(scope) }

func sessionCountOfKey(scope record.Scope, p record.Principal) []byte {
	return textIndex(tableSessionCountByUser, scope, p.Subject, p.Issuer)
}

func (t *tx) session(id string) *record.Session {
	return sessions.get(t, tableSession.textKey(t.scope, id))
}

// liveSession is the session that a command changes, at the revision that it
// names (0: any), or the rejection.
func (t *tx) liveSession(id string, ifRevision uint64) (*record.Session, Outcome, bool) {
	s := t.session(id)
	if s == nil {
		return nil, reject(fault.NotFound, "the session does not exist"), false
	}
	if o, ok := match(true, "the session", s.Revision, ifRevision); !ok {
		return nil, o, false
	}
	if !s.State.Live() {
		return nil, rejectAt(s.Revision, fault.Conflict, "the session is dead"), false
	}
	return s, Outcome{}, true
}

// sessionSettings are read for every new session, so the last ones that were
// decoded are kept; values are never changed in place.
func (t *tx) sessionSettings() record.SessionSettings {
	key := tableSessionSettings.key(t.scope)
	data := t.get(key)
	if data == nil {
		return record.DefaultSessionSettings()
	}
	if t.settingsOf != &data[0] {
		if err := record.Unmarshal(data, &t.settings); err != nil {
			t.fail(decodeFault(key, err))
		}
		t.settingsOf = &data[0]
	}
	return t.settings
}

func (t *tx) countSession(p record.Principal, delta int) {
	t.addCount(sessionCountKey(t.scope), delta)
	t.addCount(sessionCountOfKey(t.scope, p), delta)
}

// endSession makes a live session a tombstone.
func (t *tx) endSession(s *record.Session, reason string) {
	dead := *s
	dead.State, dead.Reason, dead.Ended, dead.Revision = record.Dead, reason, t.now, t.revision
	sessions.put(t, s, &dead)
	t.countSession(s.Principal, -1)
}

// CreateSession begins a session, if the limits allow. At the principal's own
// limit the session named by Evict ends in the same command.
type CreateSession struct {
	Session record.Session `cbor:"1,keyasint"`           // state initializing or active; ttl 0: that of the settings
	Evict   string         `cbor:"2,keyasint,omitempty"` // id of a live session of the same principal
}

func (*CreateSession) kind() kind { return kindCreateSession }

func (c *CreateSession) validate() error {
	s := c.Session
	if s.TTL == 0 {
		s.TTL = uint64(record.MinSessionTTL / time.Millisecond)
	}
	if err := s.Validate(); err != nil {
		return err
	}
	if s.State != record.Initializing && s.State != record.Active {
		return fault.New(fault.Invalid, "session starts as %v, want initializing or active", s.State)
	}
	if s.ByAdmin || s.Reason != "" || s.Ended != 0 {
		return fault.New(fault.Invalid, "session starts with by_admin, reason or ended, which only a change of its state sets")
	}
	if c.Evict != "" {
		return record.ValidSessionID(c.Evict)
	}
	return nil
}

func (c *CreateSession) apply(t *tx) Outcome {
	s := &c.Session
	if old := t.session(s.ID); old != nil {
		return rejectAt(old.Revision, fault.Conflict, "the session exists already; it is %v", old.State)
	}
	if e, revision := t.sessionEntry(s.ID); e != nil {
		return rejectAt(revision, fault.Conflict, "the session id is the key of a registry entry")
	}
	settings := t.sessionSettings()
	victim, o, ok := t.room(settings, s.Principal, c.Evict)
	if !ok {
		return o
	}
	if victim != nil {
		t.endSession(victim, "evicted")
	}
	if s.TTL == 0 {
		s.TTL = settings.TTL
	}
	s.Created, s.LastActive, s.Revision = t.now, t.now, t.revision
	sessions.put(t, nil, s)
	t.countSession(s.Principal, 1)
	return accept()
}

// room reports whether a session of p may be added, and which one ends for it.
func (t *tx) room(settings record.SessionSettings, p record.Principal, evict string) (victim *record.Session, o Outcome, ok bool) {
	if t.count(sessionCountOfKey(t.scope, p)) < settings.MaxPerPrincipal {
		if t.count(sessionCountKey(t.scope)) >= settings.MaxTotal {
			return nil, reject(fault.Overloaded, "there are %d sessions, the limit of the cluster; try again later", settings.MaxTotal), false
		}
		return nil, Outcome{}, true
	}
	if evict == "" {
		return nil, reject(fault.Quota, "the principal has %d sessions, its limit; end one first", settings.MaxPerPrincipal), false
	}
	victim = t.session(evict)
	if victim == nil || !victim.State.Live() || victim.Principal != p {
		return nil, reject(fault.Quota, "the principal has %d sessions, its limit, and the one to evict is no live session of it", settings.MaxPerPrincipal), false
	}
	return victim, Outcome{}, true
}

func (*CreateSession) rejections() []rejection {
	return []rejection{
		{fault.Conflict, "the id is that of a session, live or dead, or of a registry entry"},
		{fault.Quota, "the principal is at its limit and Evict names no live session of it"},
		{fault.Overloaded, "the scope is at its limit"},
	}
}

// MoveSession takes a session to another state. Besides the legal transitions
// an administrator may suspend a session that is suspended for idleness. A
// session that an administrator suspended is made active only by one. Becoming
// active counts as activity.
type MoveSession struct {
	ID         string              `cbor:"1,keyasint"`
	To         record.SessionState `cbor:"2,keyasint"`
	ByAdmin    bool                `cbor:"3,keyasint,omitempty"`
	Reason     string              `cbor:"4,keyasint,omitempty"`
	IfRevision uint64              `cbor:"5,keyasint,omitempty"` // 0: any
}

func (*MoveSession) kind() kind { return kindMoveSession }

func (c *MoveSession) validate() error {
	if !c.To.Valid() {
		return fault.New(fault.Invalid, "session state %d is unknown", uint8(c.To))
	}
	if c.Reason != "" {
		if err := record.ValidText("reason", c.Reason, record.MaxReason); err != nil {
			return err
		}
	}
	return record.ValidSessionID(c.ID)
}

func (c *MoveSession) apply(t *tx) Outcome {
	s := t.session(c.ID)
	if s == nil {
		return reject(fault.NotFound, "the session does not exist")
	}
	if o, ok := match(true, "the session", s.Revision, c.IfRevision); !ok {
		return o
	}
	again := s.State == record.Suspended && c.To == record.Suspended && c.ByAdmin && !s.ByAdmin
	if !s.State.CanMove(c.To) && !again {
		return rejectAt(s.Revision, fault.Conflict, "the session is %v and cannot become %v", s.State, c.To)
	}
	if s.ByAdmin && c.To == record.Active && !c.ByAdmin {
		return rejectAt(s.Revision, fault.Conflict, "an administrator suspended the session and alone can resume it")
	}
	if c.To == record.Dead {
		t.endSession(s, c.Reason)
		return accept()
	}
	moved := *s
	moved.State, moved.Reason, moved.Revision = c.To, c.Reason, t.revision
	moved.ByAdmin = c.To == record.Suspended && c.ByAdmin
	if c.To == record.Active {
		moved.LastActive = t.now
	}
	sessions.put(t, s, &moved)
	return accept()
}

func (*MoveSession) rejections() []rejection {
	return []rejection{
		{fault.NotFound, "it does not exist"},
		{fault.Precondition, "it is at another revision"},
		{fault.Conflict, "the transition is not legal, or an administrator suspended it and ByAdmin is not set"},
	}
}

// ActivateSessions makes sessions active that are used: those that nobody has used
// before, and those that were suspended for idleness. Others are skipped: active
// ones, those that an administrator suspended, those that have ended. It answers
// Counts.
type ActivateSessions struct {
	IDs []string `cbor:"1,keyasint"`
}

func (*ActivateSessions) kind() kind { return kindActivateSessions }

func (c *ActivateSessions) validate() error { return validItems(len(c.IDs)) }

func (c *ActivateSessions) apply(t *tx) Outcome {
	var n Counts
	for _, id := range c.IDs {
		s := t.session(id)
		if s == nil || s.ByAdmin || !s.State.CanMove(record.Active) {
			n.Skipped++
			continue
		}
		active := *s
		active.State, active.Reason, active.LastActive, active.Revision = record.Active, "", t.now, t.revision
		sessions.put(t, s, &active)
		n.Changed++
	}
	return acceptCounts(t, n)
}

func (*ActivateSessions) rejections() []rejection { return nil }

// A Touch is the newest activity of a session that a node knows of.
type Touch struct {
	_          struct{} `cbor:",toarray"`
	ID         string
	LastActive record.LogTime
}

// TouchSessions moves the last activity of live sessions forward, never above
// the log time. It is no change of the record for a compare-and-set: the
// revision stays. It answers Counts.
type TouchSessions struct {
	Touches []Touch `cbor:"1,keyasint"`
}

func (*TouchSessions) kind() kind { return kindTouchSessions }

func (c *TouchSessions) validate() error { return validItems(len(c.Touches)) }

func (c *TouchSessions) apply(t *tx) Outcome {
	var n Counts
	for _, touch := range c.Touches {
		s := t.session(touch.ID)
		seen := min(touch.LastActive, t.now)
		if s == nil || !s.State.Live() || seen <= s.LastActive {
			n.Skipped++
			continue
		}
		touched := *s
		touched.LastActive = seen
		sessions.put(t, s, &touched)
		n.Changed++
	}
	return acceptCounts(t, n)
}

func (*TouchSessions) rejections() []rejection { return nil }

// An Expiry is a session that its proposer saw idle for its TTL.
type Expiry struct {
	_              struct{} `cbor:",toarray"`
	ID             string
	SeenLastActive record.LogTime // the newest activity that the proposer knows of
}

// ExpireSessions ends sessions that were idle for their TTL. A session is
// skipped if the log knows of newer activity than the proposer did, or if its
// time has not come: expiry is never early. It answers Counts.
type ExpireSessions struct {
	Candidates []Expiry `cbor:"1,keyasint"`
}

func (*ExpireSessions) kind() kind { return kindExpireSessions }

func (c *ExpireSessions) validate() error { return validItems(len(c.Candidates)) }

func (c *ExpireSessions) apply(t *tx) Outcome {
	var n Counts
	for _, candidate := range c.Candidates {
		s := t.session(candidate.ID)
		if s == nil || !s.State.Live() || s.LastActive > candidate.SeenLastActive || !idle(s, candidate.SeenLastActive, t.now) {
			n.Skipped++
			continue
		}
		t.endSession(s, "expired")
		n.Changed++
	}
	return acceptCounts(t, n)
}

// idle reports whether the TTL of s has passed at now since it was last seen.
func idle(s *record.Session, seen, now record.LogTime) bool {
	return seen.Add(time.Duration(s.TTL)*time.Millisecond) <= now
}

func (*ExpireSessions) rejections() []rejection { return nil }

// PurgeSessions forgets sessions that have been dead for the tombstone TTL of
// the settings; others in the list are skipped. It answers Counts.
type PurgeSessions struct {
	IDs []string `cbor:"1,keyasint"`
}

func (*PurgeSessions) kind() kind { return kindPurgeSessions }

func (c *PurgeSessions) validate() error { return validItems(len(c.IDs)) }

func (c *PurgeSessions) apply(t *tx) Outcome {
	var n Counts
	settings := t.sessionSettings()
	for _, id := range c.IDs {
		s := t.session(id)
		if s == nil || !Purgeable(s, settings, t.now) {
			n.Skipped++
			continue
		}
		sessions.remove(t, s)
		n.Changed++
	}
	return acceptCounts(t, n)
}

func (*PurgeSessions) rejections() []rejection { return nil }

// Purgeable reports whether s may be forgotten at now.
func Purgeable(s *record.Session, settings record.SessionSettings, now record.LogTime) bool {
	return s.State == record.Dead && s.Ended.Add(time.Duration(settings.TombstoneTTL)*time.Millisecond) <= now
}

// UpdateSession changes what may change in a session that is not dead.
type UpdateSession struct {
	ID         string             `cbor:"1,keyasint"`
	OwnerNode  *string            `cbor:"2,keyasint,omitempty"` // nil: as it is; empty: nobody
	Metadata   *map[string]string `cbor:"3,keyasint,omitempty"` // nil: as it is
	IfRevision uint64             `cbor:"4,keyasint,omitempty"` // 0: any
	LogLevel   *string            `cbor:"5,keyasint,omitempty"` // nil: as it is
}

func (*UpdateSession) kind() kind { return kindUpdateSession }

func (c *UpdateSession) validate() error {
	if c.OwnerNode != nil && *c.OwnerNode != "" {
		if err := record.ValidNode(*c.OwnerNode); err != nil {
			return err
		}
	}
	if c.Metadata != nil {
		if err := record.ValidMetadata(*c.Metadata); err != nil {
			return err
		}
	}
	if c.LogLevel != nil && *c.LogLevel != "" {
		if err := record.ValidText("log level", *c.LogLevel, record.MaxLogLevel); err != nil {
			return err
		}
	}
	return record.ValidSessionID(c.ID)
}

func (c *UpdateSession) apply(t *tx) Outcome {
	s, o, ok := t.liveSession(c.ID, c.IfRevision)
	if !ok {
		return o
	}
	updated := *s
	if c.OwnerNode != nil {
		updated.OwnerNode = *c.OwnerNode
	}
	if c.Metadata != nil {
		updated.Metadata = *c.Metadata
	}
	if c.LogLevel != nil {
		updated.LogLevel = *c.LogLevel
	}
	updated.Revision = t.revision
	sessions.put(t, s, &updated)
	return accept()
}

func (*UpdateSession) rejections() []rejection {
	return []rejection{
		{fault.NotFound, "it does not exist"},
		{fault.Precondition, "it is at another revision"},
		{fault.Conflict, "it is dead"},
	}
}

// PutSessionSettings replaces the rules for the sessions of a scope. Lower
// limits end no session; they keep new ones out.
type PutSessionSettings struct {
	Settings record.SessionSettings `cbor:"1,keyasint"`
}

func (*PutSessionSettings) kind() kind { return kindPutSessionSettings }

func (c *PutSessionSettings) validate() error { return c.Settings.Validate() }

func (c *PutSessionSettings) apply(t *tx) Outcome {
	sessionSettings.put(t, nil, &c.Settings)
	return accept()
}

func (*PutSessionSettings) rejections() []rejection { return nil }
