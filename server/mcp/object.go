package mcp

import (
	"iter"
	"slices"

	"github.com/mcpraft/mcpraft/internal/strictjson"
)

// An Object is a JSON object that is edited member by member. Members keep their
// order and their bytes; nothing inside the values is looked at. It is used by one
// goroutine.
type Object struct {
	raw     []byte // as it was read; nil once it was changed
	members []entry
}

// An entry is one member.
type entry struct {
	quoted []byte // its name as it stood
	value  []byte
}

// ParseObject reads an object strictly: no name twice at any depth. The object
// keeps raw.
func ParseObject(raw []byte) (*Object, error) {
	if err := (strictjson.Rules{Depth: FromUpstream.Depth}).Valid(raw); err != nil {
		return nil, err
	}
	if raw = trim(raw); raw[0] != '{' {
		return nil, &Error{Code: CodeInvalidParams, Message: "not an object"}
	}
	return scanObject(raw), nil
}

// scanObject reads an object in JSON that was checked. What is none is empty.
func scanObject(raw []byte) *Object {
	o := &Object{raw: raw}
	for m := range strictjson.Members(raw) {
		o.members = append(o.members, entry{quoted: m.Name, value: m.Value})
	}
	return o
}

// Get is the value of a member, nil if there is none.
func (o *Object) Get(name string) []byte {
	if i := o.index(name); i >= 0 {
		return o.members[i].value
	}
	return nil
}

// Set gives a member another value, one valid JSON value, or adds it at the end.
func (o *Object) Set(name string, value []byte) {
	o.raw = nil
	if i := o.index(name); i >= 0 {
		o.members[i].value = value
		return
	}
	o.members = append(o.members, entry{quoted: Quote(name), value: value})
}

// Delete removes a member, and reports whether there was one.
func (o *Object) Delete(name string) bool {
	i := o.index(name)
	if i < 0 {
		return false
	}
	o.raw = nil
	o.members = slices.Delete(o.members, i, i+1)
	return true
}

// Len is how many members there are.
func (o *Object) Len() int { return len(o.members) }

// All gives the members in their order. The object must not be changed meanwhile.
func (o *Object) All() iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for _, m := range o.members {
			name, _ := Text(m.quoted)
			if !yield(name, m.value) {
				return
			}
		}
	}
}

// Bytes is the object as JSON: as it was read if nothing was changed.
func (o *Object) Bytes() []byte {
	if o.raw != nil {
		return o.raw
	}
	size := 2
	for _, m := range o.members {
		size += len(m.quoted) + len(m.value) + 2
	}
	out := append(make([]byte, 0, size), '{')
	for i, m := range o.members {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(append(append(out, m.quoted...), ':'), m.value...)
	}
	return append(out, '}')
}

func (o *Object) index(name string) int {
	return slices.IndexFunc(o.members, func(m entry) bool { return isNamed(m.quoted, name) })
}
