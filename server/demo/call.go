package demo

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/mcpraft/mcpraft/server/mcp"
)

// What the server says of itself, in both eras.
var (
	serverInfo   = map[string]string{"name": "mcpraft-demo", "title": "mcpraft demo", "version": "1.0.0"}
	capabilities = mcp.Raw(`{"tools":{"listChanged":true},"resources":{"subscribe":true,"listChanged":true},"prompts":{"listChanged":true},"completions":{},"logging":{}}`)
)

const instructions = "A server to try things with. Start with the tool add."

// A call is one request, whatever its era.
type call struct {
	method string
	params []byte
	client client
}

// A client is how to reach who called, before the answer. Its methods are called
// by the goroutine that answers.
type client interface {
	// notify sends a notification that belongs to the call.
	notify(m *mcp.Message)

	// open begins the answer's stream although nothing is to be sent yet, so that a
	// client can come back to a call that takes long.
	open()

	// logs reports whether the client wants log messages of a level.
	logs(level string) bool

	// ask gets the client's answer to a request. Key names it among those of the
	// call. An error other than *mcp.Error and errCannotAsk ends the call.
	ask(ctx context.Context, key, method string, params []byte) ([]byte, error)
}

// errCannotAsk is the answer of a legacy client that did not declare what it would
// have to.
type errCannotAsk struct {
	method   string
	required []byte
}

func (e errCannotAsk) Error() string {
	return fmt.Sprintf("the client cannot be asked %s: it would have to declare %s", e.method, e.required)
}

// result answers what both eras have.
func (s *Server) result(ctx context.Context, c *call) (any, error) {
	switch c.method {
	case mcp.ToolsList:
		return list(c, "tools", s.toolList)
	case mcp.ToolsCall:
		return s.callTool(ctx, c)
	case mcp.ResourcesList:
		return list(c, "resources", s.resources())
	case mcp.TemplatesList:
		return list(c, "resourceTemplates", templates)
	case mcp.ResourcesRead:
		return s.read(c)
	case mcp.PromptsList:
		return list(c, "prompts", promptDefinitions)
	case mcp.PromptsGet:
		return getPrompt(c)
	case mcp.Complete:
		return s.complete(c)
	default:
		return nil, failure(mcp.CodeMethodNotFound, "unknown method %s", c.method)
	}
}

// list is a result of one page.
func list(c *call, name string, items any) (any, error) {
	if mcp.Field(c.params, "cursor") != nil {
		return nil, failure(mcp.CodeInvalidParams, "there is one page only: this cursor was never given")
	}
	return map[string]any{name: items}, nil
}

// text is a member of the params that is a string; "" if it is none.
func (c *call) text(path ...string) string {
	text, _ := mcp.Text(mcp.Field(c.params, path...))
	return text
}

// progress tells how far the call is, if the client gave a token for that.
func (c *call) progress(done, total int, message string) {
	token := mcp.Meta(c.params, mcp.MetaProgressToken)
	if token == nil {
		return
	}
	c.client.notify(mcp.Notification(mcp.Progress, encode(map[string]any{
		"progressToken": mcp.Raw(token), "progress": done, "total": total, "message": message,
	})))
}

// log sends a log message, if the client wants its level.
func (c *call) log(level string, data any) {
	if c.client.logs(level) {
		c.client.notify(mcp.Notification(mcp.LogMessage, encode(map[string]any{"level": level, "logger": "demo", "data": data})))
	}
}

// levels are the log levels, the least severe first.
var levels = []string{"debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"}

// severity orders the levels; -1 for what is none.
func severity(level string) int { return slices.Index(levels, level) }

// severe reports whether a message of a level passes the one that was asked for.
func severe(level, asked string) bool {
	return severity(asked) >= 0 && severity(level) >= severity(asked)
}

// failure makes an error of JSON-RPC.
func failure(code int, format string, args ...any) *mcp.Error {
	return &mcp.Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// asError is err as one of JSON-RPC.
func asError(err error) *mcp.Error {
	if e, ok := errors.AsType[*mcp.Error](err); ok {
		return e
	}
	return failure(mcp.CodeInternal, "%v", err)
}

// encode writes a value of ours as JSON.
func encode(v any) []byte {
	data, err := mcp.Marshal(v)
	if err != nil {
		return []byte("null") // no value of this package does that
	}
	return data
}
