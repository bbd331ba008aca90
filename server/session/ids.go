package session

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/server/mcp"
)

// Keys authenticate the ids that leave the cluster; the cluster's key ring is
// one. Any node's Verify knows what any node's MAC made, as soon as it has applied
// the key.
type Keys interface {
	MAC(purpose string, parts ...[]byte) []byte
	Verify(purpose string, mac []byte, parts ...[]byte) bool
}

// A Sealer keeps upstream session ids secret in the replicated state; the
// cluster's key ring is one.
type Sealer interface {
	Seal(purpose string, aad, plain []byte) ([]byte, error)
	Open(purpose string, aad, sealed []byte) ([]byte, error)
}

// Purposes of keys, and the version of every id (docs/format/ids.md).
const (
	purposeSession = "session id"
	purposeToken   = "stream id"
	purposeBinding = "upstream session"
	idVersion      = 1
)

const (
	recordIDLen  = 26 // base32 characters of 16 bytes
	sessionHead  = 1 + 4 + 4 + 8
	maxMAC       = 32  // bytes
	maxSessionID = 128 // characters; ours have 70
	maxToken     = 512 // characters
	maxRequestID = record.MaxRequestID
)

var (
	ids32 = base32.StdEncoding.WithPadding(base32.NoPadding)
	ids64 = base64.RawURLEncoding.Strict()
)

// newRecordID is the id of a new session's record: 128 random bits. It has
// capital letters, so that it is never taken for a hash.
func newRecordID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return ids32.EncodeToString(b[:])
}

// A sessionRef is what a session id says: the record, and an entry of the log
// that every node which knows the session has applied.
type sessionRef struct {
	record   string
	timeline record.Timeline
	index    uint64
	head     []byte // what is authenticated besides the record's id
	mac      []byte
}

// formatSessionID is the id that a client gets for the session record id, which
// the entry at index of timeline began.
func formatSessionID(k Keys, id string, timeline record.Timeline, index uint64) string {
	b := make([]byte, 0, sessionHead+maxMAC)
	b = append(b, idVersion)
	b = binary.BigEndian.AppendUint32(b, timeline.Number)
	b = binary.BigEndian.AppendUint32(b, timeline.Salt)
	b = binary.BigEndian.AppendUint64(b, index)
	b = append(b, k.MAC(purposeSession, []byte(id), b)...)
	return id + ids64.EncodeToString(b)
}

// parseSessionID reads a session id and reports whether it has the form of one.
// What it says is worth nothing until verified.
func parseSessionID(text string) (r sessionRef, ok bool) {
	if len(text) <= recordIDLen || len(text) > maxSessionID || !isRecordID(text[:recordIDLen]) {
		return r, false
	}
	b, err := ids64.DecodeString(text[recordIDLen:])
	if err != nil || len(b) <= sessionHead || len(b) > sessionHead+maxMAC || b[0] != idVersion {
		return r, false
	}
	r.record = text[:recordIDLen]
	r.timeline = record.Timeline{Number: binary.BigEndian.Uint32(b[1:]), Salt: binary.BigEndian.Uint32(b[5:])}
	r.index = binary.BigEndian.Uint64(b[9:])
	r.head, r.mac = b[:sessionHead], b[sessionHead:]
	return r, true
}

// verified reports whether a node of this cluster made r.
func (r *sessionRef) verified(k Keys) bool {
	return k.Verify(purposeSession, r.mac, []byte(r.record), r.head)
}

// isRecordID reports whether s is the only spelling of 16 bytes: the last
// character holds three bits.
func isRecordID(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'A' || c > 'Z') && (c < '2' || c > '7') {
			return false
		}
	}
	last := s[len(s)-1]
	return last == 'A' || last == 'E' || last == 'I' || last == 'M' || last == 'Q' || last == 'U' || last == 'Y' || last == '4'
}

// A tokenKind says what a token names. Numbers are for ever.
type tokenKind uint8

const (
	tokenEvent  tokenKind = 1 // an event of a call's stream, behind which more follows
	tokenFinal  tokenKind = 2 // the last event of a call's stream: its answer
	tokenListen tokenKind = 3 // an event of a GET stream
	tokenAsk    tokenKind = 4 // a request to the client: its JSON-RPC id, or its progress token
)

// A token names an event or a request of a stream, and the node that holds the
// stream. It is bound to the session whose stream it is, which it does not name.
type token struct {
	kind     tokenKind
	node     string    // name of the owner
	stream   record.ID // its first half is random per process of the owner
	sequence uint64
	request  mcp.ID // the client's JSON-RPC id of the call; "" if there is none
}

// format is the text of t in the session of that record id.
func (t *token) format(k Keys, session string) string {
	b := make([]byte, 0, 2+1+len(t.node)+16+2*binary.MaxVarintLen64+len(t.request)+maxMAC)
	b = append(b, idVersion, byte(t.kind), byte(len(t.node)))
	b = append(b, t.node...)
	b = append(b, t.stream[:]...)
	b = binary.AppendUvarint(b, t.sequence)
	b = binary.AppendUvarint(b, uint64(len(t.request)))
	b = append(b, t.request...)
	b = append(b, k.MAC(purposeToken, []byte(session), b)...)
	return ids64.EncodeToString(b)
}

// parseToken reads a token of the session of that record id. ok is false for
// anything that no node of this cluster made for that session.
func parseToken(k Keys, session, text string) (t token, ok bool) {
	t, signed, mac, ok := splitToken(text)
	return t, ok && k.Verify(purposeToken, mac, []byte(session), signed)
}

// splitToken reads what a token says, without asking whether it is true.
func splitToken(text string) (t token, signed, mac []byte, ok bool) {
	if len(text) > maxToken {
		return t, nil, nil, false
	}
	b, err := ids64.DecodeString(text)
	if err != nil || len(b) < 3 || b[0] != idVersion || b[1] < byte(tokenEvent) || b[1] > byte(tokenAsk) {
		return t, nil, nil, false
	}
	t.kind = tokenKind(b[1])
	node, rest, ok := cut(b[3:], uint64(b[2]))
	if !ok || record.ValidNode(string(node)) != nil {
		return t, nil, nil, false
	}
	t.node = string(node)
	if len(rest) < len(t.stream) {
		return t, nil, nil, false
	}
	copy(t.stream[:], rest)
	rest = rest[len(t.stream):]
	if t.sequence, rest, ok = cutUvarint(rest); !ok {
		return t, nil, nil, false
	}
	size, rest, ok := cutUvarint(rest)
	if !ok || size > maxRequestID {
		return t, nil, nil, false
	}
	request, mac, ok := cut(rest, size)
	if !ok || len(mac) == 0 || len(mac) > maxMAC {
		return t, nil, nil, false
	}
	t.request = mcp.ID(request)
	return t, b[:len(b)-len(mac)], mac, true
}

func cut(b []byte, n uint64) (head, rest []byte, ok bool) {
	if uint64(len(b)) < n {
		return nil, nil, false
	}
	return b[:n], b[n:], true
}

// cutUvarint takes only the shortest form: one id has one spelling.
func cutUvarint(b []byte) (v uint64, rest []byte, ok bool) {
	v, n := binary.Uvarint(b)
	if n <= 0 || n > 1 && b[n-1] == 0 {
		return 0, nil, false
	}
	return v, b[n:], true
}
