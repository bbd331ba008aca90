package router

import (
	"strings"

	"github.com/mcpraft/mcpraft/internal/strictjson"
	"github.com/mcpraft/mcpraft/server/exchange"
	"github.com/mcpraft/mcpraft/server/mcp"
)

// forModern is an upstream's answer to m as a modern client may have it. An
// answer of a modern upstream has most of it already; what is missing is added, by
// what is there and not by who sent it.
func forModern(q *exchange.Request, m *mcp.Message, p *profile, caps mcp.ClientCapabilities, answer *mcp.Message) *mcp.Message {
	if e := answer.Err(); e != nil {
		return errorForModern(q, m, caps, answer)
	}
	result := answer.Result()
	if m.Method() == mcp.ToolsList {
		result = withoutBadHeaders(withoutTasks(result))
	}
	return withResult(answer, completed(m.Method(), result, p.serverInfo))
}

// forLegacy is an upstream's answer to m as a legacy client may have it: in the
// words of its revision, and without what only modern results say.
func forLegacy(q *exchange.Request, m *mcp.Message, path eras, answer *mcp.Message) *mcp.Message {
	if answer.Err() != nil {
		return errorForLegacy(q, m, path, answer)
	}
	result := answer.Result()
	if path.crossed() {
		result = mcp.WithoutProtocolMeta(mcp.WithoutField(result, "resultType"))
	}
	if m.Method() == mcp.ToolsList {
		result = withoutTasks(result)
	}
	if !path.client.AtLeast(path.upstream) {
		result = olderResult(path.client, m.Method(), result)
	}
	return withResult(answer, result)
}

// withResult is answer with that result; answer itself if it has it already.
func withResult(answer *mcp.Message, result []byte) *mcp.Message {
	if same(result, answer.Result()) {
		return answer
	}
	return answer.WithResult(result)
}

// completed adds to a result what every modern result has: its type, who serves
// it (if known), and for lists and reads how long they may be kept. A server that
// says nothing of that is not asked to be remembered.
func completed(method string, result, serverInfo []byte) []byte {
	var kind, ttl, scope bool
	var meta []byte
	for member := range strictjson.Members(result) {
		name, _ := mcp.Text(member.Name)
		switch name {
		case "resultType":
			kind = true
		case "ttlMs":
			ttl = true
		case "cacheScope":
			scope = true
		case "_meta":
			meta = member.Value
		}
	}
	var b strings.Builder
	if !kind {
		b.WriteString(`,"resultType":"complete"`)
	}
	if mcp.CacheHints(method) && (!kind || mcp.ResultType(result) == mcp.ResultComplete) {
		if !ttl {
			b.WriteString(`,"ttlMs":0`)
		}
		if !scope {
			b.WriteString(`,"cacheScope":"private"`)
		}
	}
	result = prepend(result, b.String())
	if serverInfo != nil && mcp.Field(meta, mcp.MetaServerInfo) == nil {
		result = mcp.WithField(result, serverInfo, "_meta", mcp.MetaServerInfo)
	}
	return result
}

// prepend is object with members before its own; they are written as ,"name":value.
func prepend(object []byte, members string) []byte {
	if members == "" {
		return object
	}
	body := object[1:]
	out := make([]byte, 0, len(object)+len(members))
	out = append(append(out, '{'), members[1:]...)
	if !empty(body) {
		out = append(out, ',')
	}
	return append(out, body...)
}

// empty reports whether rest, an object without its first brace, has no members.
func empty(rest []byte) bool {
	for _, c := range rest {
		switch c {
		case ' ', '\t', '\r', '\n':
		default:
			return c == '}'
		}
	}
	return true
}

// The codes that the specification keeps for itself since 2026-07-28. Those that
// it does not define must not be sent on.
const (
	reservedLow  = -32099
	reservedHigh = -32020
)

func reserved(code int) bool { return code >= reservedLow && code <= reservedHigh }

// errorForModern is an upstream's error verbatim, but for codes that modern peers
// do not know or that were meant for us.
func errorForModern(q *exchange.Request, m *mcp.Message, caps mcp.ClientCapabilities, answer *mcp.Message) *mcp.Message {
	e := answer.Err()
	switch {
	case e.Code == mcp.CodeResourceNotFound:
		return failure(m, &mcp.Error{Code: mcp.CodeInvalidParams, Message: e.Message, Data: e.Data})
	case e.Code == mcp.CodeURLElicitation && mcp.TakesInput(m.Method()):
		return urlsForModern(q, m, caps, e)
	case e.Code == mcp.CodeMissingCapability || !reserved(e.Code):
		return answer
	default:
		return failure(m, traced(q, foreignCode(e)))
	}
}

// errorForLegacy is as errorForModern, in the words of the legacy era.
func errorForLegacy(q *exchange.Request, m *mcp.Message, path eras, answer *mcp.Message) *mcp.Message {
	e := answer.Err()
	switch {
	case e.Code == mcp.CodeMissingCapability && m.Method() == mcp.ToolsCall:
		return mcp.Answer(m.ID(), toolError("this tool needs a client capability that is not there: "+requiredBy(e)))
	case e.Code == mcp.CodeMissingCapability:
		return failure(m, traced(q, &mcp.Error{Code: mcp.CodeInternal, Message: e.Message + ": " + requiredBy(e), Data: e.Data}))
	case path.crossed() && e.Code == mcp.CodeInvalidParams && m.Method() == mcp.ResourcesRead && mcp.Field(e.Data, "uri") != nil:
		return failure(m, &mcp.Error{Code: mcp.CodeResourceNotFound, Message: e.Message, Data: e.Data})
	case e.Code == mcp.CodeURLElicitation && !path.crossed() || !reserved(e.Code):
		return answer
	default:
		return failure(m, traced(q, foreignCode(e)))
	}
}

func failure(m *mcp.Message, e *mcp.Error) *mcp.Message { return mcp.Failed(m.ID(), e) }

// foreignCode is an upstream's error whose code says nothing to the client.
func foreignCode(e *mcp.Error) *mcp.Error {
	out := impossible("upstream_error", "the upstream answered with error %d: %s", e.Code, e.Message)
	if e.Data != nil {
		out.Data = mcp.WithField(out.Data, e.Data, "upstream")
	}
	return out
}

// requiredBy names the capabilities that an error asks for, as JSON: it is for
// people, and models.
func requiredBy(e *mcp.Error) string {
	if required := mcp.Field(e.Data, "requiredCapabilities"); required != nil {
		return string(required)
	}
	return e.Message
}

// toolError is the result of a tool that did not work: text for the model.
func toolError(text string) []byte {
	result := append([]byte(`{"content":[`), textBlock(text)...)
	return append(result, `],"isError":true}`...)
}

// maxURLs is how many URLs one error may ask the user to open.
const maxURLs = 16

// urlsForModern turns the error by which a 2025-11-25 server asks the user to open
// URLs into the result by which a modern one does. The client's next call with the
// answers is a call like the first one, so that nothing needs to be remembered.
func urlsForModern(q *exchange.Request, m *mcp.Message, caps mcp.ClientCapabilities, e *mcp.Error) *mcp.Message {
	if !caps.ElicitationURL {
		return failure(m, traced(q, mcp.MissingCapability([]byte(`{"elicitation":{"url":{}}}`))))
	}
	var asked []mcp.InputRequest
	for elicitation := range strictjson.Elements(mcp.Field(e.Data, "elicitations")) {
		if len(asked) == maxURLs {
			break
		}
		asked = append(asked, mcp.InputRequest{
			Key:    "url" + string(rune('a'+len(asked))),
			Method: mcp.ElicitationCreate,
			Params: mcp.WithField(mcp.WithoutField(elicitation, "elicitationId"), []byte(`"url"`), "mode"),
		})
	}
	if len(asked) == 0 {
		return failure(m, traced(q, foreignCode(e)))
	}
	return mcp.Answer(m.ID(), mcp.InputRequired(asked, ""))
}
