package clientfile

import (
	"bytes"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// tomlFormat is a table [mcp_servers.NAME] for each server. No library writes TOML
// without losing comments, so an entry is put in and cut out as text: whole tables,
// found by a parser. Afterwards both texts are read, and must say the same but for
// that entry.
type tomlFormat struct{}

const tomlList = "mcp_servers"

type tomlEntry struct {
	URL     string            `toml:"url"`
	Headers map[string]string `toml:"http_headers"`
	Command string            `toml:"command"`
	Args    []string          `toml:"args"`
	Env     map[string]string `toml:"env"`
	Enabled *bool             `toml:"enabled"`
}

func (tomlFormat) read(doc []byte) ([]Named, error) {
	var file struct {
		Servers map[string]tomlEntry `toml:"mcp_servers"`
	}
	if err := toml.Unmarshal(doc, &file); err != nil {
		return nil, notTOML(err)
	}
	var all []Named
	for _, name := range slices.Sorted(maps.Keys(file.Servers)) {
		e := file.Servers[name]
		all = append(all, Named{name, Entry{
			URL: e.URL, Headers: e.Headers, Command: e.Command, Args: e.Args, Env: e.Env, Disabled: e.Enabled != nil && !*e.Enabled,
		}})
	}
	return all, nil
}

func notTOML(err error) error {
	return fault.New(fault.Invalid, "the file is not TOML as clients read it: %v", err).WithHint("correct it first; it has not been touched")
}

func (f tomlFormat) put(doc []byte, name string, e Entry) ([]byte, error) {
	block := tomlBlock(name, e)
	from, to, err := f.tables(doc, name)
	if err != nil {
		return nil, err
	}
	var after []byte
	if from < to {
		after = slices.Concat(doc[:from], block, doc[to:])
	} else {
		after = bytes.TrimRight(bytes.Clone(doc), "\n")
		if len(after) > 0 {
			after = append(after, "\n\n"...)
		}
		after = append(after, block...)
	}
	return after, onlyChanges(doc, after, name)
}

func (f tomlFormat) remove(doc []byte, name string) ([]byte, error) {
	from, to, err := f.tables(doc, name)
	if err != nil {
		return nil, err
	}
	before, behind := doc[:from], doc[to:]
	if from < to {
		if behind = bytes.TrimLeft(behind, "\n"); len(behind) == 0 {
			before = append(bytes.TrimRight(bytes.Clone(before), "\n"), '\n')
			before = bytes.TrimPrefix(before, []byte("\n")) // there was nothing else
		}
	}
	after := slices.Concat(before, behind)
	return after, onlyChanges(doc, after, name)
}

// tables is the part of doc that the tables of a server take when they follow one
// another: from the first header to the last line that is neither blank nor a
// comment, for those belong to what comes next. From equals to if there is none.
func (tomlFormat) tables(doc []byte, name string) (from, to int, err error) {
	var p unstable.Parser
	p.Reset(doc)
	for p.NextExpression() {
		e := p.Expression()
		if e.Kind != unstable.Table && e.Kind != unstable.ArrayTable {
			continue
		}
		own, at := header(e, name)
		switch start := bytes.LastIndexByte(doc[:at], '\n') + 1; {
		case own && to == 0:
			from, to = start, len(doc)
		case !own && to == len(doc) && from < to:
			to = start
		}
	}
	if err := p.Error(); err != nil {
		return 0, 0, notTOML(err)
	}
	return from, lastSaid(doc, from, to), nil
}

// header reports whether e, a table, is of the server of that name, and where its
// key begins.
func header(e *unstable.Node, name string) (own bool, at uint32) {
	var keys []string
	for it := e.Key(); it.Next(); {
		if len(keys) == 0 {
			at = it.Node().Raw.Offset
		}
		keys = append(keys, string(it.Node().Data))
	}
	return len(keys) >= 2 && keys[0] == tomlList && keys[1] == name, at
}

// lastSaid is to, moved up to the end of the last line behind from that is neither
// blank nor a comment.
func lastSaid(doc []byte, from, to int) int {
	for to > from {
		start := bytes.LastIndexByte(doc[from:to-1], '\n') + 1 + from
		if line := bytes.TrimSpace(doc[start:to]); len(line) > 0 && line[0] != '#' {
			return to
		}
		to = start
	}
	return to
}

// onlyChanges refuses an edit after which the file says anything else of anything
// but the server of that name.
func onlyChanges(before, after []byte, name string) error {
	was, err := without(before, name)
	if err != nil {
		return notTOML(err)
	}
	is, err := without(after, name)
	if err == nil && reflect.DeepEqual(was, is) {
		return nil
	}
	return fault.New(fault.Unsupported, "the server %q is written in the file in a form that cannot be edited without touching the rest", name).
		WithHint("--print shows what to put in by hand; the file has not been touched")
}

// without is what doc says but for the server of that name.
func without(doc []byte, name string) (map[string]any, error) {
	all := make(map[string]any)
	if err := toml.Unmarshal(doc, &all); err != nil {
		return nil, err
	}
	if list, ok := all[tomlList].(map[string]any); ok {
		if delete(list, name); len(list) == 0 {
			delete(all, tomlList)
		}
	}
	return all, nil
}

// tomlBlock is the table of a server.
func tomlBlock(name string, e Entry) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "[%s.%s]\n", tomlList, tomlKey(name))
	if e.URL != "" {
		fmt.Fprintf(&b, "url = %s\n", tomlText(e.URL))
		if len(e.Headers) > 0 {
			var pairs []string
			for _, key := range slices.Sorted(maps.Keys(e.Headers)) {
				pairs = append(pairs, tomlKey(key)+" = "+tomlText(e.Headers[key]))
			}
			fmt.Fprintf(&b, "http_headers = { %s }\n", strings.Join(pairs, ", "))
		}
		return []byte(b.String())
	}
	fmt.Fprintf(&b, "command = %s\n", tomlText(e.Command))
	var args []string
	for _, arg := range e.Args {
		args = append(args, tomlText(arg))
	}
	fmt.Fprintf(&b, "args = [%s]\n", strings.Join(args, ", "))
	return []byte(b.String())
}

// tomlKey is a key, quoted if it must be.
func tomlKey(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r != '-' && r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}) {
		return s
	}
	return tomlText(s)
}

// tomlText is a basic string. Its escapes are those of JSON.
func tomlText(s string) string {
	text, err := indented(s, "", "")
	if err != nil {
		return `""` // a string always encodes
	}
	return string(text)
}
