package strictjson

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestMendRepairsOnlyWhatItIsAllowedTo(t *testing.T) {
	tests := []struct {
		text      string
		tolerance Tolerance
		want      string // "" means refused
		paths     []string
	}{
		{`{"a": "\ud800", "b" : "\u00e9"}`, MendStrings, `{"a":"` + "\uFFFD" + `","b":"\u00e9"}`, []string{"/a"}},
		{"[\"x\xffy\",\"z\"]", MendStrings, "[\"x\uFFFDy\",\"z\"]", []string{"/0"}},
		{"{\"a\xff\":1}", MendStrings, "", nil},
		{"{\"a\xff\":1}", MendStructure, "{\"a\uFFFD\":1}", []string{"/a\uFFFD"}},
		{`{"a":1,"a":2}`, MendStrings, "", nil},
		{`{"a":1,"a":2}`, MendStructure, `{"a":2}`, []string{"/a"}},
		{`{"a":1,"b":2,"\u0061":3,"a":4}`, MendStructure, `{"b":2,"a":4}`, []string{"/a", "/a"}},
		{`{"x":{"a":{"a":1,"a":2},"b":0,"a":[]},"y":1}`, MendStructure, `{"x":{"b":0,"a":[]},"y":1}`, []string{"/x/a/a", "/x/a"}},
		{"{\"a\xff\":1,\"a\xfe\":2}", MendStructure, "{\"a\uFFFD\":2}", []string{"/a\uFFFD", "/a\uFFFD", "/a\uFFFD"}},
		{`[[[1]]]`, MendStructure, `[[null]]`, []string{"/0/0"}},
		{`[[[1]]]`, MendStrings, "", nil},
		{`[1,2`, MendStructure, "", nil},
		{`[1] 2`, MendStructure, "", nil},
		{`{1:2}`, MendStructure, "", nil},
		{``, MendStructure, "", nil},
		{`{"a":1,}`, MendStructure, "", nil},
	}
	for _, test := range tests {
		got, repairs, err := Rules{Depth: 2 + strings.Count(test.text, `"x"`)}.Mend([]byte(test.text), test.tolerance)
		if test.want == "" {
			if _, ok := errors.AsType[*Error](err); !ok {
				t.Errorf("%q gave %s, %v, want a refusal", test.text, got, err)
			}
			continue
		}
		if err != nil || string(got) != test.want {
			t.Errorf("%q gave %s, %v, want %s", test.text, got, err, test.want)
			continue
		}
		var paths []string
		for _, r := range repairs {
			paths = append(paths, r.Path)
		}
		if !reflect.DeepEqual(paths, test.paths) {
			t.Errorf("%q was repaired at %q, want %q", test.text, paths, test.paths)
		}
	}
}

func TestMendStopsAtItsLimit(t *testing.T) {
	text := `[` + strings.Repeat(`"\ud800",`, MaxRepairs-1) + `"\ud800"`
	if _, repairs, err := (Rules{}).Mend([]byte(text+`]`), MendStrings); err != nil || len(repairs) != MaxRepairs {
		t.Errorf("%d repairs, %v", len(repairs), err)
	}
	if _, _, err := (Rules{}).Mend([]byte(text+`,"\ud800"]`), MendStrings); !errors.Is(err, ErrInvalidUTF8) {
		t.Errorf("one place too many: %v", err)
	}
}

// FuzzMend: what Mend gives is valid, and what was valid stays what it meant.
func FuzzMend(f *testing.F) {
	f.Add([]byte(`{"a":{"b":1,"b":[2,"\ud800"]},"a":3}`))
	f.Add([]byte("{\"\xff\":1,\"\xfe\":[[[[[[]]]]]]}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		rules := Rules{Depth: 5}
		valid := rules.Valid(data) == nil
		for _, tolerance := range []Tolerance{MendStrings, MendStructure} {
			got, repairs, err := rules.Mend(data, tolerance)
			if err != nil {
				if valid {
					t.Fatalf("%q is valid, and not mended: %v", data, err)
				}
				continue
			}
			if err := rules.Valid(got); err != nil {
				t.Fatalf("%q became %q, which is not valid: %v", data, got, err)
			}
			if valid && (len(repairs) > 0 || !sameJSON(t, data, got)) {
				t.Fatalf("%q was valid and became %q, repairs %v", data, got, repairs)
			}
			if !valid && len(repairs) == 0 {
				t.Fatalf("%q was not valid and became %q without a repair", data, got)
			}
		}
	})
}

func sameJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	return reflect.DeepEqual(standard(t, a), standard(t, b))
}

// standard is what encoding/json makes of valid JSON.
func standard(t *testing.T, data []byte) any {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(string(withoutBOM(data))))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("%q: %v", data, err)
	}
	return v
}

// FuzzMembers: the scan agrees with encoding/json on valid JSON, and ends on any
// other.
func FuzzMembers(f *testing.F) {
	f.Add([]byte(` { "a" : [1, "]"] , "b\"" : {"x":"}"} ,"c":-1.5e3}`))
	f.Add([]byte(`{"\\":"\\\"","":null}`))
	f.Add([]byte(`[1,[2],"]"]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, list := map[string]any{}, []any{}
		valid := Rules{}.Valid(data) == nil && len(withoutBOM(data)) == len(data)
		for m := range Members(data) {
			if string(data[m.At:m.At+len(m.Value)]) != string(m.Value) {
				t.Fatalf("%q: %q does not stand at %d", data, m.Value, m.At)
			}
			if valid {
				name, ok := Text(m.Name)
				if !ok {
					t.Fatalf("%q: the name %q is no string", data, m.Name)
				}
				got[name] = standard(t, m.Value)
			}
		}
		for value := range Elements(data) {
			if valid {
				list = append(list, standard(t, value))
			}
		}
		if !valid {
			return
		}
		switch want := standard(t, data).(type) {
		case map[string]any:
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("%q has the members %v", data, got)
			}
		case []any:
			if !reflect.DeepEqual(list, want) {
				t.Fatalf("%q has the elements %v", data, list)
			}
		}
	})
}

func TestTextAndQuoteAreInverse(t *testing.T) {
	for _, s := range []string{"", "plain", `q"uo\te`, "\x00\n\x7f", "é😀", "</script>"} {
		raw := AppendQuote(nil, s)
		if got, ok := Text(raw); !ok || got != s {
			t.Errorf("%q written as %s is read as %q, %v", s, raw, got, ok)
		}
	}
	for _, raw := range []string{``, `"`, `1`, `null`, `"a`, `a"`, `"a"b"`, `"\q"`, "\"\n\""} {
		if got, ok := Text([]byte(raw)); ok {
			t.Errorf("Text(%q) = %q", raw, got)
		}
	}
	if got, ok := Text([]byte(`"\ud800"`)); !ok || got != "\uFFFD" {
		t.Errorf("half a surrogate pair is %q, %v", got, ok)
	}
}

func TestCompactDropsOnlyWhiteSpace(t *testing.T) {
	const text = "{ \"a\" :\r\n[ 1.0 , \"\\u0061 b\" ]\n}"
	given := []byte(text)
	if got := string(Compact(given)); got != `{"a":[1.0,"\u0061 b"]}` || string(given) != text {
		t.Errorf("Compact gave %s, and left %s", got, given)
	}
}
