package mcp

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mcpraft/mcpraft/internal/strictjson"
)

// TestMalformedMessagesAreRefused reads testdata/refused: one message a line after
// the code that answers it; a line that begins with # is a comment. Bytes that are
// not UTF-8 are written \xNN outside the JSON's own escapes.
func TestMalformedMessagesAreRefused(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", "refused.txt"))
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		code, message, _ := strings.Cut(line, " ")
		count++
		for name, limits := range map[string]Limits{"inbound": Inbound, "strict, from upstream": {Bytes: FromUpstream.Bytes, Depth: FromUpstream.Depth}} {
			_, _, err := ParseAny(unescape(message), limits)
			e, ok := errors.AsType[*Error](err)
			if !ok || fmt.Sprint(e.Code) != code {
				t.Errorf("%s: %s is %v, want an error with code %s", name, message, err, code)
				continue
			}
			if answer := Failed(e.ID, e); !strings.Contains(string(answer.Bytes()), code) {
				t.Errorf("the answer to %s is %s", message, answer.Bytes())
			}
		}
	}
	if count < 60 {
		t.Errorf("the corpus has %d messages", count)
	}
}

// unescape reads \xNN in the corpus, which JSON does not have.
func unescape(s string) []byte {
	var out []byte
	for i := 0; i < len(s); i++ {
		var c byte
		if n, _ := fmt.Sscanf(s[i:], `\x%02x`, &c); n == 1 {
			out = append(out, c)
			i += 3
			continue
		}
		out = append(out, s[i])
	}
	return out
}

func TestLimitsAreKept(t *testing.T) {
	deep := func(n int) []byte {
		return []byte(`{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":` + strings.Repeat("[", n) + strings.Repeat("]", n) + `}}`)
	}
	if _, err := Parse(deep(62), Inbound); err != nil {
		t.Errorf("depth 64: %v", err)
	}
	_, err := Parse(deep(63), Inbound)
	if e, ok := errors.AsType[*Error](err); !ok || e.Code != CodeInvalidRequest || !strings.Contains(e.Message, "64") {
		t.Errorf("depth 65: %v", err)
	}
	big := []byte(`{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":"` + strings.Repeat("x", 100) + `"}}`)
	_, err = Parse(big, Limits{Bytes: len(big) - 1, Depth: 64})
	if e, ok := errors.AsType[*Error](err); !ok || e.Code != CodeInvalidRequest {
		t.Errorf("too many bytes: %v", err)
	}
	if _, err = Parse(big, Limits{Bytes: len(big), Depth: 64}); err != nil {
		t.Errorf("as many bytes as allowed: %v", err)
	}
	batch := `[` + strings.Repeat(`{"jsonrpc":"2.0","method":"m"},`, MaxBatch-1) + `{"jsonrpc":"2.0","method":"m"}`
	if list, isBatch, err := ParseAny([]byte(batch+"]"), Inbound); err != nil || !isBatch || len(list) != MaxBatch {
		t.Errorf("a full batch: %d messages, %v, %v", len(list), isBatch, err)
	}
	if _, _, err := ParseAny([]byte(batch+`,{"jsonrpc":"2.0","method":"m"}]`), Inbound); err == nil {
		t.Error("a batch above the limit was taken")
	}
}

func TestStringsAreMendedAndSaid(t *testing.T) {
	for given, want := range map[string]string{
		`"\ud800"`:           `"` + "\uFFFD" + `"`,
		`"a\udc00b"`:         `"a` + "\uFFFD" + `b"`,
		"\"a\xffb\"":         `"a` + "\uFFFD" + `b"`,
		"\"\xe2\x82\"":       `"` + "\uFFFD\uFFFD" + `"`,
		`"\ud83d\ude00\ud8"`: "",
	} {
		text := `{"jsonrpc":"2.0","id":1,"method":"m","params":{"good":"\u00e9","list":[` + given + `]}}`
		m, err := Parse([]byte(text), Inbound)
		if want == "" {
			if err == nil {
				t.Errorf("%q was taken", given)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", given, err)
			continue
		}
		if got := string(m.Params()); got != `{"good":"\u00e9","list":[`+want+`]}` {
			t.Errorf("%q gave params %s", given, got)
		}
		if r := m.Repairs(); len(r) != 1 || r[0].Path != "/params/list/0" || r[0].Reason != strictjson.ErrInvalidUTF8 {
			t.Errorf("%q: repairs %v", given, r)
		}
	}
}

func TestACarelessServerDoesNotLoseItsList(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 300) + "1" + strings.Repeat("}", 300)
	text := `{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"good"},` +
		`{"name":"first","name":"twice","inputSchema":{"type":"object"}},` +
		`{"name":"deep","inputSchema":` + deep + `},` +
		"{\"name\":\"badname\",\"x\xff\":1}," +
		`{"name":"last"}]}}`
	m, err := Parse([]byte(text), FromUpstream)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse(m.Bytes(), Limits{Bytes: FromUpstream.Bytes, Depth: FromUpstream.Depth})
	if err != nil {
		t.Fatalf("what was mended is not valid: %v", err)
	}
	var names []string
	for tool := range strictjson.Elements(Field(again.Result(), "tools")) {
		name, _ := Text(Field(tool, "name"))
		names = append(names, name)
	}
	if got := strings.Join(names, " "); got != "good twice deep badname last" {
		t.Errorf("the list is %s", got)
	}
	want := []error{strictjson.ErrDuplicateName, strictjson.ErrTooDeep, strictjson.ErrInvalidUTF8}
	if len(m.Repairs()) != len(want) {
		t.Fatalf("repairs %v", m.Repairs())
	}
	for i, r := range m.Repairs() {
		if r.Reason != want[i] || !strings.HasPrefix(r.Path, fmt.Sprintf("/result/tools/%d", i+1)) {
			t.Errorf("repair %d is %v", i, r)
		}
	}
}

func TestACarelessAnswerIsMended(t *testing.T) {
	for text, want := range map[string]string{
		`{"jsonrpc":"2.0","id":1,"result":null}`:                       `{"jsonrpc":"2.0","id":1,"result":{}}`,
		`{"jsonrpc":"2.0","id":1,"error":"it broke"}`:                  `{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"the server answered with an error that is not one of JSON-RPC","data":"it broke"}}`,
		`{"jsonrpc":"2.0","id":1,"error":{"code":"E1","message":"x"}}`: `{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"the server answered with an error that is not one of JSON-RPC","data":{"code":"E1","message":"x"}}}`,
	} {
		m, err := Parse([]byte(text), FromUpstream)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if string(m.Bytes()) != want || len(m.Repairs()) != 1 {
			t.Errorf("%s became %s, repairs %v", text, m.Bytes(), m.Repairs())
		}
		if _, err := Parse([]byte(text), Inbound); err == nil {
			t.Errorf("%s was taken from a client", text)
		}
	}
}

func TestBatchRepairsBelongToTheirMessages(t *testing.T) {
	list, _, err := ParseAny([]byte(`[{"jsonrpc":"2.0","method":"a"},{"jsonrpc":"2.0","method":"b","params":{"s":"\ud800"}}]`), Inbound)
	if err != nil {
		t.Fatal(err)
	}
	if len(list[0].Repairs()) != 0 || len(list[1].Repairs()) != 1 || list[1].Repairs()[0].Path != "/params/s" {
		t.Errorf("repairs %v and %v", list[0].Repairs(), list[1].Repairs())
	}
}

// TestFoldedNamesAreRefused is about CVE-2026-27896 and GHSA-q382-vc8q-7jhj: a
// reader that ignores case, folds ſ and K, or cuts a name at NUL would see another
// call than the gateway decided on.
func TestFoldedNamesAreRefused(t *testing.T) {
	for _, text := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"tools/list","Method":"tools/call"}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/list","paramſ":{}}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/list","method\u0000":"tools/call"}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/list","\u006dethod":"tools/call"}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","NAME":"b"}}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","name\u0000":"b"}}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","argumentſ":{}}}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","taſKId":"b"}}`,
	} {
		_, err := Parse([]byte(text), Inbound)
		if e, ok := errors.AsType[*Error](err); !ok || e.Code != CodeInvalidRequest {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","_meta":{"progressToken":1}}}`))
	f.Add([]byte(`{"jsonrpc":"2.0","id":"a","result":{"x":[1,"\ud800"]},"z":1}`))
	f.Add([]byte(`[{"jsonrpc":"2.0","error":{"code":1,"message":"m"}},{"jsonrpc":"2.0","method":"m"}]`))
	f.Add([]byte(`{"jsonrpc":"2.0","id":1,"result":{"a":1,"b":{"c":2,"c":3},"a":2}}`))
	f.Add(call)
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, limits := range []Limits{{Bytes: 4096, Depth: 8}, {Bytes: 4096, Depth: 8, Lenient: true}} {
			list, batch, err := ParseAny(data, limits)
			if err != nil {
				if e, ok := errors.AsType[*Error](err); !ok || e.Code != CodeParse && e.Code != CodeInvalidRequest {
					t.Fatalf("the error is %#v", err)
				}
				continue
			}
			if len(list) == 0 || len(list) > MaxBatch || !batch && len(list) != 1 {
				t.Fatalf("%d messages, batch %v", len(list), batch)
			}
			for _, m := range list {
				checkMessage(t, m)
			}
		}
	})
}

// checkMessage holds a parsed message to what the package promises of it.
func checkMessage(t *testing.T, m *Message) {
	t.Helper()
	strict := Limits{Bytes: 1 << 20, Depth: 64, Lenient: true}
	again, err := Parse(m.Bytes(), strict)
	if err != nil {
		t.Fatalf("%q does not parse again: %v", m.Bytes(), err)
	}
	if len(again.Repairs()) != 0 {
		t.Fatalf("%q still needs repairs: %v", m.Bytes(), again.Repairs())
	}
	if again.Kind() != m.Kind() || again.ID() != m.ID() || again.Method() != m.Method() ||
		string(again.Params()) != string(m.Params()) || string(again.Result()) != string(m.Result()) || string(again.Bytes()) != string(m.Bytes()) {
		t.Fatalf("%q reads differently the second time", m.Bytes())
	}
	if strings.ContainsAny(string(m.Bytes()), "\r\n") {
		t.Fatalf("%q is not on one line", m.Bytes())
	}
	edited := m
	if m.Kind() != KindNotification {
		edited = m.WithID(`"edited"`)
	}
	if m.Method() != "" {
		edited = edited.WithParams([]byte(`{"edited":true}`)).WithMethod("edited/method")
	}
	again, err = Parse(edited.Bytes(), strict)
	if err != nil {
		t.Fatalf("%q after edits does not parse: %v", edited.Bytes(), err)
	}
	if again.ID() != edited.ID() || again.Method() != edited.Method() || string(again.Params()) != string(edited.Params()) || again.Kind() != m.Kind() {
		t.Fatalf("%q reads differently than it was edited", edited.Bytes())
	}
}
