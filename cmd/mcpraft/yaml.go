package main

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
)

// yamlOf is a JSON text as block-style YAML: the same keys in the same order.
// Strings that YAML could read as something else, or that need an escape, stay
// in the double quotes of JSON, which YAML reads alike.
func yamlOf(text []byte) ([]byte, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	y := yamlWriter{dec: dec}
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	if err := y.value(token, 0, "", ""); err != nil {
		return nil, err
	}
	return y.out.Bytes(), nil
}

type yamlWriter struct {
	dec *json.Decoder
	out bytes.Buffer
}

// value writes the value that begins with token. inline is what separates it
// from what stands before it on the line if it is a scalar or empty; block is
// the same for a collection, whose entries are indented by depth.
func (y *yamlWriter) value(token json.Token, depth int, inline, block string) error {
	delim, ok := token.(json.Delim)
	if !ok {
		y.out.WriteString(inline + yamlScalar(token) + "\n")
		return nil
	}
	if !y.dec.More() {
		y.out.WriteString(inline + map[json.Delim]string{'{': "{}", '[': "[]"}[delim] + "\n")
		_, err := y.dec.Token()
		return err
	}
	y.out.WriteString(block)
	for first := true; y.dec.More(); first = false {
		if block != "- " || !first {
			y.out.WriteString(strings.Repeat("  ", depth))
		}
		if err := y.entry(delim, depth); err != nil {
			return err
		}
	}
	_, err := y.dec.Token()
	return err
}

// entry writes one member of an object or one element of an array.
func (y *yamlWriter) entry(of json.Delim, depth int) error {
	token, err := y.dec.Token()
	if err != nil {
		return err
	}
	if of == '[' {
		return y.value(token, depth+1, "- ", "- ")
	}
	y.out.WriteString(yamlScalar(token) + ":")
	if token, err = y.dec.Token(); err != nil {
		return err
	}
	return y.value(token, depth+1, " ", "\n")
}

// yamlPlain matches the strings that mean themselves without quotes: they begin
// with a letter or a slash and hold nothing that YAML gives a meaning to.
var yamlPlain = regexp.MustCompile(`^[A-Za-z/][A-Za-z0-9 _./@+-]*$`)

func yamlScalar(token json.Token) string {
	switch v := token.(type) {
	case nil:
		return "null"
	case bool:
		return map[bool]string{true: "true", false: "false"}[v]
	case json.Number:
		return v.String()
	case string:
		if yamlPlain.MatchString(v) && !yamlWord(v) && !strings.HasSuffix(v, " ") {
			return v
		}
		quoted, err := encodeJSON(v)
		if err != nil {
			return `""` // strings always encode
		}
		return strings.TrimSuffix(string(quoted), "\n")
	default:
		return ""
	}
}

// yamlWord reports whether s is a word that YAML 1.1 or 1.2 reads as something
// else than a string.
func yamlWord(s string) bool {
	switch strings.ToLower(s) {
	case "null", "true", "false", "yes", "no", "on", "off", "y", "n":
		return true
	}
	return false
}
