package config

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
)

// A Setting is one value with its place.
type Setting struct {
	Path        string // "listen.mcp.addr"
	Value       string // in the notation of a file
	Origin      Origin
	Fingerprint string // of the secret in the file that Value names; else empty
}

// Settings lists every value, in the order of the annotated example.
func (l *Loaded) Settings() []Setting {
	return l.settings(reflect.ValueOf(l.Config), "")
}

func (l *Loaded) settings(v reflect.Value, path string) []Setting {
	var all []Setting
	for _, f := range fieldsOf(v.Type()) {
		at, value := under(path, f.key), v.Field(f.index)
		switch shapeOf(f.typ) {
		case section:
			all = append(all, l.settings(value, at)...)
		case named:
			for _, name := range namesOf(value) {
				all = append(all, l.settings(value.MapIndex(reflect.ValueOf(name)), under(at, name))...)
			}
		default:
			s := Setting{Path: at, Value: write(value), Origin: l.Origin(at)}
			if s.Value != "" && slices.Contains(secretFiles, f.key) {
				s.Fingerprint = Fingerprint(s.Value)
			}
			all = append(all, s)
		}
	}
	return all
}

// Origin is where the value at path came from.
func (l *Loaded) Origin(path string) Origin {
	if o, ok := l.origins[path]; ok {
		return o
	}
	return Origin{Layer: FromDefault}
}

// secretFiles are the keys that name a file with a secret.
var secretFiles = []string{"key_file", "bootstrap_token_file", "secret_file"}

// namesOf are the names in v, a mapping of names to sections, sorted.
func namesOf(v reflect.Value) []string {
	var names []string
	for name := range v.Seq() {
		names = append(names, name.String())
	}
	slices.Sort(names)
	return names
}

// MarshalJSON writes c with the keys, the order and the notation of a file.
func (c Config) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	writeJSON(&b, reflect.ValueOf(c))
	return b.Bytes(), nil
}

func writeJSON(b *bytes.Buffer, v reflect.Value) {
	member := func(i int, key string, value reflect.Value) {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(jsonOf(key))
		b.WriteByte(':')
		writeJSON(b, value)
	}
	switch shapeOf(v.Type()) {
	case section:
		b.WriteByte('{')
		for i, f := range fieldsOf(v.Type()) {
			member(i, f.key, v.Field(f.index))
		}
		b.WriteByte('}')
	case named:
		b.WriteByte('{')
		for i, name := range namesOf(v) {
			member(i, name, v.MapIndex(reflect.ValueOf(name)))
		}
		b.WriteByte('}')
	case list:
		if v.IsNil() {
			b.WriteString("[]")
			return
		}
		b.Write(jsonOf(v.Interface()))
	case measured:
		b.Write(jsonOf(write(v)))
	default:
		b.Write(jsonOf(v.Interface()))
	}
}

// jsonOf is v, a value of a type that always encodes, as JSON.
func jsonOf(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		return []byte("null")
	}
	return text
}
