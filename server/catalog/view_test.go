package catalog

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

func tool(name string) record.ListItem {
	return record.ListItem{Kind: Tool, Name: name, Raw: fmt.Appendf(nil, `{"name":%q,"inputSchema":{"type":"object"}}`, name)}
}

func slice(alias string, generation uint64, items ...record.ListItem) *Slice {
	return NewSlice(&record.Slice{ID: record.SliceID{Alias: alias}, Generation: generation}, items)
}

func publics(list []*Item) []string {
	var names []string
	for _, i := range list {
		names = append(names, i.Public)
	}
	return names
}

func TestListsAreInTheOrderOfPublicNames(t *testing.T) {
	v := NewView(slice("b", 1, tool("z"), tool("a")), slice("a", 1, tool("m")), slice("a-b", 1, tool("x")))
	want := []string{"a-b__x", "a__m", "b__a", "b__z"}
	if got := publics(v.Items(Tool)); !slices.Equal(got, want) {
		t.Errorf("the list is %v, want %v", got, want)
	}
	i, ok := v.Find(Tool, "b__a")
	if !ok || i.Alias != "b" || i.Name != "a" || !strings.Contains(string(i.Aggregate), `"name":"b__a"`) || !strings.Contains(string(i.Raw), `"name":"a"`) {
		t.Errorf("b__a is %+v", i)
	}
	if _, ok := v.Find(Prompt, "b__a"); ok {
		t.Error("a tool was found among the prompts")
	}
}

func TestResourcesAndViewsAreWrapped(t *testing.T) {
	v := NewView(slice("x", 1,
		record.ListItem{Kind: Resource, Name: "note://1", Raw: []byte(`{"uri":"note://1","name":"one"}`)},
		record.ListItem{Kind: Template, Name: "note://{id}", Raw: []byte(`{"uriTemplate":"note://{id}","name":"notes"}`)},
		record.ListItem{Kind: Tool, Name: "show", Raw: []byte(`{"name":"show","_meta":{"ui":{"resourceUri":"ui://v"},"ui/resourceUri":"ui://v","openai/outputTemplate":"ui://v"}}`)},
	))
	for kind, want := range map[Kind]string{
		Resource: `{"uri":"gw://x/note://1","name":"one"}`,
		Template: `{"uriTemplate":"gw://x/note://{id}","name":"notes"}`,
		Tool:     `{"name":"x__show","_meta":{"ui":{"resourceUri":"ui://x/v"},"ui/resourceUri":"ui://x/v","openai/outputTemplate":"ui://x/v"}}`,
	} {
		if got := string(v.Items(kind)[0].Aggregate); got != want {
			t.Errorf("%s: %s, want %s", kind, got, want)
		}
	}
}

func TestACursorGoesOnInAnotherView(t *testing.T) {
	var items []record.ListItem
	for i := range 10 {
		items = append(items, tool(fmt.Sprintf("t%d", i)))
	}
	v := NewView(slice("x", 1, items...))
	size := len(v.Items(Tool)[0].Aggregate) + 1
	page, next, err := v.Page(Tool, "", 4*size)
	if err != nil || len(page) != 4 || next == "" {
		t.Fatalf("the first page has %d items, next %q, %v", len(page), next, err)
	}
	// Elsewhere, and after t3, on which the page ended, has gone.
	other := NewView(slice("x", 2, slices.Delete(slices.Clone(items), 3, 4)...))
	page, next, err = other.Page(Tool, next, 100*size)
	if err != nil || len(page) != 6 || page[0].Name != "t4" || next != "" {
		t.Fatalf("the second page is %v, next %q, %v", publics(page), next, err)
	}
	if page, next, err = other.Page(Tool, "", 1); len(page) != 1 || next == "" || err != nil {
		t.Errorf("a page of one byte has %d items, next %q, %v", len(page), next, err)
	}
	if page, next, err = other.Page(Prompt, "", 0); len(page) != 0 || next != "" || err != nil {
		t.Errorf("the empty list has %d items, next %q, %v", len(page), next, err)
	}
	for _, bad := range []string{"x", "!!", next, newCursor(Prompt, "p"), "AgF0"} {
		if bad == "" {
			continue
		}
		if _, _, err := other.Page(Tool, bad, 0); fault.Of(err) != fault.Invalid {
			t.Errorf("cursor %q: %v", bad, err)
		}
	}
}

func TestDifferencesTellWhatChangedAndWhatWasAnnounced(t *testing.T) {
	changed := tool("b")
	changed.Raw = []byte(`{"name":"b","title":"B"}`)
	old := NewView(slice("x", 1, tool("a"), tool("b")), slice("gone", 1, tool("g")), slice("same", 1, tool("s")))
	same, _ := old.Slice("same")
	now := NewView(slice("x", 2, changed, tool("c")), same, slice("empty", 1))
	list := Between(old, now)
	if len(list) != 2 {
		t.Fatalf("there are %d differences: %+v", len(list), list)
	}
	if d := list[0]; d.Alias != "gone" || len(d.Deleted) != 1 || !d.Touches(Tool) || d.Touches(Prompt) {
		t.Errorf("the upstream that went: %+v", d)
	}
	d := list[1]
	if d.Alias != "x" || !slices.Equal(publics(d.Created), []string{"x__c"}) || !slices.Equal(publics(d.Changed), []string{"x__b"}) || !slices.Equal(publics(d.Deleted), []string{"x__a"}) {
		t.Errorf("the upstream that changed: %+v", d)
	}
	// The same items, and word that the prompts have changed.
	r := record.Slice{ID: record.SliceID{Alias: "x"}, Generation: 2}
	r.Announce([]Kind{Prompt}, 9)
	s, _ := now.Slice("x")
	list = Between(now, NewView(newSlice(&r, s.items), same, slice("empty", 1)))
	if len(list) != 1 || !list[0].Touches(Prompt) || list[0].Touches(Tool) || len(list[0].Created) != 0 {
		t.Errorf("word of a change: %+v", list)
	}
}

func TestCursorsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/format/ids.md")
	if cursor := newCursor(Tool, "demo__add"); err != nil || !strings.Contains(string(text), "`"+cursor+"`") {
		t.Errorf("docs/format/ids.md does not show the cursor %s (%v)", cursor, err)
	}
}
