package router

import (
	"slices"
	"strings"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/strictjson"
	"github.com/mcpraft/mcpraft/server/catalog"
	"github.com/mcpraft/mcpraft/server/mcp"
	"github.com/mcpraft/mcpraft/server/session"
)

// The keys of _meta by which the aggregate tells more of resources than the
// protocol does.
const (
	metaEvents = "io.github.mcpraft/events" // in a subscription: which events are wanted
	metaEvent  = "io.github.mcpraft/event"  // in notifications/resources/updated: which it was
)

// eventNames are the events as clients write them.
var eventNames = []struct {
	name  string
	event record.Events
}{{"create", record.EventCreate}, {"update", record.EventUpdate}, {"delete", record.EventDelete}}

func eventName(e record.Events) string {
	for _, n := range eventNames {
		if e == n.event {
			return n.name
		}
	}
	return ""
}

// eventsOf are the events that a subscription asks for, in its params or in their
// _meta; ok is false if it says nothing of them.
func eventsOf(params []byte) (events record.Events, ok bool, e *mcp.Error) {
	list := mcp.Field(params, "events")
	if list == nil {
		list = mcp.Meta(params, metaEvents)
	}
	if list == nil {
		return 0, false, nil
	}
	for element := range strictjson.Elements(list) {
		name, _ := mcp.Text(element)
		i := slices.IndexFunc(eventNames, func(n struct {
			name  string
			event record.Events
		},
		) bool {
			return n.name == name
		})
		if i < 0 {
			return 0, true, invalidParams("events has %s, which is none of create, update, delete", element)
		}
		events |= eventNames[i].event
	}
	if events == 0 {
		return 0, true, invalidParams("events is not a list of create, update or delete")
	}
	return events, true, nil
}

// An interest is a subscription to a resource of the aggregate, and to what is
// below it.
type interest struct {
	resource
	events record.Events
}

// interests are the subscriptions of a session at all upstreams.
func interests(l *session.Live) []interest {
	var list []interest
	for i := range l.Record.Bindings {
		b := &l.Record.Bindings[i]
		for j, uri := range b.Subscriptions {
			list = append(list, interest{resource{b.Alias, uri}, b.Wanted(j)})
		}
	}
	return list
}

// updatedPublicly are the resources, as the client knows them, whose updates a
// session wants.
func updatedPublicly(l *session.Live) []string {
	var list []string
	for _, i := range interests(l) {
		if i.events&record.EventUpdate != 0 {
			list = append(list, catalog.WrapURI(i.alias, i.uri))
		}
	}
	return list
}

// toldUpstream is a binding with the subscriptions that the upstream was told of by
// their requests. A subscription that waits for its resource to be created is told
// by the stream that listens, again when it is there; one without updates is not
// the upstream's concern at all.
func toldUpstream(b *record.Binding) *record.Binding {
	if b == nil || len(b.Events) == 0 {
		return b
	}
	told := *b
	told.Subscriptions, told.Events = nil, nil
	for i, uri := range b.Subscriptions {
		if b.Wanted(i)&(record.EventUpdate|record.EventCreate) == record.EventUpdate {
			told.Subscriptions = append(told.Subscriptions, uri)
		}
	}
	return &told
}

// happened finds what was created and deleted between two catalogues of what i is
// about, and tells it by the client's name of the resource.
func (i *interest) happened(before, now *catalog.View, tell func(public string, e record.Events)) {
	if i.events&(record.EventCreate|record.EventDelete) == 0 || before == now {
		return
	}
	then, there := i.listed(before), i.listed(now)
	for public := range there {
		if !then[public] && i.events&record.EventCreate != 0 {
			tell(public, record.EventCreate)
		}
	}
	for public := range then {
		if !there[public] && i.events&record.EventDelete != 0 {
			tell(public, record.EventDelete)
		}
	}
}

// listed are the resources of a catalogue that i is about, by the client's names.
func (i *interest) listed(v *catalog.View) map[string]bool {
	found := make(map[string]bool)
	items := v.Items(catalog.Resource)
	prefix := catalog.WrapURI(i.alias, i.uri)
	at, _ := slices.BinarySearchFunc(items, prefix, func(item *catalog.Item, public string) int { return strings.Compare(item.Public, public) })
	for _, item := range items[at:] {
		if !strings.HasPrefix(item.Public, prefix) {
			break
		}
		if item.Alias == i.alias && isBelow(i.uri, item.Name) {
			found[item.Public] = true
		}
	}
	return found
}

// isBelow reports whether uri is the resource, or a part of it.
func isBelow(resource, uri string) bool {
	rest, ok := strings.CutPrefix(uri, resource)
	return ok && (rest == "" || strings.HasSuffix(resource, "/") || strings.ContainsRune("/?#", rune(rest[0])))
}
