package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

// nasty is input that readers of JSON are known to disagree on.
var nasty = []string{
	`{"a":1,"a":2}`, `{"a":1,"\u0061":2}`, `{"A":1,"a":2}`, `{"raw":{"k":[{"x":1,"x":2}]}}`,
	`{"__proto__":{}}`, `{"name":"\u0000"}`, `{"name":"a\/b"}`, "{\"name\":\"\u2028\"}",
	`{"raw":"\ud800"}`, `{"raw":"\udc00\ud800"}`, "\"\xed\xa0\x80\"", "\"\xc0\x80\"", "\"\xff\"", "\"a\x00b\"",
	"\xef\xbb\xbf{}", "\xef\xbb\xbf\xef\xbb\xbf{}", "\xff\xfe{\x00}\x00", " {} ", "{}\x00", "{} {}", "{}x", "\v{}", "\u00a0{}",
	`[1,]`, `[,1]`, `{"a":1,}`, `{a:1}`, `{'a':1}`, `[1 2]`, `{"a" 1}`, `{"a":}`, `{1:2}`, `{null:1}`, `//`, `/**/1`, `#`,
	`01`, `-`, `-0`, `+1`, `1.`, `.5`, `1e`, `1e999`, `-1e-999`, `0x1`, `1_000`, `NaN`, `Infinity`, `-Infinity`,
	`9223372036854775808`, `{"count":1e2}`, `{"count":1.0}`, `{"size":-0}`, `123456789012345678901234567890`,
	`nul`, `True`, `tru`, `nullx`, `"\x41"`, `"\u12"`, `"\u{41}"`, "\"a\nb\"", "\"a\tb\"", `"\`, `"\"`, `[`, `]`, `{`, `}`, `[}`, `{]`,
	`""""`, `[[[[[[[[`, strings.Repeat("[", 65), strings.Repeat(`{"a":`, 65), strings.Repeat("]", 100) + strings.Repeat("[", 200),
	strings.Repeat("[", 64) + strings.Repeat("]", 64), `{"raw":` + strings.Repeat("[", 63) + strings.Repeat("]", 63) + `}`,
}

// FuzzDecode compares us with the reader of the standard library: what we take,
// it takes too and sees the same; what we refuse has a place inside the input and
// a short text.
func FuzzDecode(f *testing.F) {
	for _, in := range nasty {
		f.Add([]byte(in))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		checkTyped(t, data)
		checkUntyped(t, data)
	})
}

func checkTyped(t *testing.T, data []byte) {
	if err := DecodeBytes(data, new(target)); err != nil {
		checkError(t, data, err)
	}
}

func checkUntyped(t *testing.T, data []byte) {
	var ours any
	if err := DecodeBytes(data, &ours); err != nil {
		checkError(t, data, err)
		return
	}
	if err := (Rules{}).Valid(data); err != nil {
		t.Errorf("decoded, and not valid: %v", err)
	}
	var theirs any
	if err := json.Unmarshal(withoutBOM(data), &theirs); err != nil {
		t.Fatalf("we took what encoding/json refuses: %v", err)
	}
	a, errA := Marshal(ours)
	b, errB := Marshal(theirs)
	if errA != nil || errB != nil || !bytes.Equal(a, b) {
		t.Errorf("we read %s (%v), encoding/json %s (%v)", a, errA, b, errB)
	}
	var again any
	if err := DecodeBytes(a, &again); err != nil {
		t.Errorf("our own output is refused: %v", err)
	}
}

func checkError(t *testing.T, data []byte, err error) {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("%v is no *Error", err)
	}
	kinds := 0
	for _, kind := range []error{ErrSyntax, ErrTooLarge, ErrTooDeep, ErrDuplicateName, ErrUnknownName, ErrValue} {
		if errors.Is(err, kind) {
			kinds++
		}
	}
	if kinds != 1 || e.Problem == "" {
		t.Errorf("%v is of %d kinds", err, kinds)
	}
	if e.Offset < 0 || e.Offset > int64(len(data)) || e.Line < 1 || e.Column < 1 {
		t.Errorf("the place of %v is not inside %d bytes", err, len(data))
	}
	if len(e.Path) > maxPath || len(e.Error()) > 1000 || !utf8.ValidString(e.Path) {
		t.Errorf("an error of %d bytes with a path of %d", len(e.Error()), len(e.Path))
	}
}
