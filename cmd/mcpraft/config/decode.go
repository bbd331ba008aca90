package config

import (
	"errors"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Limits of one file. The parser is recursive and takes time quadratic in the
// number of tokens, so both are bounded before it runs; the annotated example
// has less than a tenth of either.
const (
	maxFileBytes  = 64 << 10
	maxFileTokens = 4096
	maxListItems  = 32 // raftnode.MaxJoin
	maxNames      = 64 // entries of a mapping of names
)

// decodeFile lays the file over l. What is wrong with it is added to l.problems.
func (l *loader) decodeFile(name string, data []byte) {
	at := func(line, column int) Origin { return Origin{Layer: FromFile, Name: name, Line: line, Column: column} }
	l.lines[name] = strings.Split(string(data[:min(len(data), maxFileBytes)]), "\n")
	if len(data) > maxFileBytes {
		l.unread = true
		l.add(at(1, 1), "", "the file has %d bytes, a configuration has at most %d", len(data), maxFileBytes)
		return
	}
	if i := firstInvalid(data); i >= 0 {
		l.unread = true
		line := strings.Count(string(data[:i]), "\n") + 1
		column := utf8.RuneCount(data[strings.LastIndexByte(string(data[:i]), '\n')+1:i]) + 1
		l.add(at(line, column), "save the file as UTF-8", "the file is not valid UTF-8")
		return
	}
	tokens := lexer.Tokenize(string(data))
	if len(tokens) > maxFileTokens {
		l.unread = true
		l.add(at(1, 1), "", "the file has %d words and marks, a configuration has at most %d", len(tokens), maxFileTokens)
		return
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		l.syntax(at, err)
		return
	}
	d := decoder{loader: l, at: func(t *token.Token) Origin { return at(t.Position.Line, t.Position.Column) }}
	documents := slices.DeleteFunc(file.Docs, func(doc *ast.DocumentNode) bool { return doc.Body == nil })
	for i, doc := range documents {
		if i > 0 {
			d.add(d.at(start(doc.Body)), "remove the --- line or use a file of its own, --config may be repeated", "a configuration is one document")
			break
		}
		d.section(doc.Body, reflect.ValueOf(&l.config).Elem(), "")
	}
}

// firstInvalid is the offset of the first byte of data that is no UTF-8, or -1.
func firstInvalid(data []byte) int {
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size <= 1 {
			return i
		}
		i += size
	}
	return -1
}

// syntax adds the parser's complaint.
func (l *loader) syntax(at func(line, column int) Origin, err error) {
	l.unread = true
	const hint = "indent with spaces, put text with : # { [ in quotes"
	e, ok := errors.AsType[yaml.Error](err)
	if !ok || e.GetToken() == nil || e.GetToken().Position == nil {
		l.add(at(1, 1), hint, "not YAML: %v", err)
		return
	}
	p := e.GetToken().Position
	l.add(at(p.Line, p.Column), hint, "not YAML: %s", strings.ReplaceAll(e.GetMessage(), "\t", `\t`))
}

// A decoder walks the syntax tree of one file.
type decoder struct {
	*loader
	at func(*token.Token) Origin
}

// section decodes the mapping n into the struct v.
func (d *decoder) section(n ast.Node, v reflect.Value, path string) {
	seen := make(map[string]Origin)
	for key, entry := range d.entries(n, path) {
		origin := d.at(entry.Key.GetToken())
		if d.repeated(seen, key, origin, path) || strings.HasPrefix(key, "x-") {
			continue
		}
		f, ok := fieldNamed(v.Type(), key)
		if !ok {
			message, hint, secret := describeUnknown(path, v.Type(), key)
			d.problems = append(d.problems, Problem{Origin: origin, Message: message, Hint: hint, secret: secret})
			d.suspect[path] = true
			continue
		}
		d.origins[under(path, key)] = origin
		d.value(entry.Value, f, v.Field(f.index), under(path, key))
	}
}

// entries yields the keys and entries of the mapping n; anything else is a
// problem, but for nothing at all: a section whose keys are commented out.
func (d *decoder) entries(n ast.Node, path string) iter.Seq2[string, *ast.MappingValueNode] {
	return func(yield func(string, *ast.MappingValueNode) bool) {
		var values []*ast.MappingValueNode
		switch n := n.(type) {
		case *ast.MappingNode:
			values = n.Values
		case *ast.MappingValueNode:
			values = []*ast.MappingValueNode{n}
		case *ast.NullNode:
			return
		default:
			d.mismatch(n, section, path)
			return
		}
		for _, entry := range values {
			key, ok := entry.Key.(*ast.StringNode)
			if !ok {
				d.add(d.at(entry.Key.GetToken()), "", "%s: %s", place(path), d.keyProblem(entry.Key))
				continue
			}
			if !yield(key.Value, entry) {
				return
			}
		}
	}
}

func (d *decoder) keyProblem(key ast.Node) string {
	switch key.(type) {
	case *ast.MergeKeyNode:
		return "merge keys are not part of the configuration, write the values out"
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode:
		return fmt.Sprintf("the key %s is not text, put it in quotes", key.GetToken().Value)
	default:
		return "a key is one word, nothing else"
	}
}

// repeated reports, and adds as a problem, that key stood here before.
func (d *decoder) repeated(seen map[string]Origin, key string, origin Origin, path string) bool {
	first, ok := seen[key]
	if !ok {
		seen[key] = origin
		return false
	}
	d.add(origin, fmt.Sprintf("the first is in line %d", first.Line), "%s is given twice", under(path, key))
	return true
}

// value decodes n into v, the field f at path.
func (d *decoder) value(n ast.Node, f field, v reflect.Value, path string) {
	switch shapeOf(f.typ) {
	case section:
		d.section(n, v, path)
	case named:
		d.named(n, v, path)
	case list:
		d.list(n, f, v, path)
	default:
		d.scalar(n, f, v, path)
	}
}

// named decodes the mapping n of names to sections. A name that an earlier file
// has given keeps the keys that this one does not give.
func (d *decoder) named(n ast.Node, v reflect.Value, path string) {
	seen := make(map[string]Origin)
	for name, entry := range d.entries(n, path) {
		origin, at := d.at(entry.Key.GetToken()), under(path, name)
		if d.repeated(seen, name, origin, path) || strings.HasPrefix(name, "x-") {
			continue
		}
		if err := nameError(name); err != nil {
			d.add(origin, "", "%s: %v", place(path), err)
			continue
		}
		if v.Len() >= maxNames {
			d.add(origin, "", "%s has more than %d entries", path, maxNames)
			return
		}
		d.origins[at] = origin
		inner := d.entry(v, name)
		d.section(entry.Value, inner, at)
		v.SetMapIndex(reflect.ValueOf(name), inner)
	}
}

// entry is a copy of the value that the mapping v has under name, or a new one.
func (l *loader) entry(v reflect.Value, name string) reflect.Value {
	inner := reflect.New(v.Type().Elem()).Elem()
	if entry, ok := inner.Addr().Interface().(interface{ setDefaults() }); ok {
		entry.setDefaults()
	}
	if v.IsNil() {
		v.Set(reflect.MakeMap(v.Type()))
	}
	if old := v.MapIndex(reflect.ValueOf(name)); old.IsValid() {
		inner.Set(old)
	}
	return inner
}

// nameError reports why name cannot name an entry: it must survive the way
// into the name of an environment variable and back.
func nameError(name string) error {
	for _, r := range name {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' {
			return fmt.Errorf("the name %q has other characters than a-z, 0-9 and _", name)
		}
	}
	if name == "" || len(name) > 32 || strings.Contains(name, "__") || name == PlainText {
		return fmt.Errorf("%q cannot be a name: use 1 to 32 characters, no double _, and not %s", name, PlainText)
	}
	return nil
}

// list decodes a sequence of text; a later layer replaces the whole list.
func (d *decoder) list(n ast.Node, f field, v reflect.Value, path string) {
	sequence, ok := n.(*ast.SequenceNode)
	if !ok {
		d.mismatch(n, list, path)
		return
	}
	if len(sequence.Values) > maxListItems {
		d.add(d.at(n.GetToken()), "", "%s has %d items, the limit is %d", path, len(sequence.Values), maxListItems)
		return
	}
	item := field{typ: f.typ.Elem()}
	items := reflect.MakeSlice(f.typ, len(sequence.Values), len(sequence.Values))
	for i, n := range sequence.Values {
		at := fmt.Sprintf("%s[%d]", path, i)
		d.origins[at] = d.at(start(n))
		if address, ok := unsplit(n); ok {
			items.Index(i).SetString(address)
			continue
		}
		d.scalar(n, item, items.Index(i), at)
	}
	v.Set(items)
}

// unsplit is the text that the parser took for a mapping: a list inside a flow
// mapping, as in {join: [node-1:7442]}, it splits at every colon, where YAML wants
// a space behind the colon of a mapping.
func unsplit(n ast.Node) (string, bool) {
	mapping, ok := n.(*ast.MappingNode)
	if !ok || len(mapping.Values) != 1 {
		return "", false
	}
	entry := mapping.Values[0]
	key, ok := entry.Key.(*ast.StringNode)
	value, number := entry.Value.(*ast.IntegerNode)
	if !ok || !number || key.Token.Type != token.StringType {
		return "", false
	}
	from, to := key.Token.Position, value.GetToken().Position
	adjacent := from.Line == to.Line && to.Column == from.Column+utf8.RuneCountInString(key.Value)+1
	return key.Value + ":" + value.GetToken().Value, adjacent
}

// scalar decodes one word.
func (d *decoder) scalar(n ast.Node, f field, v reflect.Value, path string) {
	want := shapeOf(f.typ)
	in, ok := scalarText(n, want)
	if !ok {
		d.mismatch(n, want, path)
		return
	}
	origin := d.at(n.GetToken())
	d.origins[path] = origin
	if err := f.assign(v, in); err != nil {
		d.add(origin, "", "%s: %v", path, err)
		d.suspect[path] = true
	}
}

// scalarText is the text of n if n is of the kind that a field of that shape is
// written as.
func scalarText(n ast.Node, want shape) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, want == text || want == measured
	case *ast.LiteralNode:
		return n.Value.Value, want == text
	case *ast.IntegerNode:
		return n.GetToken().Value, want == number || want == measured
	case *ast.FloatNode:
		return n.GetToken().Value, want == measured
	case *ast.BoolNode:
		return n.GetToken().Value, want == boolean
	default:
		return "", false
	}
}

// mismatch adds that n is not what belongs at path.
func (d *decoder) mismatch(n ast.Node, want shape, path string) {
	d.suspect[path] = true
	found, hint := "", ""
	switch n := n.(type) {
	case *ast.NullNode:
		d.add(d.origins[path], "write one, or remove the key", "%s has no value", place(path))
		return
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		d.add(d.at(n.GetToken()), "write the value out", "%s: anchors, aliases and tags are not part of the configuration", place(path))
		return
	case *ast.MappingNode, *ast.MappingValueNode:
		found = "a mapping"
	case *ast.SequenceNode:
		found = "a list"
	case *ast.StringNode, *ast.LiteralNode:
		in, _ := scalarText(n, text)
		found = fmt.Sprintf("the text %q", in)
	default:
		found = n.GetToken().Value
	}
	switch {
	case want == text && found != "a mapping" && found != "a list":
		hint = fmt.Sprintf("put it in quotes: %q", found)
	case want == list:
		hint = "write it as [one, two]"
	}
	d.add(d.at(start(n)), hint, "%s must be %s, not %s", place(path), want.want(), found)
}

// start is the first token of n: that of a block mapping is its first colon.
func start(n ast.Node) *token.Token {
	switch n := n.(type) {
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return n.Values[0].Key.GetToken()
		}
	case *ast.MappingValueNode:
		return n.Key.GetToken()
	}
	return n.GetToken()
}

// place is path in a sentence.
func place(path string) string {
	if path == "" {
		return "the configuration"
	}
	return path
}
