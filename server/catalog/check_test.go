package catalog

import (
	"strings"
	"testing"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/server/mcp"
)

// TestWhatSpoilsAListIsNamed has one bad item per line, and how the reason begins.
func TestWhatSpoilsAListIsNamed(t *testing.T) {
	schema := func(schema string) string { return `{"name":"t","inputSchema":` + schema + `}` }
	output := func(schema string) string {
		return `{"name":"t","inputSchema":{"type":"object"},"outputSchema":` + schema + `}`
	}
	for _, c := range []struct {
		kind   Kind
		raw    string
		reason string // "" for none
	}{
		{Tool, `"t"`, "it is not an object"},
		{Tool, `{"name":7,"inputSchema":{"type":"object"}}`, "its name is not a string"},
		{Tool, `{"name":"","inputSchema":{"type":"object"}}`, "its name is empty"},
		{Tool, `{"name":"t","description":null,"inputSchema":{"type":"object"}}`, "its description is not a string"},
		{Tool, `{"name":"` + strings.Repeat("x", record.MaxItemName+1) + `","inputSchema":{"type":"object"}}`, "its name has 2049 bytes"},
		{Tool, `{"name":"t","description":"` + strings.Repeat("x", record.MaxItemBytes) + `"}`, "it has 65565 bytes"},
		{Tool, `{"name":"a\u202eb","inputSchema":{"type":"object"}}`, "its name has the character U+202E"},
		{Tool, `{"name":"a\u200bb","inputSchema":{"type":"object"}}`, "its name has the character U+200B"},
		{Tool, `{"name":"t","description":"\u001b[8m","inputSchema":{"type":"object"}}`, "it has the character U+001B"},
		{Tool, "{\"name\":\"t\",\"title\":\"\U000e0041\",\"inputSchema\":{\"type\":\"object\"}}", "it has the character U+E0041"},
		{Tool, `{"name":"t","inputSchema":{"type":"object","properties":{"a":{"description":"\udb40\udc41"}}}}`, "it has the character U+E0041"},
		{Tool, `{"name":"t","description":"line\n\ttab 👩‍👧 שלום \\u202e","inputSchema":{"type":"object"}}`, ""},
		{Tool, schema(`{}`), `its inputSchema is not of type "object"`},
		{Tool, schema(`{"type":["object"]}`), `its inputSchema is not of type "object"`},
		{Tool, schema(`{"type":"object","properties":[]}`), "in its inputSchema properties is not an object"},
		{Tool, schema(`{"type":"object","properties":{"a":"string"}}`), "in its inputSchema something stands where a schema belongs"},
		{Tool, schema(`{"type":"object","required":[1]}`), "in its inputSchema required is not a list of names"},
		{Tool, schema(`{"type":"object","$ref":"http://x.example/s"}`), "in its inputSchema $ref leads to http://x.example/s, which is never fetched"},
		{Tool, schema(`{"type":"object","anyOf":[{"properties":{"a":{"$dynamicRef":"//x.example"}}}]}`), "in its inputSchema $dynamicRef leads to //x.example"},
		{Tool, schema(`{"type":"object","$defs":{"a":true},"properties":{"$ref":{"$ref":"#/$defs/a"}},"examples":[{"$ref":"http://x"}]}`), ""},
		{Tool, schema(`{"type":"object","dependencies":{"a":["b"],"c":{"type":"string"}}}`), ""},
		{Tool, schema(`{"type":"object","not":` + strings.Repeat(`{"not":`, 80) + "{}" + strings.Repeat("}", 80) + "}"), "in its inputSchema schemas are nested deeper than 64"},
		{Tool, output(`{"type":"array"}`), `its outputSchema is not of type "object"`},
		{Tool, output(`{"type":"object","properties":{"a":{"$ref":"https://x"}}}`), "in its outputSchema $ref leads"},
		{Resource, `{"uri":"a:b","name":"n","size":"7"}`, "its size is not a number"},
		{Resource, `{"uri":"a:b","name":"n","size":7}`, ""},
		{Template, `{"uriTemplate":"a:{b}"}`, "it has no name"},
		{Prompt, `{"name":"p","arguments":[{"name":"a"}]}`, ""},
	} {
		_, reason := check(c.kind, []byte(c.raw), false)
		if !strings.HasPrefix(reason, c.reason) || c.reason == "" && reason != "" {
			t.Errorf("%s %.100s: %q, want %q", c.kind, c.raw, reason, c.reason)
		}
	}
	if _, reason := check(Tool, []byte(output(`{"type":"array"}`)), true); reason != "" {
		t.Errorf("the results of a modern tool may be of any schema: %q", reason)
	}
}

// FuzzCheck holds that whatever parses can be looked at, and that a name which is
// let through can be kept.
func FuzzCheck(f *testing.F) {
	f.Add(`{"name":"t","inputSchema":{"type":"object","properties":{"a":{"$ref":"#/x"}}}}`)
	f.Add(`{"name":"\ud83d\ude00","description":"\b\u0041","inputSchema":{"type":"object","required":["a"]}}`)
	f.Fuzz(func(t *testing.T, text string) {
		m, err := mcp.Parse([]byte(`{"jsonrpc":"2.0","id":1,"result":{"tools":[`+text+`]}}`), mcp.FromUpstream)
		if err != nil {
			return
		}
		l := newListing("a", Opened{Initialize: []byte(`{"capabilities":{"tools":{}}}`)})
		for _, k := range Kinds() {
			l.add(k, mcp.Field(m.Result(), "tools")[1:len(mcp.Field(m.Result(), "tools"))-1])
		}
		l.finish()
		for number, items := range l.pages() {
			page := record.SlicePage{Slice: l.slice.ID, Number: uint32(number), Items: items}
			if number > 0 {
				page.Generation = 1
			}
			if err := page.Validate(); err != nil {
				t.Errorf("a page that cannot be kept: %v", err)
			}
		}
		l.slice.Upstream = 1
		if err := l.slice.Validate(); err != nil {
			t.Errorf("a slice that cannot be kept: %v", err)
		}
	})
}

// FuzzPage holds that a cursor which is taken gives a part of the list, and that
// going on from it ends.
func FuzzPage(f *testing.F) {
	v := NewView(slice("x", 1, tool("a"), tool("b"), tool("c")))
	f.Add("")
	f.Add(newCursor(Tool, "x__a"))
	f.Add("AQE")
	f.Fuzz(func(t *testing.T, cursor string) {
		for n := 0; ; n++ {
			items, next, err := v.Page(Tool, cursor, 1)
			if err != nil || next == "" {
				return
			}
			if len(items) != 1 || n > 3 {
				t.Fatalf("page %d has %d items", n, len(items))
			}
			cursor = next
		}
	})
}

// FuzzUnwrapURI holds that what unwraps is what WrapURI made.
func FuzzUnwrapURI(f *testing.F) {
	f.Add("gw://files/file:///a")
	f.Add("ui://clock/face")
	f.Fuzz(func(t *testing.T, wrapped string) {
		alias, uri, ok := UnwrapURI(wrapped)
		if ok && strings.HasPrefix(wrapped, wrapScheme) && !strings.HasPrefix(uri, viewScheme) && WrapURI(alias, uri) != wrapped {
			t.Errorf("%q is %q of %q, which wraps as %q", wrapped, uri, alias, WrapURI(alias, uri))
		}
	})
}
