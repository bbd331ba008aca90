package config

import (
	"cmp"
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// A field is one key of a section, as the tags of its struct describe it.
type field struct {
	key      string
	help     string
	enum     []string // words that are allowed; empty: any
	min, max string   // bounds in the notation of the type; empty: none
	index    int      // in its struct
	typ      reflect.Type
}

// fieldsOf lists the keys of a section in the order in which they are written.
func fieldsOf(section reflect.Type) []field {
	fields := make([]field, section.NumField())
	for i := range fields {
		f := section.Field(i)
		fields[i] = field{
			key:   f.Tag.Get("yaml"),
			help:  f.Tag.Get("help"),
			min:   f.Tag.Get("min"),
			max:   f.Tag.Get("max"),
			index: i,
			typ:   f.Type,
		}
		if words := f.Tag.Get("enum"); words != "" {
			fields[i].enum = strings.Split(words, ",")
		}
	}
	return fields
}

func fieldNamed(section reflect.Type, key string) (field, bool) {
	fields := fieldsOf(section)
	if i := slices.IndexFunc(fields, func(f field) bool { return f.key == key }); i >= 0 {
		return fields[i], true
	}
	return field{}, false
}

// keysOf are the keys of a section.
func keysOf(section reflect.Type) []string {
	var keys []string
	for _, f := range fieldsOf(section) {
		keys = append(keys, f.key)
	}
	return keys
}

// A shape is what a field looks like in a file.
type shape int

const (
	section  shape = iota // a mapping with fixed keys
	named                 // a mapping of names to sections
	list                  // a sequence of text
	text                  // a string
	number                // a whole number
	boolean               // true or false
	measured              // a scalar with a notation of its own: Duration, Size
)

// shapeOf is total over the types that Config is made of; a test asserts it.
func shapeOf(t reflect.Type) shape {
	switch {
	case reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()):
		return measured
	case t.Kind() == reflect.Struct:
		return section
	case t.Kind() == reflect.Map:
		return named
	case t.Kind() == reflect.Slice:
		return list
	case t.Kind() == reflect.Int:
		return number
	case t.Kind() == reflect.Bool:
		return boolean
	default:
		return text
	}
}

// want completes the sentence "… must be".
func (s shape) want() string {
	return [...]string{"a mapping", "a mapping of names", "a list", "text", "a whole number", "true or false", "a value with a unit"}[s]
}

// assign parses in, as it stands in a file or a variable, into v and checks it
// against the tags of f; after an error v is as it was. It does not know of lists
// and mappings.
func (f field) assign(v reflect.Value, in string) error {
	switch shapeOf(f.typ) {
	case measured:
		parsed := reflect.New(f.typ)
		if err := parsed.Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(in)); err != nil {
			return err
		}
		return f.assignBounded(v, parsed.Elem().Int(), in)
	case number:
		n, err := strconv.Atoi(in)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", in)
		}
		return f.assignBounded(v, int64(n), in)
	case boolean:
		if in != "true" && in != "false" {
			return fmt.Errorf("%q is neither true nor false", in)
		}
		v.SetBool(in == "true")
		return nil
	default:
		if err := plain(in); err != nil {
			return err
		}
		if len(f.enum) > 0 && !slices.Contains(f.enum, in) {
			return fmt.Errorf("%q is not one of %s", in, strings.Join(f.enum, ", "))
		}
		v.SetString(in)
		return nil
	}
}

// maxTextBytes bounds every string of a configuration.
const maxTextBytes = 4096

// plain refuses text that no name, address or path has.
func plain(in string) error {
	if len(in) > maxTextBytes {
		return fmt.Errorf("has %d bytes, the limit is %d", len(in), maxTextBytes)
	}
	if i := strings.IndexFunc(in, unicode.IsControl); i >= 0 {
		return fmt.Errorf("%q contains a control character", in)
	}
	return nil
}

// assignBounded sets v to n, written as in, if it is within the bounds of f.
func (f field) assignBounded(v reflect.Value, n int64, in string) error {
	low, high := f.bound(f.min), f.bound(f.max)
	if (low == nil || n >= *low) && (high == nil || n <= *high) {
		v.SetInt(n)
		return nil
	}
	if f.min == f.max {
		return fmt.Errorf("%s is not %s", in, f.min)
	}
	return fmt.Errorf("%s is outside %s to %s", in, cmp.Or(f.min, "…"), cmp.Or(f.max, "…"))
}

// bound is a min or max tag as a number, nil for none.
func (f field) bound(tag string) *int64 {
	if tag == "" {
		return nil
	}
	v := reflect.New(f.typ).Elem()
	if err := (field{typ: f.typ}).assign(v, tag); err != nil {
		return nil // a test reads every tag
	}
	return new(v.Int())
}

// write is v, a leaf, in the notation of a file.
func write(v reflect.Value) string {
	switch shapeOf(v.Type()) {
	case list:
		items := make([]string, v.Len())
		for i := range items {
			items[i] = v.Index(i).String()
		}
		return "[" + strings.Join(items, ", ") + "]"
	case text:
		return v.String()
	default:
		return fmt.Sprint(v.Interface())
	}
}
