package mcp

import (
	"fmt"
	"math/big"
	"strings"
)

// MaxHeaderParams is how many arguments of one tool may be repeated in headers.
const MaxHeaderParams = 64

// A HeaderParam is an argument of a tool that a modern client repeats in the header
// Mcp-Param-{Header}.
type HeaderParam struct {
	Header string   // a token (RFC 9110), unique in the schema whatever its case
	Path   []string // of names below the arguments
	Type   string   // "string", "integer" or "boolean"
}

// HeaderParams reads the x-mcp-header annotations of a tool's input schema: part of
// a parsed message. An annotation that breaks a rule is the error, and makes the
// tool one that clients must not see.
func HeaderParams(inputSchema []byte) ([]HeaderParam, error) {
	w := schemaWalk{}
	err := w.schema(inputSchema, nil, true, 0)
	return w.found, err
}

type schemaWalk struct{ found []HeaderParam }

// schema looks at one schema. Reachable is whether only "properties" lie above it.
func (w *schemaWalk) schema(schema []byte, path []string, reachable bool, depth int) error {
	if depth > FromUpstream.Depth {
		return fmt.Errorf("the schema is nested deeper than %d", FromUpstream.Depth)
	}
	if annotation := Field(schema, "x-mcp-header"); annotation != nil {
		if err := w.annotation(schema, annotation, path, reachable); err != nil {
			return err
		}
	}
	for sub := range Subschemas(schema) {
		var below []string
		if sub.Keyword == keywordProperties {
			below = append(path[:len(path):len(path)], sub.Name)
		}
		if err := w.schema(sub.Value, below, reachable && below != nil, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// annotation takes one x-mcp-header.
func (w *schemaWalk) annotation(schema, value []byte, path []string, reachable bool) error {
	header, ok := Text(value)
	if !ok || !isToken(header) {
		return fmt.Errorf("x-mcp-header %s is not a header name", cut(value))
	}
	if !reachable || len(path) == 0 {
		return fmt.Errorf("x-mcp-header %q stands where no chain of properties leads", header)
	}
	kind, _ := Text(Field(schema, "type"))
	if kind != "string" && kind != "integer" && kind != "boolean" {
		return fmt.Errorf("x-mcp-header %q is on a value that is not a string, integer or boolean", header)
	}
	for _, other := range w.found {
		if strings.EqualFold(other.Header, header) {
			return fmt.Errorf("x-mcp-header %q appears twice", header)
		}
	}
	if len(w.found) == MaxHeaderParams {
		return fmt.Errorf("more than %d x-mcp-header annotations", MaxHeaderParams)
	}
	w.found = append(w.found, HeaderParam{Header: header, Path: path, Type: kind})
	return nil
}

// isToken reports whether s is a token of RFC 9110.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && (c < '0' || c > '9') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// Name is the name of the header.
func (p HeaderParam) Name() string { return HeaderParamPrefix + p.Header }

// Value is what the header must hold for these arguments, not yet encoded; false
// if they lack the argument, it is null, or it is of another type than the schema
// says: then there is no header.
func (p HeaderParam) Value(arguments []byte) (string, bool) {
	raw := Field(arguments, p.Path...)
	if len(raw) == 0 {
		return "", false
	}
	switch c := raw[0]; {
	case p.Type == "string" && c == '"':
		return Text(raw)
	case p.Type == "boolean" && (c == 't' || c == 'f'):
		return string(raw), true
	case p.Type == "integer" && (c == '-' || '0' <= c && c <= '9'):
		return decimal(string(raw))
	default:
		return "", false
	}
}

// decimal is an integer without fraction or exponent, which JSON writes in many
// ways.
func decimal(s string) (string, bool) {
	if !strings.ContainsAny(s, ".eE") {
		return s, true
	}
	if len(s) > maxNumber {
		return "", false
	}
	value, ok := new(big.Rat).SetString(s)
	if !ok || !value.IsInt() {
		return "", false
	}
	return value.Num().String(), true
}

const maxNumber = 64

// Check compares a header as it came, or its absence, with the arguments. The error
// is one for CodeHeaderMismatch, and says what differs.
func (p HeaderParam) Check(header string, present bool, arguments []byte) error {
	want, needed := p.Value(arguments)
	switch {
	case !needed && !present:
		return nil
	case !present:
		return fmt.Errorf("%s is missing, which repeats the argument %s", p.Name(), strings.Join(p.Path, "."))
	case !needed:
		return fmt.Errorf("%s is there, but not the argument %s", p.Name(), strings.Join(p.Path, "."))
	}
	got, err := DecodeHeader(header)
	if err != nil {
		return fmt.Errorf("%s: %w", p.Name(), err)
	}
	if got == want || p.Type == "integer" && sameInteger(got, want) {
		return nil
	}
	return fmt.Errorf("%s differs from the argument %s", p.Name(), strings.Join(p.Path, "."))
}

func sameInteger(a, b string) bool {
	a, okA := decimal(a)
	b, okB := decimal(b)
	if !okA || !okB || len(a) > maxNumber || len(b) > maxNumber {
		return false
	}
	x, okX := new(big.Int).SetString(a, 10)
	y, okY := new(big.Int).SetString(b, 10)
	return okX && okY && x.Cmp(y) == 0
}
