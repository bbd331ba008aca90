package router

import (
	"github.com/mcpraft/mcpraft/internal/strictjson"
	"github.com/mcpraft/mcpraft/server/catalog"
	"github.com/mcpraft/mcpraft/server/mcp"
)

// A route says which upstream a message is for, or of, and in whose names its
// client speaks: those of the upstream at the endpoint of that one, those of the
// catalogue at the aggregate. All that bears a name or a URI passes through it:
//
//	request of a client               target.go, before there is a route
//	result of a client's request      result
//	error                             failure
//	notification of the upstream      notification
//	request of the upstream           question
//	the client's answer to that       reply
//
// Structured content and the arguments of tools are never touched: what in them is
// a URI only the tool knows.
type route struct {
	alias  string
	joined bool // the client knows what is there by the catalogue's names
}

// A renaming gives a URI its other name; one that has none stays as it is.
type renaming func(uri string) string

// outward names a URI of the upstream for the client.
func (t route) outward(uri string) string { return catalog.WrapURI(t.alias, uri) }

// inward is the inverse. What is not this upstream's is not translated: nobody is
// told of the resources of others.
func (t route) inward(uri string) string {
	if alias, own, ok := catalog.UnwrapURI(uri); ok && alias == t.alias {
		return own
	}
	return uri
}

// answer is the upstream's answer to a request of that method as the client may
// have it.
func (t route) answer(method string, answer *mcp.Message) *mcp.Message {
	if !t.joined {
		return answer
	}
	if e := answer.Err(); e != nil {
		return t.failure(answer, e)
	}
	return withResult(answer, t.result(method, answer.Result()))
}

func (t route) failure(answer *mcp.Message, e *mcp.Error) *mcp.Message {
	data := renamed(e.Data, t.outward, "uri")
	if same(data, e.Data) {
		return answer
	}
	return mcp.Failed(answer.ID(), &mcp.Error{Code: e.Code, Message: e.Message, Data: data})
}

func (t route) result(method string, result []byte) []byte {
	if mcp.ResultType(result) == mcp.ResultInputRequired {
		return t.inputRequests(result)
	}
	switch method {
	case mcp.ToolsCall:
		result = rewrite(result, "content", func(list []byte) []byte { return renamedContent(list, t.outward) })
	case mcp.PromptsGet:
		result = renamedMessages(result, t.outward)
	case mcp.ResourcesRead:
		result = rewrite(result, "contents", func(list []byte) []byte {
			return rewriteElements(list, func(content []byte) []byte { return renamed(content, t.outward, "uri") })
		})
	}
	return renamedApp(result, t.outward)
}

// inputRequests are what a modern upstream asks in the middle of a call.
func (t route) inputRequests(result []byte) []byte {
	for asked := range mcp.InputRequests(result) {
		params := t.asked(asked.Method, asked.Params)
		if !same(params, asked.Params) {
			result = mcp.WithField(result, params, "inputRequests", asked.Key, "params")
		}
	}
	return result
}

// inputResponses are the client's answers to them, in the params of the next call.
func (t route) inputResponses(params []byte) []byte {
	return rewrite(params, "inputResponses", func(responses []byte) []byte {
		for response := range strictjson.Members(responses) {
			value := renamedMessage(response.Value, t.inward)
			if !same(value, response.Value) {
				key, _ := mcp.Text(response.Name)
				responses = mcp.WithField(responses, value, key)
			}
		}
		return responses
	})
}

// notification is what the upstream says unasked, or in the course of a call. A
// logger is named after its upstream: another may have one of that name.
func (t route) notification(m *mcp.Message) *mcp.Message {
	if !t.joined || m.Params() == nil {
		return m
	}
	params := m.Params()
	switch m.Method() {
	case mcp.ResourceUpdated:
		params = renamed(params, t.outward, "uri")
	case mcp.LogMessage:
		logger, _ := mcp.Text(mcp.Field(params, "logger"))
		name := t.alias
		if logger != "" {
			name += "/" + logger
		}
		params = mcp.WithField(params, mcp.Quote(name), "logger")
	}
	if same(params, m.Params()) {
		return m
	}
	return m.WithParams(params)
}

// question is a request of the upstream to the client.
func (t route) question(m *mcp.Message) *mcp.Message {
	if !t.joined || m.Params() == nil {
		return m
	}
	params := t.asked(m.Method(), m.Params())
	if same(params, m.Params()) {
		return m
	}
	return m.WithParams(params)
}

// asked are the params of a request of the upstream to the client. Who asks a
// person is named, because the client only knows that the gateway does. A model is
// given no context of the client's servers: by that the upstream means itself, and
// the client would understand all of them.
func (t route) asked(method string, params []byte) []byte {
	switch method {
	case mcp.SamplingCreate:
		params = renamedMessages(params, t.outward)
		if context := mcp.Field(params, "includeContext"); context != nil && string(context) != `"none"` {
			params = mcp.WithField(params, []byte(`"none"`), "includeContext")
		}
	case mcp.ElicitationCreate:
		if message, ok := mcp.Text(mcp.Field(params, "message")); ok {
			params = mcp.WithField(params, mcp.Quote(t.alias+": "+message), "message")
		}
	}
	return params
}

// reply is the client's answer to a request of the upstream.
func (t route) reply(answer *mcp.Message) *mcp.Message {
	if !t.joined || answer == nil || answer.Err() != nil {
		return answer
	}
	return withResult(answer, renamedMessage(answer.Result(), t.inward))
}

// renamed is object with the URI at a path renamed.
func renamed(object []byte, f renaming, path ...string) []byte {
	uri, ok := mcp.Text(mcp.Field(object, path...))
	if !ok {
		return object
	}
	other := f(uri)
	if other == uri {
		return object
	}
	return mcp.WithField(object, mcp.Quote(other), path...)
}

// renamedMessages is object with the messages of a prompt, or of a sampling
// request, renamed.
func renamedMessages(object []byte, f renaming) []byte {
	return rewrite(object, "messages", func(list []byte) []byte {
		return rewriteElements(list, func(message []byte) []byte { return renamedMessage(message, f) })
	})
}

// renamedMessage is a message whose content is one block or a list of them; other
// objects have none and stay as they are.
func renamedMessage(message []byte, f renaming) []byte {
	return rewrite(message, "content", func(content []byte) []byte { return renamedContent(content, f) })
}

func renamedContent(content []byte, f renaming) []byte {
	switch content[0] {
	case '[':
		return rewriteElements(content, func(block []byte) []byte { return renamedBlock(block, f) })
	case '{':
		return renamedBlock(content, f)
	default:
		return content
	}
}

// renamedBlock is a block of content with the resources that it names or holds
// renamed. A model's result of a tool holds blocks itself: the depth of a message
// is limited where it is parsed.
func renamedBlock(block []byte, f renaming) []byte {
	kind, _ := mcp.Text(mcp.Field(block, "type"))
	switch kind {
	case "resource_link":
		block = renamed(block, f, "uri")
	case "resource":
		block = renamed(block, f, "resource", "uri")
	case "tool_result":
		block = renamedMessage(block, f)
	}
	return renamedApp(block, f)
}

// appURIs are where _meta of tools and their results names the resource that shows
// them: by the extension, and by its forerunners, which are in use.
var appURIs = [][]string{
	{"_meta", "ui", "resourceUri"},
	{"_meta", "ui/resourceUri"},
	{"_meta", "openai/outputTemplate"},
}

func renamedApp(object []byte, f renaming) []byte {
	if mcp.Field(object, "_meta") == nil {
		return object
	}
	for _, path := range appURIs {
		object = renamed(object, f, path...)
	}
	return object
}
