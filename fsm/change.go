package fsm

import (
	"encoding/binary"

	"github.com/mcpraft/mcpraft/fsm/record"
)

// A Noun is a kind of record whose changes a node follows.
type Noun uint8

const (
	ChangedAll        Noun = iota + 1 // the whole state was replaced: whatever was read from it may be old
	ChangedSession                    // Key is its id
	ChangedUpstream                   // Key is its alias
	ChangedToken                      // Key is its name
	ChangedKeyRing                    // Key is empty
	ChangedCredential                 // Key is its name
	ChangedSlice                      // Key is its alias, NUL, its key
	ChangedClaim                      // Key is its name
)

// A Change says that a record was written or removed. What it is now, a View
// that is taken after the Change was told has.
type Change struct {
	Noun  Noun
	Scope record.Scope
	Key   string
}

// followed are the tables whose changes are told.
var followed = [256]Noun{
	tableSession:  ChangedSession,
	tableUpstream: ChangedUpstream,
	tableToken:    ChangedToken,
	tableKeyRing:  ChangedKeyRing,
	tableSlice:    ChangedSlice,
	tableClaim:    ChangedClaim,

	tableCredential: ChangedCredential,
}

// note remembers that the record under key was written or removed.
func (t *tx) note(key []byte) {
	noun := followed[key[0]]
	if noun == 0 {
		return
	}
	const head = 2 + 4 // table, encoding version, scope
	t.changes = append(t.changes, Change{
		Noun:  noun,
		Scope: record.Scope(binary.BigEndian.Uint32(key[2:head])),
		Key:   string(key[head:]),
	})
}
