package record

import (
	"fmt"
	"slices"
	"time"
)

// SessionState is where a session is in its life. Numbers are for ever.
type SessionState uint8

const (
	Initializing SessionState = 1 // committed, the client has not spoken since initialize
	Active       SessionState = 2
	Suspended    SessionState = 3 // idle, or put aside by an administrator
	Terminating  SessionState = 4 // being ended: streams are closed, upstream sessions let go
	Dead         SessionState = 5 // a tombstone: kept for a while so that "gone" can be told from "never"
)

var sessionStates = [...]string{
	Initializing: "initializing",
	Active:       "active",
	Suspended:    "suspended",
	Terminating:  "terminating",
	Dead:         "dead",
}

// sessionMoves are the legal transitions; everything else is a conflict.
var sessionMoves = map[SessionState][]SessionState{
	Initializing: {Active, Terminating, Dead},
	Active:       {Suspended, Terminating, Dead},
	Suspended:    {Active, Terminating, Dead},
	Terminating:  {Dead},
	Dead:         nil,
}

// SessionStates lists the states in the order of a life.
func SessionStates() []SessionState {
	return []SessionState{Initializing, Active, Suspended, Terminating, Dead}
}

// Valid reports whether s is one of the states.
func (s SessionState) Valid() bool { return s >= Initializing && s <= Dead }

// Live reports whether a session in s counts against the limits.
func (s SessionState) Live() bool { return s.Valid() && s != Dead }

// CanMove reports whether a session may go from s to next.
func (s SessionState) CanMove(next SessionState) bool {
	return slices.Contains(sessionMoves[s], next)
}

func (s SessionState) String() string {
	if s.Valid() {
		return sessionStates[s]
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// ParseSessionState reads the name of a state.
func ParseSessionState(name string) (SessionState, error) {
	for _, s := range SessionStates() {
		if s.String() == name {
			return s, nil
		}
	}
	p := problems{noun: "session state"}
	p.add("state", "%q is not one of initializing, active, suspended, terminating, dead", name)
	return 0, p.err()
}

// Bounds of a session's settings.
const (
	MinSessionTTL   = time.Second
	MaxSessionTTL   = 30 * 24 * time.Hour
	MaxCapabilities = 16 << 10 // bytes of JSON
	MaxClientInfo   = 4 << 10  // bytes of JSON
	MaxLogLevel     = 16
)

// A Session is an MCP session of the legacy era as every node sees it. Its id
// is chosen by the node that opened it (see server/session); it is text of
// visible ASCII and stands for nothing here.
type Session struct {
	ID           string            `cbor:"1,keyasint"` // 1 to MaxSessionID visible ASCII characters
	Principal    Principal         `cbor:"2,keyasint"` // the user it is bound to, for ever
	ClientID     string            `cbor:"3,keyasint,omitempty"`
	State        SessionState      `cbor:"4,keyasint"`
	Created      LogTime           `cbor:"5,keyasint,omitempty"` // set when applied
	LastActive   LogTime           `cbor:"6,keyasint,omitempty"` // the newest activity the log knows of; only grows
	TTL          uint64            `cbor:"7,keyasint"`           // ms without activity after which it may expire
	Protocol     string            `cbor:"8,keyasint,omitempty"` // negotiated MCP revision
	Capabilities []byte            `cbor:"9,keyasint,omitempty"` // the client's, JSON as it came
	Metadata     map[string]string `cbor:"10,keyasint,omitempty"`
	OwnerNode    string            `cbor:"11,keyasint,omitempty"` // node that took initialize; its calls and streams may be on any
	Transport    string            `cbor:"12,keyasint,omitempty"` // "streamable-http", "sse", "stdio"
	AuthMethod   string            `cbor:"13,keyasint,omitempty"` // "jwt", "token", "dev"
	ByAdmin      bool              `cbor:"14,keyasint,omitempty"` // suspended by an administrator: activity does not lift it
	Reason       string            `cbor:"15,keyasint,omitempty"` // why it is suspended, terminating or dead
	Ended        LogTime           `cbor:"16,keyasint,omitempty"` // when it became dead
	Revision     uint64            `cbor:"17,keyasint,omitempty"` // set when applied
	Endpoint     string            `cbor:"18,keyasint,omitempty"` // alias of the one upstream it talks to; empty: the aggregate
	ClientInfo   []byte            `cbor:"19,keyasint,omitempty"` // JSON as it came; for people, never for decisions
	LogLevel     string            `cbor:"20,keyasint,omitempty"` // as logging/setLevel asked; empty: never asked
	Bindings     []Binding         `cbor:"21,keyasint,omitempty"` // upstream sessions, by alias in ascending order
}

// Expires is when s may be expired if nothing is heard of it: never before
// LastActive + TTL.
func (s *Session) Expires() LogTime {
	return s.LastActive.Add(time.Duration(s.TTL) * time.Millisecond)
}

// Validate reports every mistake of s.
func (s *Session) Validate() error {
	p := problems{noun: "session"}
	p.sessionID("id", s.ID)
	p.principal("principal", s.Principal)
	p.text("client_id", s.ClientID, MaxClientID, false)
	if !s.State.Valid() {
		p.add("state", "%d is unknown", uint8(s.State))
	}
	if ttl := time.Duration(s.TTL) * time.Millisecond; s.TTL > uint64(MaxSessionTTL/time.Millisecond) || ttl < MinSessionTTL {
		p.add("ttl", "%d ms is outside %v to %v", s.TTL, MinSessionTTL, MaxSessionTTL)
	}
	p.text("protocol", s.Protocol, 32, false)
	if len(s.Capabilities) > MaxCapabilities {
		p.add("capabilities", "has %d bytes, the limit is %d", len(s.Capabilities), MaxCapabilities)
	}
	p.metadata("metadata", s.Metadata)
	if s.OwnerNode != "" {
		p.name("owner_node", s.OwnerNode, MaxName)
	}
	p.text("transport", s.Transport, 32, false)
	p.text("auth_method", s.AuthMethod, 32, false)
	p.text("reason", s.Reason, MaxReason, false)
	if s.Endpoint != "" {
		p.name("endpoint", s.Endpoint, MaxAlias)
	}
	if len(s.ClientInfo) > MaxClientInfo {
		p.add("client_info", "has %d bytes, the limit is %d", len(s.ClientInfo), MaxClientInfo)
	}
	p.text("log_level", s.LogLevel, MaxLogLevel, false)
	p.bindings(s.Bindings)
	return p.err()
}

func (p *problems) sessionID(field, id string) {
	if id == "" || len(id) > MaxSessionID {
		p.add(field, "has %d characters, want 1 to %d", len(id), MaxSessionID)
		return
	}
	for i := range len(id) {
		if id[i] < 0x21 || id[i] > 0x7e {
			p.add(field, "has a character outside visible ASCII at position %d", i)
			return
		}
	}
}

// SessionSettings are the cluster-wide rules for sessions, changed by command.
type SessionSettings struct {
	TTL             uint64 `cbor:"1,keyasint"` // ms, for sessions that do not bring their own
	MaxTotal        uint64 `cbor:"2,keyasint"` // live sessions in a scope
	MaxPerPrincipal uint64 `cbor:"3,keyasint"` // live sessions of one principal
	CleanupInterval uint64 `cbor:"4,keyasint"` // ms between expiry rounds of the leader
	TombstoneTTL    uint64 `cbor:"5,keyasint"` // ms that a dead session is remembered
}

// DefaultSessionSettings hold until a command changes them.
func DefaultSessionSettings() SessionSettings {
	return SessionSettings{
		TTL:             uint64(30 * time.Minute / time.Millisecond),
		MaxTotal:        1_000_000,
		MaxPerPrincipal: 64,
		CleanupInterval: uint64(15 * time.Second / time.Millisecond),
		TombstoneTTL:    uint64(10 * time.Minute / time.Millisecond),
	}
}

// Validate reports every mistake of s.
func (s *SessionSettings) Validate() error {
	p := problems{noun: "session settings"}
	ms := func(field string, v uint64, low, high time.Duration) {
		if v < uint64(low/time.Millisecond) || v > uint64(high/time.Millisecond) {
			p.add(field, "%d ms is outside %v to %v", v, low, high)
		}
	}
	ms("ttl", s.TTL, MinSessionTTL, MaxSessionTTL)
	ms("cleanup_interval", s.CleanupInterval, 100*time.Millisecond, time.Hour)
	ms("tombstone_ttl", s.TombstoneTTL, time.Second, 24*time.Hour)
	if s.MaxTotal == 0 || s.MaxTotal > 100_000_000 {
		p.add("max_total", "%d is outside 1 to 100000000", s.MaxTotal)
	}
	if s.MaxPerPrincipal == 0 || s.MaxPerPrincipal > s.MaxTotal {
		p.add("max_per_principal", "%d is outside 1 to max_total (%d)", s.MaxPerPrincipal, s.MaxTotal)
	}
	return p.err()
}
