package router

import (
	"testing"

	"github.com/mcpraft/mcpraft/server/mcp"
)

// Every place where a name or URI of an upstream leaves, by what it is a part of.
func TestWhatAnUpstreamSaysLeavesUnderPublicURIs(t *testing.T) {
	for name, c := range map[string]struct{ method, result, want string }{
		"link in a tool's result": {
			mcp.ToolsCall,
			`{"content":[{"type":"text","text":"note://a"},{"type":"resource_link","uri":"note://a","name":"a","x":1}],"structuredContent":{"uri":"note://a"}}`,
			`{"content":[{"type":"text","text":"note://a"},{"type":"resource_link","uri":"gw://files/note://a","name":"a","x":1}],"structuredContent":{"uri":"note://a"}}`,
		},
		"embedded in a tool's result": {
			mcp.ToolsCall,
			`{"content":[{"type":"resource","resource":{"uri":"note://a","text":"note://a"}}]}`,
			`{"content":[{"type":"resource","resource":{"uri":"gw://files/note://a","text":"note://a"}}]}`,
		},
		"view of a tool's result": {
			mcp.ToolsCall,
			`{"content":[],"_meta":{"ui":{"resourceUri":"ui://v/1"},"ui/resourceUri":"ui://v/2","openai/outputTemplate":"ui://v/3","uri":"note://a"}}`,
			`{"content":[],"_meta":{"ui":{"resourceUri":"ui://files/v/1"},"ui/resourceUri":"ui://files/v/2","openai/outputTemplate":"ui://files/v/3","uri":"note://a"}}`,
		},
		"prompt with one block": {
			mcp.PromptsGet,
			`{"messages":[{"role":"user","content":{"type":"resource","resource":{"uri":"note://a"}}}]}`,
			`{"messages":[{"role":"user","content":{"type":"resource","resource":{"uri":"gw://files/note://a"}}}]}`,
		},
		"prompt with several blocks": {
			mcp.PromptsGet,
			`{"messages":[{"role":"user","content":[{"type":"text","text":""},{"type":"resource_link","uri":"note://a"}]}]}`,
			`{"messages":[{"role":"user","content":[{"type":"text","text":""},{"type":"resource_link","uri":"gw://files/note://a"}]}]}`,
		},
		"contents that were read": {
			mcp.ResourcesRead,
			`{"contents":[{"uri":"note://a","text":"x"},{"uri":"note://a/b","blob":""}]}`,
			`{"contents":[{"uri":"gw://files/note://a","text":"x"},{"uri":"gw://files/note://a/b","blob":""}]}`,
		},
		"completion": {mcp.Complete, `{"completion":{"values":["note://a"]}}`, `{"completion":{"values":["note://a"]}}`},
		"sampling in the middle of a call": {
			mcp.ToolsCall,
			`{"resultType":"input_required","inputRequests":{"k":{"method":"sampling/createMessage","params":{"messages":[{"role":"user","content":[{"type":"tool_result","toolUseId":"1","content":[{"type":"resource_link","uri":"note://a"}]}]}],"includeContext":"allServers"}}},"requestState":"s"}`,
			`{"resultType":"input_required","inputRequests":{"k":{"method":"sampling/createMessage","params":{"messages":[{"role":"user","content":[{"type":"tool_result","toolUseId":"1","content":[{"type":"resource_link","uri":"gw://files/note://a"}]}]}],"includeContext":"none"}}},"requestState":"s"}`,
		},
		"question in the middle of a call": {
			mcp.ToolsCall,
			`{"resultType":"input_required","inputRequests":{"k":{"method":"elicitation/create","params":{"message":"Sure?"}},"r":{"method":"roots/list"}}}`,
			`{"resultType":"input_required","inputRequests":{"k":{"method":"elicitation/create","params":{"message":"files: Sure?"}},"r":{"method":"roots/list"}}}`,
		},
	} {
		if got := string((route{"files", true}).result(c.method, []byte(c.result))); got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, c.want)
		}
		answer := mcp.Answer(mcp.NumberID(1), []byte(c.result))
		if got := (route{alias: "files"}).answer(c.method, answer); got != answer {
			t.Errorf("%s: the endpoint of one upstream changes it", name)
		}
	}
}

func TestNotificationsAndErrorsBearPublicURIs(t *testing.T) {
	of := route{"files", true}
	for body, want := range map[string]string{
		`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"note://a"}}`:  `{"uri":"gw://files/note://a"}`,
		`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}`:     `{"level":"info","data":1,"logger":"files"}`,
		`{"jsonrpc":"2.0","method":"notifications/message","params":{"logger":"db","data":1}}`:      `{"logger":"files/db","data":1}`,
		`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"note://a"}}`: `{"progressToken":"note://a"}`,
		`{"jsonrpc":"2.0","method":"notifications/vendor"}`:                                         ``,
	} {
		if got := string(of.notification(parse(t, body)).Params()); got != want {
			t.Errorf("%s\nbecomes %s, want %s", body, got, want)
		}
	}
	e := &mcp.Error{Code: mcp.CodeResourceNotFound, Message: "gone", Data: []byte(`{"uri":"note://a"}`)}
	got := of.answer(mcp.ResourcesRead, mcp.Failed(mcp.NumberID(1), e)).Err()
	if string(got.Data) != `{"uri":"gw://files/note://a"}` || got.Code != e.Code || got.Message != e.Message {
		t.Errorf("error %+v", got)
	}
}

func TestWhatAClientAnswersArrivesUnderTheUpstreamsURIs(t *testing.T) {
	of := route{"files", true}
	reply := mcp.Answer(mcp.NumberID(1), []byte(`{"role":"assistant","content":{"type":"resource_link","uri":"gw://files/note://a"}}`))
	if got := string(of.reply(reply).Result()); got != `{"role":"assistant","content":{"type":"resource_link","uri":"note://a"}}` {
		t.Errorf("reply %s", got)
	}
	params := []byte(`{"inputResponses":{"a":{"content":[{"type":"resource","resource":{"uri":"gw://files/note://a"}}]},"b":{"action":"accept","content":{"uri":"gw://files/note://a"}},"c":1}}`)
	want := `{"inputResponses":{"a":{"content":[{"type":"resource","resource":{"uri":"note://a"}}]},"b":{"action":"accept","content":{"uri":"gw://files/note://a"}},"c":1}}`
	if got := string(of.inputResponses(params)); got != want {
		t.Errorf("responses %s\nwant %s", got, want)
	}
}

// An upstream is not told what others call their things.
func TestURIsOfOtherUpstreamsAreNotTranslated(t *testing.T) {
	of := route{"files", true}
	for uri, want := range map[string]string{"gw://files/note://a": "note://a", "ui://files/v": "ui://v", "gw://db/note://a": "gw://db/note://a", "note://a": "note://a"} {
		if got := of.inward(uri); got != want {
			t.Errorf("%s becomes %s, want %s", uri, got, want)
		}
	}
}
