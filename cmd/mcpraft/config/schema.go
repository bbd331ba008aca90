package config

import (
	"encoding/json"
	"reflect"
)

// Schema is the JSON Schema (draft 2020-12) of a configuration file, for editors
// and for checks before a file reaches a node. It knows keys, types, words and
// bounds of numbers; what a node checks beyond that, [Load] does.
func Schema() ([]byte, error) {
	root := schemaOf(field{typ: reflect.TypeFor[Config](), help: "Configuration of one mcpraft node."})
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "mcpraft"
	text, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(text, '\n'), nil
}

type schema map[string]any

func schemaOf(f field) schema {
	s := schema{}
	if f.help != "" {
		s["description"] = f.help
	}
	switch shapeOf(f.typ) {
	case section:
		properties := schema{}
		for _, inner := range fieldsOf(f.typ) {
			properties[inner.key] = schemaOf(inner)
		}
		s["type"] = []string{"object", "null"}
		s["properties"] = properties
		s["patternProperties"] = schema{"^x-": true}
		s["additionalProperties"] = false
	case named:
		s["type"] = []string{"object", "null"}
		s["patternProperties"] = schema{"^x-": true}
		s["additionalProperties"] = schemaOf(field{typ: f.typ.Elem()})
		s["propertyNames"] = schema{"pattern": "^(x-.*|[a-z0-9_]{1,32})$"}
	case list:
		s["type"] = "array"
		s["items"] = schema{"type": "string"}
		s["maxItems"] = maxListItems
	case number:
		s["type"] = "integer"
		if low := f.bound(f.min); low != nil {
			s["minimum"] = *low
		}
		if high := f.bound(f.max); high != nil {
			s["maximum"] = *high
		}
	case boolean:
		s["type"] = "boolean"
	case measured:
		s["type"] = "string"
		s["pattern"] = pattern(f.typ)
	default:
		s["type"] = "string"
		if len(f.enum) > 0 {
			s["enum"] = f.enum
		}
	}
	return s
}

// pattern is the notation of a type with a unit.
func pattern(t reflect.Type) string {
	if t == reflect.TypeFor[Size]() {
		return `^[0-9]+ ?([KMGT]i)?B$`
	}
	return `^([0-9]+d)?([0-9.]+(ns|us|µs|ms|s|m|h))*$`
}
