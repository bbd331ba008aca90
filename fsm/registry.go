package fsm

import (
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

var entries = table[record.Entry]{
	key: func(scope record.Scope, e *record.Entry) []byte {
		return entryKey(scope, e.Type, e.Key)
	},
}

// entryPrefix starts the keys of all entries of a type.
func entryPrefix(scope record.Scope, typ record.EntryType) []byte {
	return append(tableEntry.key(scope), byte(typ))
}

func entryKey(scope record.Scope, typ record.EntryType, key string) []byte {
	return append(entryPrefix(scope, typ), key...)
}

// entryName is what messages call an entry. The id of a session does not appear
// in one: messages are logged, and who knows an id may try to use it.
type entryName struct {
	typ record.EntryType
	key string
}

func (n entryName) String() string {
	if n.typ == record.TypeSession {
		return "the session entry"
	}
	return n.typ.String() + " " + quote(n.key)
}

func (t *tx) entry(typ record.EntryType, key string) (e *record.Entry, revision uint64) {
	if e = entries.get(t, entryKey(t.scope, typ, key)); e != nil {
		revision = e.Revision
	}
	return e, revision
}

// sessionEntryCountKey counts the registry entries of TypeSession. As a rule
// there are none, which saves the beginning of every session a read.
func sessionEntryCountKey(scope record.Scope) []byte { return tableSessionEntryCount.key(scope) }

// sessionEntry is the registry entry that has the name of a session.
func (t *tx) sessionEntry(id string) (e *record.Entry, revision uint64) {
	if t.count(sessionEntryCountKey(t.scope)) == 0 {
		return nil, 0
	}
	return t.entry(record.TypeSession, id)
}

func (t *tx) countEntry(typ record.EntryType, delta int) {
	if typ == record.TypeSession {
		t.addCount(sessionEntryCountKey(t.scope), delta)
	}
}

// isLiveSession reports whether the name of an entry is that of a live session:
// such a name is the session's own, it is neither registered nor unregistered.
func (t *tx) isLiveSession(typ record.EntryType, key string) bool {
	if typ != record.TypeSession {
		return false
	}
	s := t.session(key)
	return s != nil && s.State.Live()
}

// RegisterEntry creates a registry entry, or replaces the one of that revision.
type RegisterEntry struct {
	Entry      record.Entry `cbor:"1,keyasint"`
	IfRevision uint64       `cbor:"2,keyasint,omitempty"` // 0: create
}

func (*RegisterEntry) kind() kind { return kindRegisterEntry }

func (c *RegisterEntry) validate() error { return c.Entry.Validate() }

func (c *RegisterEntry) apply(t *tx) Outcome {
	e := &c.Entry
	if t.isLiveSession(e.Type, e.Key) {
		return reject(fault.Conflict, "the key is the id of a live session, which is in the registry by itself")
	}
	old, revision := t.entry(e.Type, e.Key)
	if o, ok := compare(old != nil, entryName{e.Type, e.Key}, revision, c.IfRevision); !ok {
		return o
	}
	e.Created, e.Updated, e.Revision, e.Principal = t.now, t.now, t.revision, t.actor
	if old != nil {
		e.Created = old.Created
	} else {
		t.countEntry(e.Type, 1)
	}
	entries.put(t, old, e)
	return accept()
}

func (*RegisterEntry) rejections() []rejection {
	return []rejection{
		{fault.Conflict, "it exists and IfRevision is 0, or the key names a live session"},
		{fault.NotFound, "it does not exist and IfRevision is not 0"},
		{fault.Precondition, "it is at another revision"},
	}
}

// UnregisterEntry removes a registry entry.
type UnregisterEntry struct {
	Type       record.EntryType `cbor:"1,keyasint"`
	Key        string           `cbor:"2,keyasint"`
	IfRevision uint64           `cbor:"3,keyasint,omitempty"` // 0: any
}

func (*UnregisterEntry) kind() kind { return kindUnregisterEntry }

func (c *UnregisterEntry) validate() error {
	if !c.Type.Valid() {
		return fault.New(fault.Invalid, "registry type %d is unknown", uint8(c.Type))
	}
	return record.ValidText("key", c.Key, record.MaxKey)
}

func (c *UnregisterEntry) apply(t *tx) Outcome {
	if t.isLiveSession(c.Type, c.Key) {
		return reject(fault.Conflict, "the key is the id of a live session; end the session instead")
	}
	old, revision := t.entry(c.Type, c.Key)
	if o, ok := match(old != nil, entryName{c.Type, c.Key}, revision, c.IfRevision); !ok {
		return o
	}
	entries.remove(t, old)
	t.countEntry(c.Type, -1)
	return accept()
}

func (*UnregisterEntry) rejections() []rejection {
	return []rejection{
		{fault.NotFound, "it does not exist"},
		{fault.Precondition, "it is at another revision"},
		{fault.Conflict, "the key names a live session"},
	}
}
