package catalog

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/strictjson"
	"github.com/mcpraft/mcpraft/server/mcp"
)

// A field is a member of an item whose type clients rely on: one that is of another
// makes the official SDKs refuse the whole list that it is in.
type field struct {
	name     string
	form     string // as people call the type
	first    string // the first bytes that a value of the type can have
	required bool
}

const (
	digits = "-0123456789"

	maxSchemaDepth = 64
)

func textField(name string) field   { return field{name, "a string", `"`, false} }
func objectField(name string) field { return field{name, "an object", "{", false} }
func listField(name string) field   { return field{name, "an array", "[", false} }
func required(f field) field        { f.required = true; return f }

// fields are the members that are looked at, by kind.
var fields = [kinds][]field{
	Tool: {
		required(textField("name")), textField("title"), textField("description"), required(objectField("inputSchema")),
		objectField("annotations"), objectField("execution"), listField("icons"), objectField("_meta"),
	},
	Resource: {
		required(textField("uri")), required(textField("name")), textField("title"), textField("description"), textField("mimeType"),
		{"size", "a number", digits, false},
		objectField("annotations"), listField("icons"), objectField("_meta"),
	},
	Template: {
		required(textField("uriTemplate")), required(textField("name")), textField("title"), textField("description"),
		textField("mimeType"), objectField("annotations"), listField("icons"), objectField("_meta"),
	},
	Prompt: {
		required(textField("name")), textField("title"), textField("description"), listField("arguments"), listField("icons"), objectField("_meta"),
	},
}

// check reads the name of an item and tells why it is shown to nobody; reason is ""
// if nothing is wrong with it.
func check(k Kind, raw []byte, modern bool) (name, reason string) {
	if len(raw) == 0 || raw[0] != '{' {
		return "", "it is not an object"
	}
	name, _ = mcp.Text(mcp.Field(raw, NameField(k)))
	if len(raw) > record.MaxItemBytes {
		return name, fmt.Sprintf("it has %d bytes, the limit is %d", len(raw), record.MaxItemBytes)
	}
	if reason := checkFields(k, raw); reason != "" {
		return name, reason
	}
	if reason := checkName(name); reason != "" {
		return name, reason
	}
	if r, ok := hiddenRune(raw); ok {
		return name, fmt.Sprintf("it has the character U+%04X, which people do not see and models do", r)
	}
	if k == Tool {
		return name, checkSchemas(raw, modern)
	}
	return name, ""
}

func checkFields(k Kind, raw []byte) string {
	for _, f := range fields[k] {
		value := mcp.Field(raw, f.name)
		switch {
		case value == nil && f.required:
			return fmt.Sprintf("it has no %s", f.name)
		case value != nil && !strings.ContainsRune(f.first, rune(value[0])):
			return fmt.Sprintf("its %s is not %s", f.name, f.form)
		}
	}
	return ""
}

func checkName(name string) string {
	switch {
	case name == "":
		return "its name is empty"
	case len(name) > record.MaxItemName:
		return fmt.Sprintf("its name has %d bytes, the limit is %d", len(name), record.MaxItemName)
	}
	for _, r := range name {
		if !unicode.IsGraphic(r) || r == utf8.RuneError {
			return fmt.Sprintf("its name has the character U+%04X, which people do not see", r)
		}
	}
	return ""
}

// hiddenRune finds a character in the texts of valid JSON that is not shown but
// read: controls, directions that override what stands there, tags, and selectors
// that can carry a text of their own.
func hiddenRune(raw []byte) (rune, bool) {
	for i := 0; i < len(raw); {
		r, size := nextRune(raw[i:])
		if isHidden(r) {
			return r, true
		}
		i += size
	}
	return 0, false
}

// nextRune is the character at the beginning of a part of valid JSON, escaped or
// not. A character of two escapes is found by its first, too: where one can lead,
// the other is looked at.
func nextRune(raw []byte) (r rune, size int) {
	switch {
	case raw[0] != '\\':
		return utf8.DecodeRune(raw)
	case len(raw) < 2 || raw[1] != 'u':
		if len(raw) >= 2 && (raw[1] == 'b' || raw[1] == 'f') {
			return '\b', 2
		}
		return ' ', min(2, len(raw))
	}
	escape := raw[:min(6, len(raw))]
	if len(raw) >= 12 && raw[6] == '\\' && raw[7] == 'u' && (raw[2]|0x20 == 'd') {
		if text, ok := mcp.Text(quoted(raw[:12])); ok {
			if r, n := utf8.DecodeRuneInString(text); n == len(text) {
				return r, 12
			}
		}
	}
	text, _ := mcp.Text(quoted(escape))
	r, _ = utf8.DecodeRuneInString(text)
	return r, len(escape)
}

func quoted(inside []byte) []byte {
	return append(append([]byte{'"'}, inside...), '"')
}

func isHidden(r rune) bool {
	switch {
	case r < 0x20:
		return r != '\t' && r != '\n' && r != '\r'
	case r < 0x7f:
		return false
	case r <= 0x9f: // DEL and C1
		return true
	case r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069: // bidirectional overrides and isolates
		return true
	case r >= 0x2061 && r <= 0x2064, r >= 0xfff9 && r <= 0xfffb: // invisible operators, annotations
		return true
	case r >= 0xe0000 && r <= 0xe01ef: // tags and further variation selectors
		return true
	default:
		return false
	}
}

// checkSchemas looks at the schemas of a tool. Those of modern tools' results may be
// any schema.
func checkSchemas(tool []byte, modern bool) string {
	input, output := mcp.Field(tool, "inputSchema"), mcp.Field(tool, "outputSchema")
	if !isObjectSchema(input) {
		return `its inputSchema is not of type "object"`
	}
	if reason := checkSchema(input, 0); reason != "" {
		return "in its inputSchema " + reason
	}
	if output == nil {
		return ""
	}
	if !modern && !isObjectSchema(output) {
		return `its outputSchema is not of type "object"`
	}
	if reason := checkSchema(output, 0); reason != "" {
		return "in its outputSchema " + reason
	}
	return ""
}

func isObjectSchema(schema []byte) bool {
	kind, _ := mcp.Text(mcp.Field(schema, "type"))
	return kind == "object"
}

// checkSchema walks a schema. What it refers to is never fetched, so what it means
// without would be another thing than what it says.
func checkSchema(schema []byte, depth int) string {
	if depth > maxSchemaDepth {
		return fmt.Sprintf("schemas are nested deeper than %d", maxSchemaDepth)
	}
	if first := schema[0]; first != '{' && first != 't' && first != 'f' {
		return "something stands where a schema belongs"
	}
	for _, keyword := range []string{"$ref", "$dynamicRef", "$recursiveRef"} {
		if ref, ok := mcp.Text(mcp.Field(schema, keyword)); ok && isRemote(ref) {
			return fmt.Sprintf("%s leads to %s, which is never fetched", keyword, printable(ref, 80))
		}
	}
	if list := mcp.Field(schema, "required"); list != nil && !isListOfTexts(list) {
		return "required is not a list of names"
	}
	if object := mcp.Field(schema, "properties"); object != nil && object[0] != '{' {
		return "properties is not an object"
	}
	for sub := range mcp.Subschemas(schema) {
		if sub.Keyword == "dependencies" && sub.Value[0] == '[' {
			continue // the names of draft 7
		}
		if reason := checkSchema(sub.Value, depth+1); reason != "" {
			return reason
		}
	}
	return ""
}

// isRemote reports whether a reference leads out of its document to an address.
func isRemote(ref string) bool { return strings.Contains(ref, "://") || strings.HasPrefix(ref, "//") }

func isListOfTexts(list []byte) bool {
	if list[0] != '[' {
		return false
	}
	for element := range strictjson.Elements(list) {
		if element[0] != '"' {
			return false
		}
	}
	return true
}

// printable is text for records, logs and terminals: without what is not shown, and
// of at most limit bytes.
func printable(text string, limit int) string {
	var b strings.Builder
	for _, r := range text {
		if !unicode.IsPrint(r) {
			r = '·'
		}
		if b.Len()+utf8.RuneLen(r) > limit-len("…") {
			b.WriteString("…")
			break
		}
		b.WriteRune(r)
	}
	return b.String()
}
