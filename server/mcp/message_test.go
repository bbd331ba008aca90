package mcp

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func parsed(t testing.TB, text string) *Message {
	t.Helper()
	m, err := Parse([]byte(text), Inbound)
	if err != nil {
		t.Fatalf("Parse(%s): %v", text, err)
	}
	return m
}

func TestParseTellsWhatAMessageIs(t *testing.T) {
	tests := []struct {
		text   string
		kind   Kind
		id     ID
		method string
		params string
		result string
	}{
		{text: `{"jsonrpc":"2.0","id":1,"method":"ping"}`, kind: KindRequest, id: "1", method: "ping"},
		{text: `{"jsonrpc":"2.0","id":"a","method":"x/y","params":{}}`, kind: KindRequest, id: `"a"`, method: "x/y", params: "{}"},
		{text: `{"params":{"a":1},"method":"x","id":0,"jsonrpc":"2.0"}`, kind: KindRequest, id: "0", method: "x", params: `{"a":1}`},
		{text: `{"jsonrpc":"2.0","method":"notifications/initialized"}`, kind: KindNotification, method: "notifications/initialized"},
		{text: `{"jsonrpc":"2.0","id":1,"method":"ping","params":null}`, kind: KindRequest, id: "1", method: "ping"},
		{text: `{"jsonrpc":"2.0","id":5,"result":{"ok":true}}`, kind: KindResult, id: "5", result: `{"ok":true}`},
		{text: `{"jsonrpc":"2.0","id":5,"error":{"code":-1,"message":"no"}}`, kind: KindFailure, id: "5"},
		{text: `{"jsonrpc":"2.0","id":null,"error":{"code":-1,"message":"no"}}`, kind: KindFailure},
		{text: `{"jsonrpc":"2.0","error":{"code":-1,"message":"no"}}`, kind: KindFailure},
		{text: "\xef\xbb\xbf {\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n", kind: KindRequest, id: "1", method: "ping"},
		{text: `{"jsonrpc":"2.0","\u0069d":7,"method":"p"}`, kind: KindRequest, id: "7", method: "p"},
	}
	for _, test := range tests[:len(tests)-1] {
		m := parsed(t, test.text)
		if m.Kind() != test.kind || m.ID() != test.id || m.Method() != test.method || string(m.Params()) != test.params || string(m.Result()) != test.result {
			t.Errorf("Parse(%s) = %v id %s method %q params %s result %s", test.text, m.Kind(), m.ID(), m.Method(), m.Params(), m.Result())
		}
	}
}

func TestParseKeepsIDsAsTheyWereWritten(t *testing.T) {
	for text, want := range map[string]ID{
		`0`: "0", `-7`: "-7", `9007199254740993`: "9007199254740993", `123456789012345678901234567890`: "123456789012345678901234567890",
		`""`: `""`, `"a b"`: `"a b"`, `"é"`: `"é"`, `"\u00e9"`: `"é"`, `"a\/b"`: `"a/b"`, `"\n"`: `"\n"`,
	} {
		m := parsed(t, `{"jsonrpc":"2.0","id":`+text+`,"method":"ping"}`)
		if m.ID() != want {
			t.Errorf("id %s is %s, want %s", text, m.ID(), want)
		}
		if !strings.Contains(string(m.Bytes()), text) {
			t.Errorf("id %s was written anew: %s", text, m.Bytes())
		}
	}
}

func TestEditsKeepEverythingElse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		unknown := rapid.SampledFrom([]string{"", `,"x-vendor":{"a":[1,2]}`, `, "z" : "id"`}).Draw(t, "unknown")
		params := rapid.SampledFrom([]string{"", `,"params":{"name":"n","arguments":{"id":1}}`, ` , "params" : { } `}).Draw(t, "params")
		order := rapid.SampledFrom([]string{`"id":1,"method":"m"`, `"method":"m" , "id" : 1`}).Draw(t, "order")
		text := `{"jsonrpc":"2.0",` + order + params + unknown + `}`
		m, err := Parse([]byte(text), Inbound)
		if err != nil {
			t.Fatal(err)
		}
		id := rapid.SampledFrom([]ID{"1", `"long id of a gateway"`, "-5"}).Draw(t, "id")
		method := rapid.SampledFrom([]string{"m", "a/very/long/method", `with "quotes"`}).Draw(t, "method")
		newParams := rapid.SampledFrom([]string{`{}`, `{"deep":{"id":[{}]}}`}).Draw(t, "new params")
		edits := []func(*Message) *Message{
			func(m *Message) *Message { return m.WithID(id) },
			func(m *Message) *Message { return m.WithMethod(method) },
			func(m *Message) *Message { return m.WithParams([]byte(newParams)) },
		}
		out := m
		for _, i := range rapid.Permutation([]int{0, 1, 2}).Draw(t, "edits") {
			out = edits[i](out)
		}
		if string(m.Bytes()) != text {
			t.Fatalf("the edits changed the original to %s", m.Bytes())
		}
		again, err := Parse(out.Bytes(), Inbound)
		if err != nil {
			t.Fatalf("%s: %v", out.Bytes(), err)
		}
		for _, m := range []*Message{out, again} {
			if m.ID() != id || m.Method() != method || string(m.Params()) != newParams || m.Kind() != KindRequest {
				t.Fatalf("%s: id %s method %q params %s", m.Bytes(), m.ID(), m.Method(), m.Params())
			}
		}
		if unknown != "" && !strings.Contains(string(out.Bytes()), strings.TrimLeft(unknown, ", ")) {
			t.Fatalf("lost %s: %s", unknown, out.Bytes())
		}
	})
}

func TestMessagesOfOursParse(t *testing.T) {
	messages := []*Message{
		Request(NumberID(1), "tools/call", []byte(`{"name":"a"}`)),
		Request(TextID(`quo"ted`), "ping", nil),
		Notification("notifications/progress", []byte(`{}`)),
		Answer(TextID("a"), []byte(`{"x":1}`)),
		Answer(TextID("a"), nil),
		Failed(NumberID(3), &Error{Code: CodeInternal, Message: `it "broke"`, Data: []byte(`{"a":1}`)}),
		Failed("", &Error{Code: CodeParse, Message: "not JSON"}),
	}
	for _, m := range messages {
		again, err := Parse(m.Bytes(), Inbound)
		if err != nil {
			t.Errorf("%s: %v", m.Bytes(), err)
			continue
		}
		if again.Kind() != m.Kind() || again.ID() != m.ID() || again.Method() != m.Method() ||
			string(again.Params()) != string(m.Params()) || string(again.Result()) != string(m.Result()) {
			t.Errorf("%s reads as %v %s %q %s %s", m.Bytes(), again.Kind(), again.ID(), again.Method(), again.Params(), again.Result())
		}
		if e := m.Err(); e != nil && (again.Err().Code != e.Code || again.Err().Message != e.Message || string(again.Err().Data) != string(e.Data)) {
			t.Errorf("%s reads as %+v", m.Bytes(), again.Err())
		}
		if edited := m.WithID("77"); m.Kind() != KindNotification && parsed(t, string(edited.Bytes())).ID() != "77" {
			t.Errorf("%s lost its new id", edited.Bytes())
		}
	}
}

func TestAnUnknownIDIsLeftOutAndNeverNull(t *testing.T) {
	got := string(Failed("", &Error{Code: CodeParse, Message: "m"}).Bytes())
	if want := `{"jsonrpc":"2.0","error":{"code":-32700,"message":"m"}}`; got != want {
		t.Errorf("Failed without an id = %s, want %s", got, want)
	}
}

func TestRefusalsNameTheIDTheyCanTell(t *testing.T) {
	for text, want := range map[string]ID{
		`{"jsonrpc":"1.0","id":4,"method":"ping"}`:                             "4",
		`{"jsonrpc":"2.0","id":4,"method":"ping","params":[]}`:                 "4",
		`{"jsonrpc":"2.0","id":4}`:                                             "4",
		`{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{"Name":"x"}}`: "4",
		`{"jsonrpc":"2.0","id":4,"id":5,"method":"ping"}`:                      "",
		`{"jsonrpc":"2.0","id":4.5,"method":"ping"}`:                           "",
	} {
		_, err := Parse([]byte(text), Inbound)
		e, ok := errors.AsType[*Error](err)
		if !ok || e.ID != want {
			t.Errorf("Parse(%s) = %#v, want an error with id %q", text, err, want)
		}
	}
}
