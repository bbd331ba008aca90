package clientfile

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"github.com/tailscale/hujson"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// jsonFormat is an object of entries under a key at the top of a JSON file.
type jsonFormat struct {
	list  string // the key
	typed bool   // entries say "type"
}

// A jsonEntry is an entry as files have it.
type jsonEntry struct {
	Type      string            `json:"type,omitempty"`
	Transport string            `json:"transport,omitempty"` // what some clients call the type
	URL       string            `json:"url,omitempty"`
	ServerURL string            `json:"serverUrl,omitempty"` // what some clients call the URL
	Headers   map[string]string `json:"headers,omitempty"`
	Command   string            `json:"command,omitempty"`
	Args      []string          `json:"args,omitempty"`
	Env       map[string]string `json:"env,omitempty"`
	Disabled  bool              `json:"disabled,omitempty"`
}

func (f jsonFormat) entry(e Entry) jsonEntry {
	out := jsonEntry{URL: e.URL, Headers: e.Headers, Command: e.Command, Args: e.Args}
	switch {
	case !f.typed:
	case e.URL != "":
		out.Type = "http"
	default:
		out.Type = "stdio"
	}
	return out
}

// parse is doc as a tree that gives back every byte. An empty file is an empty
// object.
func parse(doc []byte) (*hujson.Value, *hujson.Object, error) {
	if len(bytes.TrimSpace(doc)) == 0 {
		doc = []byte("{\n}\n")
	}
	tree, err := hujson.Parse(doc)
	if err != nil {
		return nil, nil, fault.New(fault.Invalid, "the file is not JSON: %v", err).WithHint("correct it first; it has not been touched")
	}
	object, ok := tree.Value.(*hujson.Object)
	if !ok {
		return nil, nil, fault.New(fault.Invalid, "the file is JSON, and not an object").WithHint("correct it first; it has not been touched")
	}
	return &tree, object, nil
}

// member is the member of that name, the last if there are several, as programs
// read them; -1 if there is none.
func member(object *hujson.Object, name string) int {
	for i := len(object.Members) - 1; i >= 0; i-- {
		if literal, ok := object.Members[i].Name.Value.(hujson.Literal); ok && literal.String() == name {
			return i
		}
	}
	return -1
}

// listOf is the object of entries in the document, nil if there is none.
func (f jsonFormat) listOf(object *hujson.Object) (*hujson.Object, error) {
	i := member(object, f.list)
	if i < 0 {
		return nil, nil
	}
	list, ok := object.Members[i].Value.Value.(*hujson.Object)
	if !ok {
		return nil, fault.New(fault.Invalid, "%q in the file is not an object", f.list).WithHint("correct it first; it has not been touched")
	}
	return list, nil
}

func (f jsonFormat) read(doc []byte) ([]Named, error) {
	_, object, err := parse(doc)
	if err != nil {
		return nil, err
	}
	list, err := f.listOf(object)
	if err != nil || list == nil {
		return nil, err
	}
	return entries(list)
}

// entries reads the members of list.
func entries(list *hujson.Object) ([]Named, error) {
	var all []Named
	for i := range list.Members {
		name := list.Members[i].Name.Value.(hujson.Literal).String() // the parser takes only texts
		value := list.Members[i].Value.Clone()
		value.Standardize()
		var e jsonEntry
		if err := json.Unmarshal(value.Pack(), &e); err != nil {
			return nil, fault.New(fault.Invalid, "the entry %q of the file cannot be read: %v", name, err)
		}
		if e.URL == "" {
			e.URL = e.ServerURL
		}
		if e.Type == "" {
			e.Type = e.Transport
		}
		all = append(all, Named{name, Entry{
			Transport: e.Type, URL: e.URL, Headers: e.Headers, Command: e.Command, Args: e.Args, Env: e.Env, Disabled: e.Disabled,
		}})
	}
	return all, nil
}

func (f jsonFormat) put(doc []byte, name string, e Entry) ([]byte, error) {
	tree, object, err := parse(doc)
	if err != nil {
		return nil, err
	}
	list, err := f.listOf(object)
	if err != nil {
		return nil, err
	}
	step := indentOf(object)
	if list == nil {
		list = &hujson.Object{AfterExtra: hujson.Extra("\n" + step)}
		insert(object, f.list, list, step, "")
	}
	text, err := indented(f.entry(e), strings.Repeat(step, 2), step)
	if err != nil {
		return nil, err
	}
	value, err := hujson.Parse(text)
	if err != nil {
		return nil, err
	}
	if i := member(list, name); i >= 0 {
		list.Members[i].Value.Value = value.Value
		return tree.Pack(), nil
	}
	insert(list, name, value.Value, strings.Repeat(step, 2), step)
	return tree.Pack(), nil
}

// insert adds a member at the end of object, on a line of its own, and before a
// closing brace on another. Comments that stood before that stay where they are.
func insert(object *hujson.Object, name string, value hujson.ValueTrimmed, indent, closing string) {
	m := hujson.ObjectMember{
		Name:  hujson.Value{BeforeExtra: hujson.Extra("\n" + indent), Value: hujson.String(name)},
		Value: hujson.Value{BeforeExtra: hujson.Extra(" "), Value: value},
	}
	if n := len(object.Members); n > 0 {
		comment, rest := cutComment(object.AfterExtra)
		m.Name.BeforeExtra, object.AfterExtra = append(comment, m.Name.BeforeExtra...), rest
		last := &object.Members[n-1].Value
		last.AfterExtra, m.Value.AfterExtra = nil, last.AfterExtra // a trailing comma stays at the end
	}
	if !bytes.ContainsRune(object.AfterExtra, '\n') {
		object.AfterExtra = append(object.AfterExtra, "\n"+closing...)
	}
	object.Members = append(object.Members, m)
}

// cutComment splits what stands before a name or a closing brace behind its last
// comment, if it has one.
func cutComment(extra hujson.Extra) (comment, rest hujson.Extra) {
	end := bytes.LastIndexByte(extra, '\n')
	if end < 0 || len(bytes.TrimSpace(extra)) == 0 {
		return nil, extra
	}
	return bytes.Clone(extra[:end]), bytes.Clone(extra[end:])
}

func (f jsonFormat) remove(doc []byte, name string) ([]byte, error) {
	tree, object, err := parse(doc)
	if err != nil {
		return nil, err
	}
	list, err := f.listOf(object)
	if err != nil {
		return nil, err
	}
	if list == nil {
		return doc, nil
	}
	i := member(list, name)
	if i < 0 {
		return doc, nil
	}
	comment, _ := cutComment(list.Members[i].Name.BeforeExtra) // may be on what stands above
	next := &list.AfterExtra
	if i+1 < len(list.Members) {
		next = &list.Members[i+1].Name.BeforeExtra
	} else if i > 0 { // a comma, or none, behind the last member is the file's style
		list.Members[i-1].Value.AfterExtra = list.Members[i].Value.AfterExtra
	}
	*next = append(comment, *next...)
	list.Members = slices.Delete(list.Members, i, i+1)
	if len(list.Members) == 0 && len(bytes.TrimSpace(list.AfterExtra)) == 0 {
		list.AfterExtra = nil
	}
	return tree.Pack(), nil
}

// indentOf is how the members of object are indented: two spaces unless the file
// shows otherwise.
func indentOf(object *hujson.Object) string {
	for i := range object.Members {
		extra := string(object.Members[i].Name.BeforeExtra)
		if at := strings.LastIndexByte(extra, '\n'); at >= 0 && strings.Trim(extra[at+1:], " \t") == "" && extra[at+1:] != "" {
			return extra[at+1:]
		}
	}
	return "  "
}

// indented is value as JSON, its lines after the first indented by prefix.
func indented(value any, prefix, step string) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent(prefix, step)
	if err := enc.Encode(value); err != nil {
		return nil, err
	}
	return bytes.TrimSpace(b.Bytes()), nil
}

// lists are the keys under which clients keep their servers, from the top.
var lists = [][]string{{"mcpServers"}, {"servers"}, {"mcp", "servers"}, {"context_servers"}}

// readAnyJSON reads the first of lists that doc has.
func readAnyJSON(doc []byte) ([]Named, error) {
	_, object, err := parse(doc)
	if err != nil {
		return nil, err
	}
	for _, path := range lists {
		at := object
		for _, key := range path {
			i := member(at, key)
			if i < 0 {
				at = nil
				break
			}
			inner, ok := at.Members[i].Value.Value.(*hujson.Object)
			if !ok {
				at = nil
				break
			}
			at = inner
		}
		if at != nil {
			return entries(at)
		}
	}
	return nil, fault.New(fault.Invalid, "the file has no list of MCP servers").
		WithHint("it is an object \"mcpServers\" or \"servers\", or tables [mcp_servers.NAME] in TOML")
}
