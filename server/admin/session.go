package admin

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"iter"
	"strings"
	"sync"
	"time"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/strictjson"
	"github.com/mcpraft/mcpraft/server/adminapi"
	"github.com/mcpraft/mcpraft/server/session"
)

const (
	hashDigits    = 32   // of a session's hash as it is shown
	minHashDigits = 8    // that may stand for a session
	maxCursors    = 4096 // ids of sessions shown of late that a node remembers
	scanStep      = 1024 // records between two looks at the context
)

func (a *API) createSession(ctx context.Context, c *call, r *adminapi.CreateSessionRequest) (adminapi.CreatedSession, adminapi.Info, error) {
	var none adminapi.CreatedSession
	if err := without(r.WriteOptions, true, false, "a new session has no revision"); err != nil {
		return none, adminapi.Info{}, err
	}
	session := record.Session{
		ID:           r.ID,
		Principal:    c.caller,
		ClientID:     r.ClientID,
		State:        record.Initializing,
		TTL:          uint64(max(r.TTL, 0)),
		Protocol:     r.Protocol,
		Capabilities: r.Capabilities,
		Metadata:     r.Metadata,
		Transport:    r.Transport,
	}
	if r.User != nil {
		session.Principal = record.Principal(*r.User)
	}
	if err := validCapabilities(r.Capabilities); err != nil {
		return none, adminapi.Info{}, err
	}
	if r.TTL < 0 {
		return none, adminapi.Info{}, fault.New(fault.Invalid, "ttl %v is negative", r.TTL)
	}
	if session.ID == "" {
		if r.IdempotencyKey != "" {
			return none, adminapi.Info{}, fault.New(fault.Invalid, "a session with an Idempotency-Key needs an id").
				WithHint("a replay could not answer an id that the node made up: choose one, as 26 random letters and digits")
		}
		session.ID = rand.Text()
	}
	outcome, info, err := a.propose(ctx, c, r.WriteOptions, r, &fsm.CreateSession{Session: session})
	if err != nil {
		return none, info, err
	}
	receipt := receiptOf(outcome)
	return adminapi.CreatedSession{ID: session.ID, Revision: receipt.Revision, Time: receipt.Time}, info, nil
}

// validCapabilities keeps out what could not be shown again.
func validCapabilities(raw []byte) error {
	if len(raw) == 0 {
		return nil
	}
	var object map[string]json.RawMessage
	if err := strictjson.DecodeBytes(raw, &object); err != nil || object == nil {
		return fault.New(fault.Invalid, "session is not valid: capabilities: not a JSON object")
	}
	return nil
}

func (a *API) session(ctx context.Context, _ *call, r *adminapi.SessionRequest) (adminapi.Session, adminapi.Info, error) {
	view, info, err := a.view(ctx, r.ReadOptions, adminapi.Linearizable)
	if err != nil {
		return adminapi.Session{}, info, err
	}
	defer view.Close()
	id, err := a.sessionID(ctx, view, r.ID)
	if err != nil {
		return adminapi.Session{}, info, err
	}
	session, err := view.Session(0, id)
	if err != nil {
		return adminapi.Session{}, info, hideID(err, id)
	}
	info.Revision = session.Revision
	return a.sessionOf(&session), info, nil
}

func (a *API) sessions(ctx context.Context, _ *call, r *adminapi.SessionsRequest) (adminapi.Page[adminapi.Session], adminapi.Info, error) {
	var none adminapi.Page[adminapi.Session]
	filter, limit, err := parseFilter(r)
	if err != nil {
		return none, adminapi.Info{}, err
	}
	view, info, err := a.view(ctx, r.ReadOptions, adminapi.Bounded)
	if err != nil {
		return none, info, err
	}
	defer view.Close()
	after, ok, err := a.sessionAfter(ctx, view, r.After)
	if err != nil {
		return none, info, err
	}
	if !ok && r.After != "" {
		return none, info, fault.New(fault.NotFound, "after %q stands for no session any more", r.After).
			WithHint("list again from the start")
	}
	page, err := a.sessionPage(ctx, filter.choose(view, after), filter, limit)
	return page, info, err
}

// A sessionFilter keeps the sessions that a list asks for.
type sessionFilter struct {
	user   *record.Principal
	client string
	state  record.SessionState // 0: any
}

func parseFilter(r *adminapi.SessionsRequest) (f sessionFilter, limit int, err error) {
	if limit, err = pageLimit(r.Limit); err != nil {
		return f, 0, err
	}
	if r.User != "" {
		issuer, subject, ok := strings.Cut(r.User, "#")
		if !ok || issuer == "" || subject == "" {
			return f, 0, fault.New(fault.Invalid, "user %q is not of the form issuer#subject", r.User)
		}
		f.user = &record.Principal{Issuer: issuer, Subject: subject}
	}
	if r.State != "" {
		if f.state, err = record.ParseSessionState(r.State); err != nil {
			return f, 0, err
		}
	}
	f.client = r.Client
	return f, limit, nil
}

// choose reads by the index that promises the fewest records.
func (f *sessionFilter) choose(view *fsm.View, after string) iter.Seq2[record.Session, error] {
	switch {
	case f.user != nil:
		return view.SessionsByUser(0, *f.user, after)
	case f.client != "":
		return view.SessionsByClient(0, f.client, after)
	case f.state != 0:
		return view.SessionsByState(0, f.state, after)
	default:
		return view.Sessions(0, after)
	}
}

func (f *sessionFilter) keeps(s *record.Session) bool {
	return (f.client == "" || s.ClientID == f.client) && (f.state == 0 || s.State == f.state)
}

// sessionPage looks at no more than maxPageScan records; what it finds less than
// asked for is on the next page.
func (a *API) sessionPage(ctx context.Context, sessions iter.Seq2[record.Session, error], f sessionFilter, limit int) (adminapi.Page[adminapi.Session], error) {
	page := adminapi.Page[adminapi.Session]{Items: []adminapi.Session{}}
	bytes, seen, last := 0, 0, ""
	for s, err := range sessions {
		if err == nil && seen%scanStep == 0 {
			err = ctx.Err()
		}
		if err != nil {
			return adminapi.Page[adminapi.Session]{}, err
		}
		keep := f.keeps(&s)
		if keep {
			bytes += sessionSize(&s)
		}
		full := len(page.Items) == limit || bytes > maxPageBytes && len(page.Items) > 0
		if keep && full || seen == maxPageScan {
			page.Next = a.cursors.hash(last)
			break
		}
		if keep {
			page.Items = append(page.Items, a.sessionOf(&s))
		}
		last = s.ID
		seen++
	}
	return page, nil
}

func (a *API) killSession(ctx context.Context, c *call, r *adminapi.KillSessionRequest) (adminapi.Receipt, adminapi.Info, error) {
	return a.moveSession(ctx, c, r.WriteOptions, r, r.ID, record.Dead, "ended by an administrator")
}

func (a *API) suspendSession(ctx context.Context, c *call, r *adminapi.SuspendSessionRequest) (adminapi.Receipt, adminapi.Info, error) {
	return a.moveSession(ctx, c, r.WriteOptions, r, r.ID, record.Suspended, "suspended by an administrator")
}

func (a *API) resumeSession(ctx context.Context, c *call, r *adminapi.ResumeSessionRequest) (adminapi.Receipt, adminapi.Info, error) {
	return a.moveSession(ctx, c, r.WriteOptions, r, r.ID, record.Active, "")
}

func (a *API) moveSession(ctx context.Context, c *call, o adminapi.WriteOptions, r any, ref string, to record.SessionState, reason string) (adminapi.Receipt, adminapi.Info, error) {
	id, err := a.resolve(ctx, ref)
	if err != nil {
		return adminapi.Receipt{}, adminapi.Info{}, err
	}
	receipt, info, err := a.write(ctx, c, o, r, &fsm.MoveSession{ID: id, To: to, ByAdmin: true, Reason: reason, IfRevision: o.IfMatch})
	return receipt, info, hideID(err, id)
}

// resolve is sessionID on a view of its own, opened only if ref may be a hash.
func (a *API) resolve(ctx context.Context, ref string) (string, error) {
	if !isHash(ref) {
		return ownID(ref), nil
	}
	view, _, err := a.view(ctx, adminapi.ReadOptions{}, adminapi.Linearizable)
	if err != nil {
		return "", err
	}
	defer view.Close()
	return a.sessionID(ctx, view, ref)
}

// ownID is the id of the record behind a session's own id: what clients have
// carries proof of it as well.
func ownID(ref string) string {
	if id, ok := session.RecordID(ref); ok {
		return id
	}
	return ref
}

// sessionID is the id of the session that ref stands for: its id, or the first
// digits of its hash. The ids that nodes make are no hashes (they have capital
// letters), so only a reference by hash costs a walk over the sessions, and that
// only if this node has not shown the session of late.
func (a *API) sessionID(ctx context.Context, view *fsm.View, ref string) (string, error) {
	if !isHash(ref) {
		return ownID(ref), nil
	}
	if known, err := isSession(view, ref); known || err != nil {
		return ref, err
	}
	if id, ok := a.cursors.id(ref); ok {
		return id, nil
	}
	found, err := findHash(ctx, view, ref)
	switch {
	case err != nil:
		return "", err
	case len(found) == 0:
		return "", fault.New(fault.NotFound, "no session has an id or hash that begins with %s", ref).
			WithHint("list the sessions with GET /v1/sessions")
	case len(found) > 1:
		return "", fault.New(fault.Conflict, "more than one session has a hash that begins with %s", ref).
			WithHint("give more digits")
	}
	return found[0], nil
}

// findHash walks over the sessions until two are found.
func findHash(ctx context.Context, view *fsm.View, prefix string) ([]string, error) {
	var found []string
	seen := 0
	for s, err := range view.Sessions(0, "") {
		if err == nil && seen%scanStep == 0 {
			err = ctx.Err()
		}
		if err != nil {
			return nil, err
		}
		seen++
		if !strings.HasPrefix(hashOf(s.ID), prefix) {
			continue
		}
		if found = append(found, s.ID); len(found) == 2 {
			break
		}
	}
	return found, nil
}

// sessionAfter is the id behind a cursor; ok is false if there is none.
func (a *API) sessionAfter(ctx context.Context, view *fsm.View, cursor string) (id string, ok bool, err error) {
	if len(cursor) != hashDigits || !isHash(cursor) {
		return "", false, nil
	}
	if id, ok := a.cursors.id(cursor); ok {
		return id, true, nil
	}
	found, err := findHash(ctx, view, cursor)
	if err != nil || len(found) == 0 {
		return "", false, err
	}
	return found[0], true, nil
}

func isHash(s string) bool {
	if len(s) < minHashDigits || len(s) > hashDigits {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func hashOf(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:hashDigits/2])
}

// hideID keeps a session's id out of what is said of it: the state machine puts
// the id, and nothing else, in double quotes.
func hideID(err error, id string) error {
	e := fault.As(err)
	if e == nil {
		return nil
	}
	from, to := strings.IndexByte(e.Message, '"'), strings.LastIndexByte(e.Message, '"')
	if from == to {
		return err
	}
	hidden := *e
	hidden.Message = e.Message[:from] + hashOf(id) + e.Message[to+1:]
	return &hidden
}

// cursors remembers the ids behind the hashes that this node has shown, the
// newest maxCursors, so that the next page and a show by hash need no search.
type cursors struct {
	mu    sync.Mutex
	ids   map[string]string // hash → id
	shown []string          // hashes; a ring once it is full
	next  int               // place in the ring that is overwritten next
}

// hash is the hash of id, remembered.
func (c *cursors) hash(id string) string {
	hash := hashOf(id)
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.ids[hash]; ok {
		return hash
	}
	if c.ids == nil {
		c.ids = make(map[string]string)
	}
	if len(c.shown) < maxCursors {
		c.shown = append(c.shown, hash)
	} else {
		delete(c.ids, c.shown[c.next])
		c.shown[c.next] = hash
		c.next = (c.next + 1) % maxCursors
	}
	c.ids[hash] = id
	return hash
}

// id is the id of a whole hash that is remembered.
func (c *cursors) id(hash string) (string, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id, ok := c.ids[hash]
	return id, ok
}

func (a *API) sessionSettings(ctx context.Context, _ *call, r *adminapi.SessionSettingsRequest) (adminapi.SessionSettings, adminapi.Info, error) {
	view, info, err := a.view(ctx, r.ReadOptions, adminapi.Linearizable)
	if err != nil {
		return adminapi.SessionSettings{}, info, err
	}
	defer view.Close()
	s, err := view.SessionSettings(0)
	return adminapi.SessionSettings{
		TTL:             adminapi.Duration(s.TTL),
		MaxTotal:        s.MaxTotal,
		MaxPerPrincipal: s.MaxPerPrincipal,
		CleanupInterval: adminapi.Duration(s.CleanupInterval),
		TombstoneTTL:    adminapi.Duration(s.TombstoneTTL),
	}, info, err
}

func (a *API) putSessionSettings(ctx context.Context, c *call, r *adminapi.PutSessionSettingsRequest) (adminapi.Receipt, adminapi.Info, error) {
	if err := without(r.WriteOptions, true, false, "settings have no revision"); err != nil {
		return adminapi.Receipt{}, adminapi.Info{}, err
	}
	if r.TTL < 0 || r.CleanupInterval < 0 || r.TombstoneTTL < 0 {
		return adminapi.Receipt{}, adminapi.Info{}, fault.New(fault.Invalid, "session settings are not valid: a duration is negative")
	}
	return a.writeUnversioned(ctx, c, r.WriteOptions, r, &fsm.PutSessionSettings{Settings: record.SessionSettings{
		TTL:             uint64(r.TTL),
		MaxTotal:        r.MaxTotal,
		MaxPerPrincipal: r.MaxPerPrincipal,
		CleanupInterval: uint64(r.CleanupInterval),
		TombstoneTTL:    uint64(r.TombstoneTTL),
	}})
}

func sessionSize(s *record.Session) int {
	return 512 + len(s.ClientID) + len(s.Capabilities) + len(s.ClientInfo) + 128*len(s.Bindings) + len(s.Principal.Issuer) + len(s.Principal.Subject) + metadataSize(s.Metadata)
}

func (a *API) sessionOf(s *record.Session) adminapi.Session {
	return adminapi.Session{
		ID:           a.cursors.hash(s.ID),
		User:         adminapi.Principal(s.Principal),
		ClientID:     s.ClientID,
		State:        s.State.String(),
		Created:      adminapi.TimeOf(s.Created.Time()),
		LastActive:   adminapi.TimeOf(s.LastActive.Time()),
		TTL:          adminapi.DurationOf(time.Duration(s.TTL) * time.Millisecond),
		Expires:      adminapi.TimeOf(s.Expires().Time()),
		Protocol:     s.Protocol,
		Capabilities: s.Capabilities,
		Metadata:     s.Metadata,
		OwnerNode:    s.OwnerNode,
		Transport:    s.Transport,
		AuthMethod:   s.AuthMethod,
		ByAdmin:      s.ByAdmin,
		Reason:       s.Reason,
		Ended:        endedOf(s),
		Revision:     s.Revision,
		Endpoint:     s.Endpoint,
		ClientInfo:   s.ClientInfo,
		LogLevel:     s.LogLevel,
		Bindings:     bindingsOf(s),
	}
}

// bindingsOf leaves out the ids of upstream sessions: whoever has one is that
// session's client.
func bindingsOf(s *record.Session) []adminapi.Binding {
	var list []adminapi.Binding
	for _, b := range s.Bindings {
		list = append(list, adminapi.Binding{
			Upstream: b.Alias, Protocol: b.Protocol, Session: len(b.Session) > 0, Subscriptions: uint64(len(b.Subscriptions)),
		})
	}
	return list
}

func endedOf(s *record.Session) adminapi.Time {
	if s.Ended == 0 {
		return 0
	}
	return adminapi.TimeOf(s.Ended.Time())
}
