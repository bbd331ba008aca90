package strictjson

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// target has a field of every shape that wire types use.
type target struct {
	Name   string            `json:"name"`
	Count  int8              `json:"count"`
	Size   uint32            `json:"size"`
	Ratio  float64           `json:"ratio"`
	On     *bool             `json:"on"`
	When   time.Time         `json:"when"`
	Bytes  []byte            `json:"bytes"`
	Labels map[string]string `json:"labels"`
	Parts  []struct {
		X bool `json:"x"`
	} `json:"parts"`
	Pair  [2]int         `json:"pair"`
	Color color          `json:"color"`
	Raw   jsontext.Value `json:"raw"`
	Any   any            `json:"any"`
}

type color string

var errColor = errors.New(`a color is "red" or "green"`)

func (c *color) UnmarshalText(text []byte) error {
	if s := string(text); s != "red" && s != "green" {
		return errColor
	}
	*c = color(text)
	return nil
}

func TestRefusalsSayWhatAndWhere(t *testing.T) {
	for _, test := range []struct {
		in   string
		kind error
		want string
	}{
		// Duplicate names, at any depth, however they are spelt.
		{`{"name":"a","name":"b"}`, ErrDuplicateName, `line 1, column 13 (/name): the name "name" appears twice in one object`},
		{`{"raw":{"a":[{"b":1,"b":2}]}}`, ErrDuplicateName, `line 1, column 21 (/raw/a/0/b): the name "b" appears twice in one object`},
		{`{"any":{"a":{"b":1,"b":1}}}`, ErrDuplicateName, `line 1, column 20 (/any/a/b): the name "b" appears twice in one object`},
		{`{"labels":{"a":"1","\u0061":"2"}}`, ErrDuplicateName, `line 1, column 20 (/labels/a): the name "a" appears twice in one object`},

		// Unknown fields, and those that differ in case.
		{"{\n  \"nmae\": \"a\"\n}", ErrUnknownName, `line 2, column 3 (/nmae): unknown field "nmae"`},
		{`{"Name":"a"}`, ErrUnknownName, `line 1, column 2 (/Name): unknown field "Name"`},
		{`{"parts":[{"x":true},{"y":1}]}`, ErrUnknownName, `line 1, column 23 (/parts/1/y): unknown field "y"`},
		{`{"":1}`, ErrUnknownName, `line 1, column 2 (/): unknown field ""`},
		{"{\"\u202ename\":1}", ErrUnknownName, "line 1, column 2 (/\u202ename): unknown field \"\\u202ename\""},

		// Values that do not fit.
		{`{"name":1}`, ErrValue, `line 1, column 9 (/name): a number, where a string should be`},
		{`{"on":"yes"}`, ErrValue, `line 1, column 7 (/on): a string, where true or false should be`},
		{`{"count":300}`, ErrValue, `line 1, column 10 (/count): "300" is out of range for an integer of at most 8 bits`},
		{`{"count":1.5}`, ErrValue, `line 1, column 10 (/count): it should be an integer of at most 8 bits`},
		{`{"size":-1}`, ErrValue, `line 1, column 9 (/size): it should be an integer of at most 32 bits that is not negative`},
		{`{"ratio":1e999}`, ErrValue, `line 1, column 10 (/ratio): "1e999" is out of range for a number`},
		{`{"when":"yesterday"}`, ErrValue, `line 1, column 9 (/when): it should be a time like "2006-01-02T15:04:05Z" (RFC 3339)`},
		{`{"bytes":"!!"}`, ErrValue, `line 1, column 10 (/bytes): it should be a string in base64`},
		{`{"labels":{"a":1}}`, ErrValue, `line 1, column 16 (/labels/a): a number, where a string should be`},
		{`{"pair":[1]}`, ErrValue, `line 1, column 11 (/pair): it should be an array of 2 elements`},
		{`{"color":"blue"}`, ErrValue, `line 1, column 10 (/color): a color is "red" or "green"`},
		{`[1]`, ErrValue, `line 1, column 1: an array, where an object should be`},

		// Not UTF-8.
		{"{\"name\":\"a\xff\"}", ErrSyntax, `line 1, column 11 (/name): invalid UTF-8`},
		{`{"raw":"\ud800"}`, ErrSyntax, "line 1, column 9 (/raw): invalid surrogate pair `\\ud800\"}` in string"},
		{"{\"n\xc0\xafame\":1}", ErrSyntax, `line 1, column 4: invalid UTF-8`},

		// Not JSON.
		{"", ErrSyntax, `line 1, column 1: empty, where a JSON value should be`},
		{"\n \t", ErrSyntax, `line 2, column 3: empty, where a JSON value should be`},
		{`{"name":"a`, ErrSyntax, `line 1, column 11 (/name): it ends in the middle of a value`},
		{`{"name":"a"} {}`, ErrSyntax, `line 1, column 14: invalid character '{' after top-level value`},
		{`{"count":1,}`, ErrSyntax, `line 1, column 11: invalid character ',' at start of value`},
		{`{'count':1}`, ErrSyntax, `line 1, column 2: invalid character '\'' at start of value`},
		{`{"count":01}`, ErrSyntax, `line 1, column 11: invalid character '1' after object value (expecting ',' or '}')`},
		{`{"raw":[1,}`, ErrSyntax, `line 1, column 11 (/raw/1): invalid character '}' at start of value`},
		{`{"raw":// no` + "\n1}", ErrSyntax, `line 1, column 8 (/raw): invalid character '/' at start of value`},
		{"NaN", ErrSyntax, `line 1, column 1: invalid character 'N' at start of value`},
		{"{}\x00", ErrSyntax, `line 1, column 3: invalid character '\x00' after top-level value`},

		// Positions count characters, not bytes, and a byte order mark is skipped.
		{"{\"name\":\"日本\",\n\"ö\":1}", ErrUnknownName, `line 2, column 1 (/ö): unknown field "ö"`},
		{"{\"name\":\"日本\", \"x\":1}", ErrUnknownName, `line 1, column 15 (/x): unknown field "x"`},
	} {
		err := DecodeBytes([]byte(test.in), new(target))
		if err == nil {
			t.Errorf("%q was taken", test.in)
			continue
		}
		if err.Error() != test.want {
			t.Errorf("%q:\n got %s\nwant %s", test.in, err, test.want)
		}
		if !errors.Is(err, test.kind) {
			t.Errorf("%q is not %q", test.in, test.kind)
		}
	}
}

func TestGoodInputIsTaken(t *testing.T) {
	in := "\xef\xbb\xbf" + ` {"name":"😀 \ud83d\ude00","count":-128,"size":4294967295,"on":null,"when":"2026-11-23T18:00:00Z",
		"bytes":"aGk=","labels":{"":"a","A":"b","a":"c"},"parts":[],"pair":[1,2],"color":"red","raw":{"x":[null]}} ` + "\r\n"
	var v target
	if err := Decode(strings.NewReader(in), int64(len(in)), &v); err != nil {
		t.Fatal(err)
	}
	if v.Name != "😀 😀" || v.Count != -128 || v.Size != 1<<32-1 || string(v.Bytes) != "hi" || len(v.Labels) != 3 || string(v.Raw) != `{"x":[null]}` {
		t.Errorf("decoded %+v", v)
	}
}

func TestOffsetCountsTheByteOrderMark(t *testing.T) {
	err := DecodeBytes([]byte("\xef\xbb\xbf{\"x\":1}"), new(target))
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Offset != 4 || e.Column != 2 {
		t.Errorf("got %+v, want offset 4, column 2", e)
	}
}

func TestDepthIsLimited(t *testing.T) {
	nested := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	var v any
	if err := DecodeBytes([]byte(nested(64)), &v); err != nil {
		t.Errorf("64 levels: %v", err)
	}
	if err := DecodeBytes([]byte("["+strings.Repeat("[{}],", 1000)+"[]]"), &v); err != nil {
		t.Errorf("many siblings: %v", err)
	}
	err := DecodeBytes([]byte(nested(65)), &v)
	if !errors.Is(err, ErrTooDeep) {
		t.Fatalf("65 levels: %v", err)
	}
	if e, _ := errors.AsType[*Error](err); e.Offset != 64 || e.Path != strings.Repeat("/0", 64) {
		t.Errorf("65 levels: offset %d, path %s", e.Offset, e.Path)
	}
	if err := DecodeBytes([]byte(strings.Repeat(`{"a":`, 1<<20)), &v); !errors.Is(err, ErrTooDeep) {
		t.Errorf("a million levels: %v", err)
	}
	err = Rules{Depth: 2}.Valid([]byte(`{"a":["[[[{{{",{"b\\\"[":1}]}`))
	if want := `line 1, column 16 (/a/1): nested deeper than the limit of 2`; err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
	if err := (Rules{Depth: 1}).Valid([]byte(`["[[","\"[",{}`)); !errors.Is(err, ErrTooDeep) {
		t.Errorf("brackets after strings: %v", err)
	}
	if err := (Rules{Depth: 1}).Valid([]byte(`["[[","\"[","\\"]`)); err != nil {
		t.Errorf("brackets in strings count: %v", err)
	}
}

func TestSizeIsLimitedWhileReading(t *testing.T) {
	const limit = 1 << 10
	endless := io.MultiReader(strings.NewReader(`{"name":"`), iotest.OneByteReader(spaces{}))
	counted := &counter{r: endless}
	err := Decode(counted, limit, new(target))
	if want := "larger than the limit of 1024 bytes"; !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
	if counted.n > limit+1 {
		t.Errorf("%d bytes were read, the limit is %d", counted.n, limit)
	}
	if err := Decode(strings.NewReader(`{"count":1}`), 11, new(target)); err != nil {
		t.Errorf("input at the limit: %v", err)
	}
}

type spaces struct{}

func (spaces) Read(p []byte) (int, error) { p[0] = ' '; return 1, nil }

type counter struct {
	r io.Reader
	n int
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

func TestErrorOfTheReaderIsNoRefusal(t *testing.T) {
	gone := errors.New("the client went away")
	err := Decode(io.MultiReader(strings.NewReader(`{"na`), iotest.ErrReader(gone)), 100, new(target))
	if _, refused := errors.AsType[*Error](err); refused || !errors.Is(err, gone) {
		t.Errorf("Decode = %v", err)
	}
}

func TestErrorOfTheFieldIsKept(t *testing.T) {
	err := DecodeBytes([]byte(`{"color":"blue"}`), new(target))
	if !errors.Is(err, errColor) || !errors.Is(err, ErrValue) {
		t.Errorf("Decode = %v", err)
	}
}

func TestRefusalsAreShort(t *testing.T) {
	long := strings.Repeat("ä", 1<<20)
	for _, in := range []string{
		fmt.Sprintf(`{%q:1}`, long),
		fmt.Sprintf(`{"labels":{%q:"","%s":""}}`, long, long),
		fmt.Sprintf(`{"raw":{%q:[}}`, long),
		fmt.Sprintf(`{"count":%s}`, strings.Repeat("9", 1<<20)),
		fmt.Sprintf(`{"raw":%q`, long),
	} {
		if err := DecodeBytes([]byte(in), new(target)); err == nil || len(err.Error()) > 500 {
			t.Errorf("%.40s…: an error of %d bytes", in, len(err.Error()))
		}
	}
}

func TestAllowUnknownKeepsTheOtherRules(t *testing.T) {
	lax := Rules{AllowUnknown: true}
	var v target
	if err := lax.DecodeBytes([]byte(`{"x":{"y":1},"name":"a"}`), &v); err != nil || v.Name != "a" {
		t.Errorf("decoded %+v, %v", v, err)
	}
	if err := lax.DecodeBytes([]byte(`{"x":{"y":1,"y":2}}`), &v); !errors.Is(err, ErrDuplicateName) {
		t.Errorf("a duplicate inside an unknown field: %v", err)
	}
}

func TestMarshalIsDeterministic(t *testing.T) {
	type out struct {
		Labels map[string]int `json:"labels"`
		Empty  []string       `json:"empty"`
		Text   string         `json:"text"`
	}
	v := out{Labels: map[string]int{}, Text: "<a & b>"}
	for i := range 100 {
		v.Labels[fmt.Sprint(i)] = i
	}
	first, err := Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if again, _ := Marshal(v); string(again) != string(first) {
			t.Fatal("two outputs differ")
		}
	}
	if !strings.HasSuffix(string(first), `"empty":[],"text":"<a & b>"}`) {
		t.Errorf("wrote %s", first)
	}
	if _, err := Marshal(make(chan int)); err == nil {
		t.Error("a channel was written")
	}
}
