package mcp

import (
	"iter"

	"github.com/mcpraft/mcpraft/internal/strictjson"
)

const keywordProperties = "properties"

// A Subschema is a JSON Schema that stands directly inside another.
type Subschema struct {
	Keyword string // under which it stands
	Name    string // that the keyword gives it, such as that of a property; "" if it gives none
	Value   []byte // what stands there, whether it is a schema or not
}

// Subschemas gives the schemas directly inside a schema, which is part of a parsed
// message. Values that are data, such as those of const and examples, are none.
func Subschemas(schema []byte) iter.Seq[Subschema] {
	return func(yield func(Subschema) bool) {
		for m := range strictjson.Members(schema) {
			keyword, _ := Text(m.Name)
			for sub := range subschemasOf(keyword, m.Value) {
				if !yield(sub) {
					return
				}
			}
		}
	}
}

// subschemasOf gives the schemas that the value of one keyword holds.
func subschemasOf(keyword string, value []byte) iter.Seq[Subschema] {
	return func(yield func(Subschema) bool) {
		switch keyword {
		case keywordProperties, "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies":
			for m := range strictjson.Members(value) {
				name, _ := Text(m.Name)
				if !yield(Subschema{Keyword: keyword, Name: name, Value: m.Value}) {
					return
				}
			}
		case "items", "prefixItems", "additionalItems", "contains", "additionalProperties", "propertyNames", "unevaluatedItems",
			"unevaluatedProperties", "allOf", "anyOf", "oneOf", "not", "if", "then", "else", "contentSchema":
			if len(value) == 0 || value[0] != '[' {
				yield(Subschema{Keyword: keyword, Value: value})
				return
			}
			for element := range strictjson.Elements(value) {
				if !yield(Subschema{Keyword: keyword, Value: element}) {
					return
				}
			}
		}
	}
}
