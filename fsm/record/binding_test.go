package record

import (
	"reflect"
	"testing"
)

func TestEventsOfASubscriptionAreASet(t *testing.T) {
	b := Binding{Alias: "files", Subscriptions: []string{"note://b"}}
	before := b
	for _, step := range []struct {
		uri    string
		events Events
		uris   []string
		wanted []byte
	}{
		{"note://a", EventCreate | EventDelete, []string{"note://a", "note://b"}, []byte{5, 2}},
		{"note://b", AllEvents, []string{"note://a", "note://b"}, []byte{5, 7}},
		{"note://c", EventUpdate, []string{"note://a", "note://b", "note://c"}, []byte{5, 7, 2}},
		{"note://a", 0, []string{"note://b", "note://c"}, []byte{7, 2}},
		{"note://x", 0, []string{"note://b", "note://c"}, []byte{7, 2}},
		{"note://b", EventUpdate, []string{"note://b", "note://c"}, nil}, // as it was before there were events
	} {
		b.SetEvents(step.uri, step.events)
		if !reflect.DeepEqual(b.Subscriptions, step.uris) || string(b.Events) != string(step.wanted) {
			t.Fatalf("after %s %b: %q %v", step.uri, step.events, b.Subscriptions, b.Events)
		}
		if got := b.Subscribed(step.uri); got != step.events {
			t.Errorf("%s: %b are wanted, want %b", step.uri, got, step.events)
		}
		if err := b.Validate(); err != nil {
			t.Error(err)
		}
	}
	if before.Subscribed("note://b") != EventUpdate || len(before.Subscriptions) != 1 {
		t.Errorf("the binding from before is %+v", before)
	}
}

func TestEventsThatAreNoneAreRefused(t *testing.T) {
	for _, events := range [][]byte{{2, 2}, {0}, {8}} {
		b := Binding{Alias: "files", Subscriptions: []string{"note://a"}, Events: events}
		if b.Validate() == nil {
			t.Errorf("%v is taken", events)
		}
	}
}
