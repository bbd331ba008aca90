package catalog

import (
	"cmp"
	"slices"
	"strings"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/server/mcp"
)

// A Kind is one of the lists that an upstream gives.
type Kind = record.ListKind

// The kinds.
const (
	Tool     = record.ListTools
	Resource = record.ListResources
	Template = record.ListTemplates
	Prompt   = record.ListPrompts
)

// Kinds are all kinds.
func Kinds() []Kind { return record.ListKinds() }

// An Item is one tool, resource, resource template or prompt of an upstream. It
// never changes.
type Item struct {
	Kind      Kind
	Alias     string // of the upstream
	Name      string // the upstream's own: name, URI or URI template
	Public    string // what the aggregate calls it
	Raw       []byte // the JSON object as the upstream listed it
	Aggregate []byte // the JSON object under the public name
}

// newItems are the items of one upstream under their public names, by kind, in
// list order.
func newItems(alias string, list []record.ListItem) *[kinds][]*Item {
	var all [kinds][]*Item
	for _, k := range Kinds() {
		var names []string
		for i := range list {
			if list[i].Kind == k {
				names = append(names, list[i].Name)
			}
		}
		public := publicOf(k, alias, names)
		for i := range list {
			if list[i].Kind == k {
				all[k] = append(all[k], newItem(alias, public(list[i].Name), &list[i]))
			}
		}
		slices.SortFunc(all[k], compareItems)
	}
	return &all
}

// publicOf is how the names of one kind of one upstream are called in the
// aggregate.
func publicOf(k Kind, alias string, names []string) func(name string) string {
	if k == Resource || k == Template {
		return func(uri string) string { return WrapURI(alias, uri) }
	}
	public := publicNames(alias, names)
	return func(name string) string { return public[name] }
}

func newItem(alias, public string, i *record.ListItem) *Item {
	item := &Item{Kind: i.Kind, Alias: alias, Name: i.Name, Public: public, Raw: i.Raw}
	item.Aggregate = mcp.WithField(i.Raw, mcp.Quote(public), NameField(i.Kind))
	if i.Kind == Tool {
		item.Aggregate = wrapViews(alias, item.Aggregate)
	}
	return item
}

func compareItems(a, b *Item) int {
	return cmp.Or(strings.Compare(a.Public, b.Public), strings.Compare(a.Name, b.Name))
}

// NameField is the member of an item's JSON that names it.
func NameField(k Kind) string {
	switch k {
	case Resource:
		return "uri"
	case Template:
		return "uriTemplate"
	default:
		return "name"
	}
}

// viewURIs are where the definition of a tool names a resource of its upstream: a
// view that hosts show (MCP Apps, its older spelling, and that of OpenAI).
var viewURIs = [][]string{
	{"_meta", "ui", "resourceUri"},
	{"_meta", "ui/resourceUri"},
	{"_meta", "openai/outputTemplate"},
}

// wrapViews wraps the URIs of views in a tool's JSON.
func wrapViews(alias string, tool []byte) []byte {
	for _, path := range viewURIs {
		if uri, ok := mcp.Text(mcp.Field(tool, path...)); ok {
			tool = mcp.WithField(tool, mcp.Quote(WrapURI(alias, uri)), path...)
		}
	}
	return tool
}
