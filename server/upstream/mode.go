package upstream

import (
	"crypto/sha256"

	"github.com/mcpraft/mcpraft/fsm/record"
)

// Session modes of a record.
const (
	modeShared       = record.ModeShared
	modePerPrincipal = record.ModePerPrincipal
	modePerSession   = record.ModePerSession
	modePerCall      = record.ModePerCall

	transportSSE = record.TransportSSE
)

// A key says who shares an upstream session. What is declared at initialize
// holds for the whole session, so callers of different capabilities never share
// one.
type key struct {
	mode         string
	principal    record.Principal // per_principal
	session      string           // per_session: the gateway's
	capabilities [32]byte         // but for per_session, which has one client
	slot         uint32           // shared, stdio: which of the children
}

// keyFor is the key of the session that c uses; ok is false if each call gets its
// own. Without a mode in the record, callers have a session to themselves as
// long as the upstream has sessions at all: two chats must not share a browser.
// A caller of the modern era has no session, so its principal stands for it.
func (up *upstream) keyFor(c *Caller) (k key, ok bool) {
	if up.stdio() {
		return up.childKey(c), true
	}
	mode := up.rec.SessionMode
	if mode == "" {
		mode = modePerSession
		if up.noSessions.Load() {
			mode = modeShared
		}
	}
	if mode == modePerSession && c.Session == "" {
		mode = modePerPrincipal
	}
	switch mode {
	case modePerCall:
		return key{}, false
	case modePerSession:
		return key{mode: mode, session: c.Session}, true
	case modePerPrincipal:
		return key{mode: mode, principal: c.Principal, capabilities: profile(c)}, true
	default:
		return key{mode: modeShared, capabilities: profile(c)}, true
	}
}

func profile(c *Caller) [32]byte {
	if len(c.Capabilities) == 0 {
		return [32]byte{}
	}
	return sha256.Sum256(c.Capabilities)
}

// own reports whether the session of that key belongs to one session of the
// gateway.
func (k key) own() bool { return k.mode == modePerSession }
