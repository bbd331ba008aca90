package main

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/mcpraft/mcpraft/internal/sse"
	"github.com/mcpraft/mcpraft/internal/strictjson"
	"github.com/mcpraft/mcpraft/server/mcp"
)

const fakeSession = "fake-session"

// mcp answers like the MCP port of a node: upstreams that are registered with the
// fake cluster all have the same tools, except "bare", which has none. All together
// are at the endpoint without an alias.
func (f *fakeCluster) mcp(w http.ResponseWriter, r *http.Request) {
	alias := r.PathValue("alias")
	f.mu.Lock()
	_, exists := f.upstreams[alias]
	exists = exists || alias == ""
	_, made := f.tokens[tokenName(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))]
	f.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	m, err := mcp.Parse(body, mcp.Inbound)
	switch {
	case !made && r.Header.Get("Authorization") != "Bearer "+fakeToken:
		fail(w, http.StatusUnauthorized, "the bearer token is not one of this cluster", "unauthenticated")
	case !exists:
		fail(w, http.StatusNotFound, fmt.Sprintf("there is no upstream %q", alias), "not_found")
	case r.Method == http.MethodDelete:
		w.WriteHeader(http.StatusNoContent)
	case err != nil:
		fail(w, http.StatusBadRequest, err.Error(), "invalid")
	case m.Kind() != mcp.KindRequest:
		w.WriteHeader(http.StatusAccepted)
	case m.Method() != mcp.Initialize && r.Header.Get(mcp.HeaderSession) != fakeSession:
		fail(w, http.StatusNotFound, "no such session", "not_found")
	default:
		f.answerMCP(w, alias, m)
	}
}

func fail(w http.ResponseWriter, status int, message, reason string) {
	data := fmt.Appendf(nil, `{"request_id":"req-2","gateway":{"reason":%q,"retryable":false}}`, reason)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(mcp.Failed("", &mcp.Error{Code: mcp.CodeInternal, Message: message, Data: data}).Bytes())
}

var fakeResults = map[string]string{
	mcp.Initialize: `{"protocolVersion":"2025-11-25","capabilities":{"tools":{},"prompts":{}},"serverInfo":{"name":"fake","version":"1.2"}}`,
	mcp.ToolsList: `{"tools":[{"name":"add","title":"Add","description":"Adds two numbers.\nExactly.","inputSchema":{"type":"object",
		"properties":{"a":{"type":"number","description":"one"},"b":{"type":"number"},"note":{"type":"string"}},"required":["a","b"]}},
		{"name":"evil\u001b[31m","inputSchema":{"type":"object"}}]}`,
	mcp.ResourcesList: `{"resources":[{"uri":"note://a","name":"A","mimeType":"text/plain"}]}`,
	mcp.ResourcesRead: `{"contents":[{"uri":"note://a","mimeType":"text/plain","text":"hello\nthere"},{"uri":"note://b","mimeType":"image/png","blob":"AAAA"}]}`,
	mcp.PromptsList:   `{"prompts":[{"name":"greet","description":"Greets.","arguments":[{"name":"who"}]}]}`,
	mcp.PromptsGet:    `{"messages":[{"role":"user","content":{"type":"text","text":"Greet Ada."}}]}`,
}

func (f *fakeCluster) answerMCP(w http.ResponseWriter, alias string, m *mcp.Message) {
	if m.Method() == mcp.ToolsCall {
		f.callTool(w, m)
		return
	}
	answer := mcp.Answer(m.ID(), []byte(fakeResults[m.Method()]))
	if alias == "" && strings.HasSuffix(m.Method(), "/list") {
		answer = mcp.Answer(m.ID(), f.joined(m.Method()))
	}
	if alias == "bare" && m.Method() != mcp.Initialize {
		answer = mcp.Failed(m.ID(), &mcp.Error{Code: mcp.CodeMethodNotFound, Message: "there are none"})
	}
	if m.Method() == mcp.Initialize {
		w.Header().Set(mcp.HeaderSession, fakeSession)
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(answer.Bytes())
}

// joined is a list of all upstreams that are enabled.
func (f *fakeCluster) joined(method string) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	member, _, _ := strings.Cut(method, "/")
	var list []mcp.Raw
	for _, alias := range slices.Sorted(maps.Keys(f.upstreams)) {
		if alias == "bare" || f.upstreams[alias].Disabled {
			continue
		}
		for item := range strictjson.Elements(mcp.Field([]byte(fakeResults[method]), member)) {
			if uri, ok := mcp.Text(mcp.Field(item, "uri")); ok {
				item = mcp.WithField(item, mcp.Quote("gw://"+alias+"/"+uri), "uri")
			} else {
				item = mcp.WithField(item, mcp.Quote(wireName(alias, text(item, "name"))), "name")
			}
			list = append(list, item)
		}
	}
	result, _ := mcp.Marshal(map[string]any{member: list})
	return result
}

// callTool says what it was given, with progress before it.
func (f *fakeCluster) callTool(w http.ResponseWriter, m *mcp.Message) {
	w.Header().Set("Content-Type", "text/event-stream")
	send := func(m *mcp.Message) { _, _ = w.Write(sse.Append(nil, sse.Event{Data: m.Bytes()})) }
	send(mcp.Notification(mcp.Progress, []byte(`{"progressToken":"call","progress":1,"total":2,"message":"half"}`)))
	send(mcp.Request(mcp.TextID("ask"), mcp.ElicitationCreate, []byte(`{"message":"sure?","requestedSchema":{"type":"object","properties":{}}}`)))
	text, _ := mcp.Marshal(string(mcp.Field(m.Params(), "arguments")))
	failed := "false"
	if name, _ := mcp.Text(mcp.Field(m.Params(), "name")); name != "add" && name != "demo__add" {
		failed = "true"
	}
	send(mcp.Answer(m.ID(), fmt.Appendf(nil, `{"content":[{"type":"text","text":%s}],"isError":%s}`, text, failed)))
}
