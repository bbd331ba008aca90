package adminapi

import (
	"context"
	"encoding/json"
	"net/url"
)

// A Session is an MCP session of the legacy era as an administrator sees it.
// Its id is a secret of its client and is never shown: ID is the first 128 bits
// of the id's SHA-256 as 32 hexadecimal digits.
type Session struct {
	ID           string            `cbor:"1,keyasint" json:"id"`
	User         Principal         `cbor:"2,keyasint" json:"user"`
	ClientID     string            `cbor:"3,keyasint,omitempty" json:"client_id,omitempty"`
	State        string            `cbor:"4,keyasint" json:"state"` // initializing, active, suspended, terminating, dead
	Created      Time              `cbor:"5,keyasint,omitempty" json:"created"`
	LastActive   Time              `cbor:"6,keyasint,omitempty" json:"last_active"` // the newest activity that the log knows of
	TTL          Duration          `cbor:"7,keyasint,omitempty" json:"ttl"`
	Expires      Time              `cbor:"8,keyasint,omitempty" json:"expires"` // never expired before this
	Protocol     string            `cbor:"9,keyasint,omitempty" json:"protocol,omitempty"`
	Capabilities json.RawMessage   `cbor:"10,keyasint,omitempty" json:"capabilities,omitempty"`
	Metadata     map[string]string `cbor:"11,keyasint,omitempty" json:"metadata,omitempty"`
	OwnerNode    string            `cbor:"12,keyasint,omitempty" json:"owner_node,omitempty"` // that took initialize; any serves the session
	Transport    string            `cbor:"13,keyasint,omitempty" json:"transport,omitempty"`
	AuthMethod   string            `cbor:"14,keyasint,omitempty" json:"auth_method,omitempty"`
	ByAdmin      bool              `cbor:"15,keyasint,omitempty" json:"by_admin,omitempty"` // suspended by an administrator
	Reason       string            `cbor:"16,keyasint,omitempty" json:"reason,omitempty"`
	Ended        Time              `cbor:"17,keyasint,omitempty" json:"ended,omitzero"`
	Revision     uint64            `cbor:"18,keyasint,omitempty" json:"revision"`
	Endpoint     string            `cbor:"19,keyasint,omitempty" json:"endpoint,omitempty"`    // alias of the one upstream; empty: the aggregate
	ClientInfo   json.RawMessage   `cbor:"20,keyasint,omitempty" json:"client_info,omitempty"` // what the client says it is
	LogLevel     string            `cbor:"21,keyasint,omitempty" json:"log_level,omitempty"`   // that the client asked for
	Bindings     []Binding         `cbor:"22,keyasint,omitempty" json:"bindings,omitempty"`
}

// A Binding is what a session holds at an upstream.
type Binding struct {
	Upstream      string `cbor:"1,keyasint" json:"upstream"`
	Protocol      string `cbor:"2,keyasint,omitempty" json:"protocol,omitempty"` // negotiated with it
	Session       bool   `cbor:"3,keyasint,omitempty" json:"session"`            // the upstream gave a session of its own
	Subscriptions uint64 `cbor:"4,keyasint,omitempty" json:"subscriptions,omitempty"`
}

// A SessionSpec is what a caller says of a new session. It exists for tools and
// tests; clients open sessions by MCP's initialize.
type SessionSpec struct {
	ID           string            `cbor:"10,keyasint,omitempty" json:"id,omitempty"`   // 1 to 128 visible ASCII characters; empty: the node makes one
	User         *Principal        `cbor:"11,keyasint,omitempty" json:"user,omitempty"` // nil: the caller
	ClientID     string            `cbor:"12,keyasint,omitempty" json:"client_id,omitempty"`
	TTL          Duration          `cbor:"13,keyasint,omitempty" json:"ttl,omitzero"` // 0 means that of the settings
	Protocol     string            `cbor:"14,keyasint,omitempty" json:"protocol,omitempty"`
	Capabilities json.RawMessage   `cbor:"15,keyasint,omitempty" json:"capabilities,omitempty"` // a JSON object, at most 16 KiB
	Metadata     map[string]string `cbor:"16,keyasint,omitempty" json:"metadata,omitempty"`
	Transport    string            `cbor:"17,keyasint,omitempty" json:"transport,omitempty"`
}

// CreateSessionRequest opens a session. With an IdempotencyKey the ID must be
// given, because a replay could not answer one that a node made up.
type CreateSessionRequest struct {
	WriteOptions
	SessionSpec
}

// A CreatedSession answers CreateSessionRequest. It is the one place where a
// session's id is shown.
type CreatedSession struct {
	ID       string `cbor:"1,keyasint" json:"id"`
	Revision uint64 `cbor:"2,keyasint,omitempty" json:"revision"`
	Time     Time   `cbor:"3,keyasint,omitempty" json:"time"`
}

// SessionsRequest lists sessions. The filters combine. A page may hold fewer
// than Limit items, even none, and still have a Next.
type SessionsRequest struct {
	ReadOptions
	User   string `cbor:"10,keyasint,omitempty"` // issuer#subject
	Client string `cbor:"11,keyasint,omitempty"`
	State  string `cbor:"12,keyasint,omitempty"`
	After  string `cbor:"13,keyasint,omitempty"` // Next of the page before
	Limit  uint64 `cbor:"14,keyasint,omitempty"` // 1 to 1000; 0 means 100
}

// SessionRequest reads one session. ID is the session's own id, or at least the
// first 8 digits of the one that lists show, if only one session has them.
type SessionRequest struct {
	bare
	ReadOptions
	ID string `cbor:"10,keyasint"`
}

// KillSessionRequest ends a session at once; it stays as a tombstone for a while.
type KillSessionRequest struct {
	bare
	WriteOptions
	ID string `cbor:"10,keyasint"` // as in SessionRequest
}

// SuspendSessionRequest puts a session aside until ResumeSessionRequest.
type SuspendSessionRequest struct {
	bare
	WriteOptions
	ID string `cbor:"10,keyasint"` // as in SessionRequest
}

// ResumeSessionRequest makes a suspended session active again.
type ResumeSessionRequest struct {
	bare
	WriteOptions
	ID string `cbor:"10,keyasint"` // as in SessionRequest
}

// SessionSettings are the cluster-wide rules for sessions.
type SessionSettings struct {
	TTL             Duration `cbor:"10,keyasint,omitempty" json:"ttl"`               // for sessions that bring none; 1s to 720h
	MaxTotal        uint64   `cbor:"11,keyasint,omitempty" json:"max_total"`         // live sessions
	MaxPerPrincipal uint64   `cbor:"12,keyasint,omitempty" json:"max_per_principal"` // live sessions of one user
	CleanupInterval Duration `cbor:"13,keyasint,omitempty" json:"cleanup_interval"`  // between expiry rounds; 100ms to 1h
	TombstoneTTL    Duration `cbor:"14,keyasint,omitempty" json:"tombstone_ttl"`     // how long a dead session is remembered; 1s to 24h
}

// SessionSettingsRequest reads the settings.
type SessionSettingsRequest struct {
	bare
	ReadOptions
}

// PutSessionSettingsRequest replaces the settings, all of them.
type PutSessionSettingsRequest struct {
	WriteOptions
	SessionSettings
}

func (*CreateSessionRequest) op() Op      { return OpCreateSession }
func (*SessionsRequest) op() Op           { return OpSessions }
func (*SessionRequest) op() Op            { return OpSession }
func (*KillSessionRequest) op() Op        { return OpKillSession }
func (*SuspendSessionRequest) op() Op     { return OpSuspendSession }
func (*ResumeSessionRequest) op() Op      { return OpResumeSession }
func (*SessionSettingsRequest) op() Op    { return OpSessionSettings }
func (*PutSessionSettingsRequest) op() Op { return OpPutSessionSettings }

func sessionPath(id string) string { return "/v1/sessions/" + segment(id) }

func (*CreateSessionRequest) path() string      { return "/v1/sessions" }
func (*SessionsRequest) path() string           { return "/v1/sessions" }
func (r *SessionRequest) path() string          { return sessionPath(r.ID) }
func (r *KillSessionRequest) path() string      { return sessionPath(r.ID) }
func (r *SuspendSessionRequest) path() string   { return sessionPath(r.ID) + "/suspend" }
func (r *ResumeSessionRequest) path() string    { return sessionPath(r.ID) + "/resume" }
func (*SessionSettingsRequest) path() string    { return "/v1/settings/sessions" }
func (*PutSessionSettingsRequest) path() string { return "/v1/settings/sessions" }

func (*CreateSessionRequest) parameters(url.Values)      {}
func (r *CreateSessionRequest) body() any                { return &r.SessionSpec }
func (*PutSessionSettingsRequest) parameters(url.Values) {}
func (r *PutSessionSettingsRequest) body() any           { return &r.SessionSettings }
func (*SessionsRequest) body() any                       { return nil }
func (r *SessionsRequest) parameters(q url.Values) {
	setIf(q, "user", r.User)
	setIf(q, "client", r.Client)
	setIf(q, "state", r.State)
	setIf(q, "after", r.After)
	setNumber(q, "limit", r.Limit)
}

// CreateSession opens a session.
func (c *Client) CreateSession(ctx context.Context, r *CreateSessionRequest) (CreatedSession, Info, error) {
	return call[CreatedSession](ctx, c, r)
}

// Sessions lists sessions.
func (c *Client) Sessions(ctx context.Context, r *SessionsRequest) (Page[Session], Info, error) {
	return call[Page[Session]](ctx, c, r)
}

// Session reads one session.
func (c *Client) Session(ctx context.Context, r *SessionRequest) (Session, Info, error) {
	return call[Session](ctx, c, r)
}

// KillSession ends a session.
func (c *Client) KillSession(ctx context.Context, r *KillSessionRequest) (Receipt, Info, error) {
	return call[Receipt](ctx, c, r)
}

// SuspendSession puts a session aside.
func (c *Client) SuspendSession(ctx context.Context, r *SuspendSessionRequest) (Receipt, Info, error) {
	return call[Receipt](ctx, c, r)
}

// ResumeSession makes a suspended session active again.
func (c *Client) ResumeSession(ctx context.Context, r *ResumeSessionRequest) (Receipt, Info, error) {
	return call[Receipt](ctx, c, r)
}

// SessionSettings reads the cluster-wide rules for sessions.
func (c *Client) SessionSettings(ctx context.Context, r *SessionSettingsRequest) (SessionSettings, Info, error) {
	return call[SessionSettings](ctx, c, r)
}

// PutSessionSettings replaces them.
func (c *Client) PutSessionSettings(ctx context.Context, r *PutSessionSettingsRequest) (Receipt, Info, error) {
	return call[Receipt](ctx, c, r)
}
