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
	Events        []byte   `cbor:"5,keyasint,omitempty"` // Events of each of Subscriptions; empty: the updates of all
}

// Events are things that happen to a resource, as a set of bits. Numbers are for
// ever.
type Events uint8

// What can happen to a resource.
const (
	EventCreate Events = 1 << iota // it is listed, and was not
	EventUpdate                    // the upstream says that it has changed
	EventDelete                    // it is listed no more

	AllEvents = EventCreate | EventUpdate | EventDelete
)

// Wanted are the events of the i-th subscription that are wanted.
func (b *Binding) Wanted(i int) Events {
	if len(b.Events) == 0 {
		return EventUpdate
	}
	return Events(b.Events[i])
}

// Subscribed are the events of uri that are wanted; 0 if it is not subscribed to.
func (b *Binding) Subscribed(uri string) Events {
	if i, ok := slices.BinarySearch(b.Subscriptions, uri); ok {
		return b.Wanted(i)
	}
	return 0
}

// SetEvents makes events those of uri that are wanted; none end the subscription.
// It leaves the lists that b had before untouched.
func (b *Binding) SetEvents(uri string, events Events) {
	uris := slices.Clone(b.Subscriptions)
	wanted := make([]byte, len(uris))
	for i := range uris {
		wanted[i] = byte(b.Wanted(i))
	}
	i, found := slices.BinarySearch(uris, uri)
	switch {
	case !found && events != 0:
		uris, wanted = slices.Insert(uris, i, uri), slices.Insert(wanted, i, byte(events))
	case found && events != 0:
		wanted[i] = byte(events)
	case found:
		uris, wanted = slices.Delete(uris, i, i+1), slices.Delete(wanted, i, i+1)
	}
	if !slices.ContainsFunc(wanted, func(e byte) bool { return Events(e) != EventUpdate }) {
		wanted = nil // as it is written without them
	}
	b.Subscriptions, b.Events = uris, wanted
}

// Validate reports every mistake of b.
func (b *Binding) Validate() error {
	p := problems{noun: "binding"}
	p.binding("binding", b)
	return p.err()
}

// Size is about what b adds to the bytes of its session.
func (b *Binding) Size() int {
	n := len(b.Alias) + len(b.Protocol) + len(b.Session) + len(b.Events) + 16
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
	if len(b.Events) != 0 && len(b.Events) != len(b.Subscriptions) {
		p.add(field+".events", "are those of %d subscriptions, there are %d", len(b.Events), len(b.Subscriptions))
	}
	for i, e := range b.Events {
		if e == 0 || Events(e)&^AllEvents != 0 {
			p.add(fmt.Sprintf("%s.events[%d]", field, i), "%d is not a set of events", e)
		}
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
