package record

import (
	"net/url"
	"slices"
	"time"
)

// Transports of an upstream.
const (
	TransportHTTP  = "http"  // streamable HTTP
	TransportSSE   = "sse"   // HTTP+SSE of 2024-11-05
	TransportStdio = "stdio" // a child process, by the name of a command in the node's configuration
)

// Session modes of an upstream: who shares an upstream session and, for stdio, the
// child process that it is.
const (
	ModeShared       = "shared"
	ModePerPrincipal = "per_principal"
	ModePerSession   = "per_session"
	ModePerCall      = "per_call"
)

var sessionModes = []string{"", ModeShared, ModePerPrincipal, ModePerSession, ModePerCall}

// Recoveries of an upstream: what follows when a child process has failed. In all
// of them another node takes over from one that is lost.
const (
	RecoverRestart  = "restart"  // it is started again where it was
	RecoverRelocate = "relocate" // it is started on another node, if one has the command and is alive
)

var recoveries = []string{"", RecoverRestart, RecoverRelocate}

// A Pool bounds the connections to one upstream: at most Size are kept, at most
// MaxOverflow more are opened and closed on return, a caller waits Timeout for
// one, an idle one lives KeepAlive. Zero means the default of server/upstream.
type Pool struct {
	Size        uint32 `cbor:"1,keyasint,omitempty"`
	MaxOverflow uint32 `cbor:"2,keyasint,omitempty"`
	KeepAlive   uint64 `cbor:"3,keyasint,omitempty"` // ms
	Timeout     uint64 `cbor:"4,keyasint,omitempty"` // ms
}

// An Upstream is an MCP server registered with the cluster. It says how to
// reach it; connections are never replicated.
type Upstream struct {
	Alias          string            `cbor:"1,keyasint"` // [a-z0-9][a-z0-9-]{0,15}
	Transport      string            `cbor:"2,keyasint"`
	URL            string            `cbor:"3,keyasint,omitempty"` // http and sse
	Command        string            `cbor:"4,keyasint,omitempty"` // stdio: a name, never an argv
	SessionMode    string            `cbor:"5,keyasint,omitempty"` // "", shared, per_principal, per_session, per_call
	RequestTimeout uint64            `cbor:"6,keyasint,omitempty"` // ms; 0 means the node's default
	SecretRef      string            `cbor:"7,keyasint,omitempty"` // name of a credential in the node's configuration
	Pool           Pool              `cbor:"8,keyasint"`
	Disabled       bool              `cbor:"9,keyasint,omitempty"`
	Metadata       map[string]string `cbor:"10,keyasint,omitempty"`
	Created        LogTime           `cbor:"11,keyasint,omitempty"` // set when applied
	Updated        LogTime           `cbor:"12,keyasint,omitempty"` // set when applied
	Revision       uint64            `cbor:"13,keyasint,omitempty"` // set when applied

	// Keys 14 and 17 are reserved: they had a meaning that no release has carried out.
	Recovery        string `cbor:"15,keyasint,omitempty"` // stdio: "", restart, relocate; "" means restart
	FailoverTimeout uint64 `cbor:"16,keyasint,omitempty"` // stdio: ms that a call waits for a lost process to be back, here or elsewhere; 0 means the default of server/upstream
	Credential      string `cbor:"30,keyasint,omitempty"` // name of a Credential of the cluster
}

// Validate reports every mistake of u.
func (u *Upstream) Validate() error {
	p := problems{noun: "upstream"}
	p.name("alias", u.Alias, MaxAlias)
	switch u.Transport {
	case TransportHTTP, TransportSSE:
		p.httpURL("url", u.URL)
		if u.Command != "" {
			p.add("command", "is for transport stdio, this one is %s", u.Transport)
		}
		if u.Recovery != "" {
			p.add("recovery", "is for transport stdio, this one is %s", u.Transport)
		}
		if u.FailoverTimeout != 0 {
			p.add("failover_timeout", "is for transport stdio, this one is %s", u.Transport)
		}
	case TransportStdio:
		p.reference("command", u.Command)
		u.validateStdio(&p)
	default:
		p.add("transport", "%q is not one of http, sse, stdio", u.Transport)
	}
	if !slices.Contains(sessionModes, u.SessionMode) {
		p.add("session_mode", "%q is not one of shared, per_principal, per_session, per_call", u.SessionMode)
	}
	if !slices.Contains(recoveries, u.Recovery) {
		p.add("recovery", "%q is not one of restart, relocate", u.Recovery)
	}
	hour := uint64(time.Hour / time.Millisecond)
	if u.FailoverTimeout > hour {
		p.add("failover_timeout", "%d ms is above one hour", u.FailoverTimeout)
	}
	if u.RequestTimeout > hour {
		p.add("request_timeout", "%d ms is above one hour", u.RequestTimeout)
	}
	if u.Pool.Size > 1024 || u.Pool.MaxOverflow > 1024 {
		p.add("pool", "size %d and max_overflow %d must be at most 1024", u.Pool.Size, u.Pool.MaxOverflow)
	}
	if u.Pool.KeepAlive > hour || u.Pool.Timeout > hour {
		p.add("pool", "keep_alive and timeout must be at most one hour")
	}
	if u.SecretRef != "" {
		p.reference("secret_ref", u.SecretRef)
	}
	if u.Credential != "" {
		p.name("credential", u.Credential, MaxName)
		switch {
		case u.SecretRef != "":
			p.add("credential", "goes not with secret_ref: one of them is shown to the upstream")
		case u.Transport == TransportStdio:
			p.add("credential", "is for transports http and sse, this one is stdio")
		}
	}
	p.metadata("metadata", u.Metadata)
	return p.err()
}

func (u *Upstream) validateStdio(p *problems) {
	if u.URL != "" {
		p.add("url", "is for transports http and sse, this one is stdio")
	}
	if u.SessionMode == ModePerCall {
		p.add("session_mode", "a process for each call is not offered; use shared, per_principal or per_session")
	}
	if u.SecretRef != "" {
		p.add("secret_ref", "is for transports http and sse; the command in the nodes' configuration says where a process has its secrets from")
	}
}

func (p *problems) httpURL(field, s string) {
	p.text(field, s, MaxURL, true)
	if s == "" {
		return
	}
	u, err := url.Parse(s)
	switch {
	case err != nil:
		p.add(field, "does not parse as a URL")
	case u.Scheme != "http" && u.Scheme != "https":
		p.add(field, "scheme %q is not http or https", u.Scheme)
	case u.Host == "":
		p.add(field, "has no host")
	case u.User != nil:
		p.add(field, "carries credentials; use secret_ref")
	case u.Fragment != "":
		p.add(field, "carries a fragment")
	}
}
