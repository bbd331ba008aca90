package mcp

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/mcpraft/mcpraft/internal/strictjson"
	"pgregory.net/rapid"
)

// values are values of every kind, written oddly.
var values = []string{`1`, `"s"`, `"\u0061\/"`, `null`, `true`, `[ 1 , {"a":[]} ]`, `{ "x" : "}" , "y":[{}] }`, `-0.5e+3`, `{}`, `[]`, `""`, `"\\"`, `"\\\""`}

// names are names that are easily confused.
var names = []string{"a", "A", "", "a b", `q"uote`, "é", "x/y", "_meta", "back\\slash", "aa"}

// object draws an object with distinct names, written in one of several ways.
func object(t *rapid.T, label string) (string, []string, []string) {
	keys := rapid.SliceOfNDistinct(rapid.SampledFrom(names), 0, 5, rapid.ID[string]).Draw(t, label+" names")
	blank := rapid.SampledFrom([]string{"", " ", "\n\t"}).Draw(t, label+" blank")
	var text strings.Builder
	var vals []string
	text.WriteString("{" + blank)
	for i, key := range keys {
		if i > 0 {
			text.WriteString(blank + "," + blank)
		}
		value := rapid.SampledFrom(values).Draw(t, label+" value")
		vals = append(vals, value)
		text.WriteString(string(Quote(key)) + blank + ":" + blank + value)
	}
	text.WriteString(blank + "}")
	return text.String(), keys, vals
}

func TestObjectKeepsOrderAndBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text, keys, vals := object(t, "object")
		o, err := ParseObject([]byte(text))
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if string(o.Bytes()) != text {
			t.Fatalf("%s became %s untouched", text, o.Bytes())
		}
		for range rapid.IntRange(0, 4).Draw(t, "edits") {
			key := rapid.SampledFrom(names).Draw(t, "key")
			at := slices.Index(keys, key)
			if rapid.Bool().Draw(t, "delete") {
				if o.Delete(key) != (at >= 0) {
					t.Fatalf("Delete(%q) of %v", key, keys)
				}
				if at >= 0 {
					keys, vals = slices.Delete(keys, at, at+1), slices.Delete(vals, at, at+1)
				}
				continue
			}
			value := rapid.SampledFrom(values).Draw(t, "set")
			o.Set(key, []byte(value))
			if at >= 0 {
				vals[at] = value
			} else {
				keys, vals = append(keys, key), append(vals, value)
			}
		}
		again, err := ParseObject(o.Bytes())
		if err != nil {
			t.Fatalf("%s: %v", o.Bytes(), err)
		}
		for _, o := range []*Object{o, again} {
			var gotKeys, gotVals []string
			for name, value := range o.All() {
				gotKeys, gotVals = append(gotKeys, name), append(gotVals, string(value))
			}
			if !slices.Equal(gotKeys, keys) || !slices.Equal(gotVals, vals) || o.Len() != len(keys) {
				t.Fatalf("%s holds %q %q, want %q %q", o.Bytes(), gotKeys, gotVals, keys, vals)
			}
		}
	})
}

func TestParseObjectIsStrict(t *testing.T) {
	for _, text := range []string{``, `[]`, `1`, `null`, `{"a":1,"a":2}`, `{"a":{"b":1,"b":2}}`, `{"a":1} x`, `{"a":"\ud800"}`, `{`} {
		if o, err := ParseObject([]byte(text)); err == nil {
			t.Errorf("ParseObject(%s) = %s", text, o.Bytes())
		}
	}
}

func TestFieldsAreWrittenAndRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text, keys, _ := object(t, "object")
		path := rapid.SliceOfN(rapid.SampledFrom(names), 1, 3).Draw(t, "path")
		value := rapid.SampledFrom(values).Draw(t, "value")
		out := WithField([]byte(text), []byte(value), path...)
		if err := (strictjson.Rules{}).Valid(out); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
		if got := string(Field(out, path...)); got != value {
			t.Fatalf("%s at %q is %s, want %s", out, path, got, value)
		}
		for _, key := range keys {
			if key != path[0] && string(Field(out, key)) != string(Field([]byte(text), key)) {
				t.Fatalf("%s: %q changed to %s", text, key, Field(out, key))
			}
		}
		without := WithoutField(out, path...)
		if Field(without, path...) != nil {
			t.Fatalf("%s without %q is %s", out, path, without)
		}
		if err := (strictjson.Rules{}).Valid(without); err != nil {
			t.Fatalf("%s: %v", without, err)
		}
	})
}

func TestFieldFindsNothingInWhatIsNoObject(t *testing.T) {
	for _, text := range []string{``, `1`, `null`, `[{"a":1}]`, `"a"`, `{}`, `{"b":1}`, `{"a":null}`} {
		if got := Field([]byte(text), "a", "b"); got != nil {
			t.Errorf("Field(%s) = %s", text, got)
		}
	}
	if got := Field(nil, "a"); got != nil {
		t.Errorf("Field(nil) = %s", got)
	}
	if got := Field([]byte(`{"a":null}`), "a"); string(got) != "null" {
		t.Errorf("a null is %s", got)
	}
}

func TestUnmarshalIgnoresUnknownNamesAndNotCase(t *testing.T) {
	var v struct {
		Name string `json:"name"`
	}
	if err := Unmarshal([]byte(`{"name":"a","Name":"b","other":1}`), &v); err != nil || v.Name != "a" {
		t.Errorf("%+v, %v", v, err)
	}
	if err := Unmarshal([]byte(`{"name":"a","name":"b"}`), &v); err == nil {
		t.Error("a name twice was taken")
	}
}

// FuzzEdit holds edits of any valid object to an independent reader.
func FuzzEdit(f *testing.F) {
	f.Add([]byte(`{"a":{"b":[1,"x"]},"c":null}`), "a", "b", []byte(`{"new":1}`))
	f.Add([]byte(` { "\u0061" : 1 } `), "a", "z", []byte(`"\n"`))
	f.Fuzz(func(t *testing.T, object []byte, first, second string, value []byte) {
		Field(object, first, second) // never panics, whatever it is given
		WithoutField(object, first, second)
		rules := strictjson.Rules{}
		object, value = trim(object), trim(value)
		if !utf8.ValidString(first) || !utf8.ValidString(second) {
			return
		}
		if rules.Valid(object) != nil || rules.Valid(value) != nil || object[0] != '{' {
			return
		}
		out := WithField(object, value, first, second)
		if err := rules.Valid(out); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
		want := decoded(t, object).(map[string]any)
		below, ok := want[first].(map[string]any)
		if !ok {
			below = map[string]any{}
			want[first] = below
		}
		below[second] = decoded(t, value)
		if got := decoded(t, out); !reflect.DeepEqual(got, any(want)) {
			t.Fatalf("%s with %s at %q %q is %s", object, value, first, second, out)
		}
	})
}

// decoded is what encoding/json makes of valid JSON.
func decoded(t *testing.T, raw []byte) any {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(string(raw)))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return v
}
