package router

import (
	"strings"
	"testing"

	"github.com/mcpraft/mcpraft/server/mcp"
)

func TestClientIsAskedWhatItDeclaredInItsWords(t *testing.T) {
	form := func(properties string) string {
		return `{"mode":"form","message":"?","requestedSchema":{"type":"object","properties":` + properties + `}}`
	}
	for name, c := range map[string]struct {
		v                            mcp.Version
		capabilities, method, params string
		want                         string // params that the client sees; "" means refused
	}{
		"form":                                 {mcp.V20251125, `{"elicitation":{}}`, "elicitation/create", form(`{}`), form(`{}`)},
		"undeclared elicitation":               {mcp.V20251125, `{}`, "elicitation/create", form(`{}`), ""},
		"elicitation before there was any":     {mcp.V20250326, `{"elicitation":{}}`, "elicitation/create", form(`{}`), ""},
		"url":                                  {mcp.V20251125, `{"elicitation":{"url":{}}}`, "elicitation/create", `{"mode":"url","url":"u"}`, `{"mode":"url","url":"u"}`},
		"url of a client that knows forms":     {mcp.V20251125, `{"elicitation":{"form":{}}}`, "elicitation/create", `{"mode":"url","url":"u"}`, ""},
		"url before there was any":             {mcp.V20250618, `{"elicitation":{"url":{}}}`, "elicitation/create", `{"mode":"url","url":"u"}`, ""},
		"sampling":                             {mcp.V20241105, `{"sampling":{}}`, "sampling/createMessage", `{"messages":[]}`, `{"messages":[]}`},
		"undeclared sampling":                  {mcp.V20241105, `{}`, "sampling/createMessage", `{"messages":[]}`, ""},
		"sampling with tools":                  {mcp.V20251125, `{"sampling":{"tools":{}}}`, "sampling/createMessage", `{"tools":[]}`, `{"tools":[]}`},
		"sampling with tools, undeclared":      {mcp.V20251125, `{"sampling":{}}`, "sampling/createMessage", `{"tools":[]}`, ""},
		"sampling with tools before there was": {mcp.V20250618, `{"sampling":{"tools":{}}}`, "sampling/createMessage", `{"tools":[]}`, ""},
		"roots":                                {mcp.V20241105, `{"roots":{}}`, "roots/list", `{}`, `{}`},
		"undeclared roots":                     {mcp.V20241105, `{}`, "roots/list", `{}`, ""},
		"a vendor's request":                   {mcp.V20241105, `{}`, "vendor/ask", `{}`, `{}`},
		"tasks":                                {mcp.V20251125, `{"tasks":{}}`, "tasks/get", `{}`, ""},

		"titled choice for 2025-06-18": {
			mcp.V20250618, `{"elicitation":{}}`, "elicitation/create",
			form(`{"a":{"type":"string","oneOf":[{"const":"r","title":"Red"},{"const":"g"}]},"b":{"type":"number"}}`),
			form(`{"a":{"type":"string","enum":["r","g"],"enumNames":["Red","g"]},"b":{"type":"number"}}`),
		},
		"choice of several for 2025-06-18": {
			mcp.V20250618, `{"elicitation":{}}`, "elicitation/create", form(`{"a":{"type":"array","items":{"enum":["r"]}}}`), "",
		},
		"both stay for 2025-11-25": {
			mcp.V20251125, `{"elicitation":{}}`, "elicitation/create",
			form(`{"a":{"type":"string","oneOf":[{"const":"r"}]},"b":{"type":"array"}}`), form(`{"a":{"type":"string","oneOf":[{"const":"r"}]},"b":{"type":"array"}}`),
		},
		"one block in a list": {
			mcp.V20250618, `{"sampling":{}}`, "sampling/createMessage", `{"messages":[{"role":"user","content":[{"type":"text","text":"1"}]}]}`,
			`{"messages":[{"role":"user","content":{"type":"text","text":"1"}}]}`,
		},
		"two blocks in a list": {
			mcp.V20250618, `{"sampling":{}}`, "sampling/createMessage", `{"messages":[{"role":"user","content":[{"type":"text"},{"type":"text"}]}]}`, "",
		},
		"audio to be sampled in 2024-11-05": {
			mcp.V20241105, `{"sampling":{}}`, "sampling/createMessage", `{"messages":[{"role":"user","content":{"type":"audio","mimeType":"audio/wav","data":"AA=="}}]}`,
			`{"messages":[{"role":"user","content":{"type":"text","text":"[audio audio/wav: MCP revision 2024-11-05 has no audio content]"}}]}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			l := w.open("s", c.v, mcp.V20251125, c.capabilities)
			asked := ""
			_, err := askLegacy(mcp.Request(mcp.NumberID(1), c.method, []byte(c.params)), l, route{alias: "files"}, func(m *mcp.Message) (*mcp.Message, error) {
				asked = string(m.Params())
				return mcp.Answer(m.ID(), nil), nil
			})
			if asked != c.want || (err != nil) != (c.want == "") {
				t.Errorf("client sees %s (%v), want %s", asked, err, c.want)
			}
		})
	}
}

func TestPingOfAnUpstreamIsAnsweredForTheClient(t *testing.T) {
	w := newWorld(t)
	l := w.open("s", mcp.V20251125, mcp.V20251125, `{}`)
	m, err := askLegacy(mcp.Request(mcp.NumberID(1), mcp.Ping, nil), l, route{alias: "files"}, nil)
	if err != nil || string(m.Result()) != "{}" {
		t.Errorf("%s, %v", text(m), err)
	}
}

func TestContentIsSaidInWordsOfTheClientsRevision(t *testing.T) {
	result := `{"content":[{"type":"text","text":"x"},{"type":"audio","mimeType":"audio/wav","data":"AA=="},{"type":"resource_link","uri":"note://a","name":"A"}]}`
	audio := `{"type":"text","text":"[audio audio/wav: MCP revision 2024-11-05 has no audio content]"}`
	link := `{"type":"text","text":"A: note://a"}`
	for v, want := range map[mcp.Version]string{
		mcp.V20241105: `{"content":[{"type":"text","text":"x"},` + audio + `,` + link + `]}`,
		mcp.V20250326: `{"content":[{"type":"text","text":"x"},{"type":"audio","mimeType":"audio/wav","data":"AA=="},` + link + `]}`,
		mcp.V20250618: result,
		mcp.V20251125: result,
	} {
		w := newWorld(t)
		w.open("s", v, mcp.V20251125, `{}`)
		w.answers(result)
		wantResult(t, w.post(t, sent{session: "s"}, addCall), want)

		prompt := `{"messages":[{"role":"user","content":` + strings.TrimSuffix(strings.Split(result, "},")[1], "}") + `}}]}`
		w.answers(prompt)
		got := w.post(t, sent{session: "s"}, `{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{"name":"p"}}`)
		if isText := strings.Contains(string(got.Message.Result()), `"type":"text"`); isText != (v == mcp.V20241105) {
			t.Errorf("%s: prompt %s", v, got.Message.Result())
		}
	}
}

func TestNothingIsWrittenAnewThatDoesNotChange(t *testing.T) {
	result := []byte(`{ "content" : [ {"type":"text"} ] }`)
	if got := olderResult(mcp.V20241105, mcp.ToolsCall, result); !same(got, result) {
		t.Errorf("rewritten: %s", got)
	}
	list := []byte(`[ 1 , 2, 1 ]`)
	if got := string(rewriteElements(list, func(e []byte) []byte {
		if string(e) == "1" {
			return []byte("11")
		}
		return e
	})); got != `[ 11 , 2, 11 ]` {
		t.Errorf("got %s", got)
	}
}
