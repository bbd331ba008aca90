package record

import "fmt"

// EntryType is the type of a registry entry. Numbers are for ever.
type EntryType uint8

const (
	TypeResource EntryType = 1
	TypeTool     EntryType = 2
	TypeSession  EntryType = 3
	TypePrompt   EntryType = 4
	TypeTemplate EntryType = 5
)

var entryTypes = [...]string{
	TypeResource: "resource",
	TypeTool:     "tool",
	TypeSession:  "session",
	TypePrompt:   "prompt",
	TypeTemplate: "template",
}

// EntryTypes lists the types in the order of their numbers.
func EntryTypes() []EntryType {
	return []EntryType{TypeResource, TypeTool, TypeSession, TypePrompt, TypeTemplate}
}

// Valid reports whether t is one of the types.
func (t EntryType) Valid() bool { return t >= TypeResource && t <= TypeTemplate }

func (t EntryType) String() string {
	if t.Valid() {
		return entryTypes[t]
	}
	return fmt.Sprintf("type(%d)", uint8(t))
}

// ParseEntryType reads the name of a type.
func ParseEntryType(s string) (EntryType, error) {
	for _, t := range EntryTypes() {
		if t.String() == s {
			return t, nil
		}
	}
	p := problems{noun: "registry type"}
	p.add("type", "%q is not one of resource, tool, session, prompt, template", s)
	return 0, p.err()
}

// An Entry is one registered name: where the thing of this type and key lives.
// An Erlang pid is here OwnerNode and Location. Entries of TypeSession made by
// live sessions are not stored as Entry; see fsm.
type Entry struct {
	Type      EntryType         `cbor:"1,keyasint"`
	Key       string            `cbor:"2,keyasint"` // 1 to MaxKey bytes
	Metadata  map[string]string `cbor:"3,keyasint,omitempty"`
	OwnerNode string            `cbor:"4,keyasint,omitempty"` // node name; empty: not bound to one
	Location  string            `cbor:"5,keyasint,omitempty"` // at most MaxLocation bytes
	Created   LogTime           `cbor:"6,keyasint,omitempty"` // set when applied
	Updated   LogTime           `cbor:"7,keyasint,omitempty"` // set when applied
	Revision  uint64            `cbor:"8,keyasint,omitempty"` // set when applied
	Principal Principal         `cbor:"9,keyasint"`           // who registered it; set when applied
}

// Validate reports every mistake of e.
func (e *Entry) Validate() error {
	p := problems{noun: "registry entry"}
	if !e.Type.Valid() {
		p.add("type", "%d is unknown", uint8(e.Type))
	}
	p.text("key", e.Key, MaxKey, true)
	p.metadata("metadata", e.Metadata)
	if e.OwnerNode != "" {
		p.name("owner_node", e.OwnerNode, MaxName)
	}
	p.text("location", e.Location, MaxLocation, false)
	return p.err()
}
