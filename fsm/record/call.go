package record

import "time"

// Bounds of a call record.
const (
	MaxRequestID = 256 // bytes of JSON
	MaxEventID   = 1 << 10
	CallTTL      = time.Hour // without an update
)

// A Call is a request of a client that an upstream still works on, written down
// so that another node can fetch the answer when the one that sent it is gone.
type Call struct {
	ID              ID      `cbor:"1,keyasint"`           // of the stream that the client waits on
	Session         string  `cbor:"2,keyasint"`           // of the client
	RequestID       []byte  `cbor:"3,keyasint"`           // the client's JSON-RPC id, as JSON
	Alias           string  `cbor:"4,keyasint"`           // of the upstream
	Protocol        string  `cbor:"5,keyasint,omitempty"` // negotiated with the upstream
	UpstreamSession []byte  `cbor:"6,keyasint,omitempty"` // sealed
	UpstreamRequest []byte  `cbor:"7,keyasint,omitempty"` // the JSON-RPC id that the upstream knows, as JSON
	LastEventID     []byte  `cbor:"8,keyasint"`           // newest event of the upstream's stream
	Expires         LogTime `cbor:"9,keyasint,omitempty"` // set when applied
}

// Validate reports every mistake of c.
func (c *Call) Validate() error {
	p := problems{noun: "call"}
	if c.ID.IsZero() {
		p.add("id", "is missing")
	}
	p.sessionID("session", c.Session)
	bytes := func(field string, value []byte, limit int, required bool) {
		if len(value) > limit || required && len(value) == 0 {
			p.add(field, "has %d bytes, want at most %d", len(value), limit)
		}
	}
	bytes("request_id", c.RequestID, MaxRequestID, true)
	p.name("alias", c.Alias, MaxAlias)
	p.text("protocol", c.Protocol, MaxProtocol, false)
	bytes("upstream_session", c.UpstreamSession, MaxSealed, false)
	bytes("upstream_request", c.UpstreamRequest, MaxRequestID, false)
	bytes("last_event_id", c.LastEventID, MaxEventID, true)
	return p.err()
}
