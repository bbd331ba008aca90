package record

import (
	"fmt"
	"slices"
	"strings"
)

// Bounds of what a session holds at upstreams.
const (
	MaxBindings          = 64       // of a session
	MaxSubscriptions     = 256      // of a binding
	MaxSubscriptionBytes = 16 << 10 // of the URIs of a binding
	MaxBindingsBytes     = 32 << 10 // of all bindings of a session
	MaxSealed            = 1 << 10  // bytes of a sealed upstream session id
	MaxProtocol          = 32
)

// A Binding is what a session holds at one upstream, so that any node can go on
// with it: never a connection, only how to take one up again.
type Binding struct {
	Alias         string   `cbor:"1,keyasint"`
	Protocol      string   `cbor:"2,keyasint,omitempty"` // negotiated with the upstream
	Session       []byte   `cbor:"3,keyasint,omitempty"` // the upstream's session id, sealed: it is a bearer secret
	Subscriptions []string `cbor:"4,keyasint,omitempty"` // URIs in the upstream's own names, ascending
}

// Validate reports every mistake of b.
func (b *Binding) Validate() error {
	p := problems{noun: "binding"}
	p.binding("binding", b)
	return p.err()
}

// Size is about what b adds to the bytes of its session.
func (b *Binding) Size() int {
	n := len(b.Alias) + len(b.Protocol) + len(b.Session) + 16
	for _, uri := range b.Subscriptions {
		n += len(uri) + 4
	}
	return n
}

func (p *problems) binding(field string, b *Binding) {
	p.name(field+".alias", b.Alias, MaxAlias)
	p.text(field+".protocol", b.Protocol, MaxProtocol, false)
	if len(b.Session) > MaxSealed {
		p.add(field+".session", "has %d bytes, the limit is %d", len(b.Session), MaxSealed)
	}
	if len(b.Subscriptions) > MaxSubscriptions {
		p.add(field+".subscriptions", "has %d URIs, the limit is %d", len(b.Subscriptions), MaxSubscriptions)
		return
	}
	total := 0
	for i, uri := range b.Subscriptions {
		p.text(fmt.Sprintf("%s.subscriptions[%d]", field, i), uri, MaxURL, true)
		if i > 0 && b.Subscriptions[i-1] >= uri {
			p.add(fmt.Sprintf("%s.subscriptions[%d]", field, i), "is not in ascending order")
		}
		total += len(uri)
	}
	if total > MaxSubscriptionBytes {
		p.add(field+".subscriptions", "have %d bytes, the limit is %d", total, MaxSubscriptionBytes)
	}
}

func (p *problems) bindings(list []Binding) {
	if len(list) > MaxBindings {
		p.add("bindings", "has %d upstreams, the limit is %d", len(list), MaxBindings)
		return
	}
	total := 0
	for i := range list {
		p.binding(fmt.Sprintf("bindings[%d]", i), &list[i])
		if i > 0 && list[i-1].Alias >= list[i].Alias {
			p.add(fmt.Sprintf("bindings[%d]", i), "is not in ascending order of aliases")
		}
		total += list[i].Size()
	}
	if total > MaxBindingsBytes {
		p.add("bindings", "have %d bytes, the limit is %d", total, MaxBindingsBytes)
	}
}

// Binding is what s holds at the upstream alias, or nil.
func (s *Session) Binding(alias string) *Binding {
	if i, ok := s.findBinding(alias); ok {
		return &s.Bindings[i]
	}
	return nil
}

func (s *Session) findBinding(alias string) (int, bool) {
	return slices.BinarySearchFunc(s.Bindings, alias, func(b Binding, alias string) int {
		return strings.Compare(b.Alias, alias)
	})
}

// Bind puts b in place of what s held at b's upstream. It leaves the list that s
// had before untouched.
func (s *Session) Bind(b Binding) {
	i, ok := s.findBinding(b.Alias)
	list := slices.Clone(s.Bindings)
	if ok {
		list[i] = b
	} else {
		list = slices.Insert(list, i, b)
	}
	s.Bindings = list
}

// Unbind removes what s holds at the upstream alias and reports whether there was
// anything. It leaves the list that s had before untouched.
func (s *Session) Unbind(alias string) bool {
	i, ok := s.findBinding(alias)
	if ok {
		s.Bindings = slices.Delete(slices.Clone(s.Bindings), i, i+1)
	}
	return ok
}
