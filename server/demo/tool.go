package demo

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/mcpraft/mcpraft/server/mcp"
)

const (
	maxSteps = 100         // of the tool slow
	maxDelay = time.Minute // between two of them
	maxKeys  = 10_000      // of the tool count
	maxKey   = 64          // bytes of one of them
)

// A tool is one entry of tools/list and what it does.
type tool struct {
	name       string
	definition mcp.Raw
	headers    []mcp.HeaderParam
	run        func(s *Server, ctx context.Context, c *call) (any, error)
}

// A refusal is an error that the model should read: the result of a tool, not a
// failure of the protocol.
type refusal string

func (r refusal) Error() string { return string(r) }

func refused(format string, args ...any) error { return refusal(fmt.Sprintf(format, args...)) }

// callTool runs one tool.
func (s *Server) callTool(ctx context.Context, c *call) (any, error) {
	t := s.tools[c.text("name")]
	if t == nil {
		return nil, failure(mcp.CodeInvalidParams, "unknown tool %q", c.text("name"))
	}
	c.log("debug", "calling "+t.name)
	result, err := t.run(s, ctx, c)
	if err == nil {
		return result, nil
	}
	said, isRefusal := errors.AsType[refusal](err)
	if cannot, ok := errors.AsType[errCannotAsk](err); ok {
		said, isRefusal = refusal(cannot.Error()), true
	}
	if !isRefusal {
		return nil, err
	}
	return map[string]any{"content": []any{text(string(said))}, "isError": true}, nil
}

// text is a block of content.
func text(s string) any { return map[string]string{"type": "text", "text": s} }

// textResult is a tool's result that is only text.
func textResult(format string, args ...any) any {
	return map[string]any{"content": []any{text(fmt.Sprintf(format, args...))}}
}

// structured is a tool's result for programs, and the same as text for models.
func structured(v any) any {
	return map[string]any{"content": []any{text(string(encode(v)))}, "structuredContent": v}
}

// arguments reads the tool's arguments into v.
func (c *call) arguments(v any) error {
	raw := mcp.Field(c.params, "arguments")
	if raw == nil {
		raw = []byte("{}")
	}
	if err := mcp.Unmarshal(raw, v); err != nil {
		return refused("the arguments do not fit: %v", err)
	}
	return nil
}

// tools are all of them, in the order of the list.
var tools = []tool{
	{
		name: "add",
		run:  (*Server).add,
		definition: mcp.Raw(`{"name":"add","title":"Add","description":"Adds two numbers.",
			"inputSchema":{"type":"object","properties":{"a":{"type":"number"},"b":{"type":"number"}},"required":["a","b"]},
			"outputSchema":{"type":"object","properties":{"sum":{"type":"number"}},"required":["sum"]},
			"annotations":{"readOnlyHint":true,"idempotentHint":true,"openWorldHint":false}}`),
	},
	{
		name: "echo",
		run:  (*Server).echo,
		definition: mcp.Raw(`{"name":"echo","title":"Echo","description":"Gives back what it is given.",
			"inputSchema":{"type":"object","properties":{"text":{"type":"string"}},"required":["text"]},
			"annotations":{"readOnlyHint":true,"idempotentHint":true,"openWorldHint":false}}`),
	},
	{
		name: "slow",
		run:  (*Server).slow,
		definition: mcp.Raw(`{"name":"slow","title":"Take a while","description":"Takes some steps with a pause before each, and reports its progress. It can be cancelled.",
			"inputSchema":{"type":"object","properties":{
				"steps":{"type":"integer","minimum":1,"maximum":100,"default":5},
				"delay_ms":{"type":"integer","minimum":0,"maximum":60000,"default":200,"description":"milliseconds before each step"}}},
			"annotations":{"readOnlyHint":true,"idempotentHint":true,"openWorldHint":false}}`),
	},
	{
		name: "confirm",
		run:  (*Server).confirm,
		definition: mcp.Raw(`{"name":"confirm","title":"Ask the user","description":"Asks the user to confirm something (elicitation).",
			"inputSchema":{"type":"object","properties":{"question":{"type":"string","default":"Shall I go on?"}}}}`),
	},
	{
		name: "summarize",
		run:  (*Server).summarize,
		definition: mcp.Raw(`{"name":"summarize","title":"Ask the model","description":"Asks the client's model for a summary (sampling).",
			"inputSchema":{"type":"object","properties":{"text":{"type":"string"}},"required":["text"]}}`),
	},
	{
		name: "count",
		run:  (*Server).count,
		definition: mcp.Raw(`{"name":"count","title":"Count","description":"Counts its calls, in all and for a key. It is not idempotent: every call that is executed shows.",
			"inputSchema":{"type":"object","properties":{"key":{"type":"string","maxLength":64,"x-mcp-header":"Key"}}},
			"outputSchema":{"type":"object","properties":{"calls":{"type":"integer"},"key":{"type":"string"},"key_calls":{"type":"integer"}},"required":["calls","key","key_calls"]},
			"annotations":{"readOnlyHint":false,"destructiveHint":false,"idempotentHint":false,"openWorldHint":false}}`),
	},
	{
		name: "write_note",
		run:  (*Server).writeNote,
		definition: mcp.Raw(`{"name":"write_note","title":"Write a note","description":"Writes the resource demo://note/{name}. Who is subscribed to it is told.",
			"inputSchema":{"type":"object","properties":{"name":{"type":"string","pattern":"^[a-z0-9-]{1,32}$","default":"welcome"},"text":{"type":"string","maxLength":4096}},"required":["text"]},
			"annotations":{"readOnlyHint":false,"destructiveHint":true,"idempotentHint":true,"openWorldHint":false}}`),
	},
}

// loadTools indexes the table of tools, and reads from the definitions which
// arguments headers repeat.
func (s *Server) loadTools() {
	s.tools = make(map[string]*tool)
	for _, t := range tools {
		headers, err := mcp.HeaderParams(mcp.Field(t.definition, "inputSchema"))
		if err != nil {
			panic("the demo's tool " + t.name + ": " + err.Error()) // a mistake in the table above
		}
		t.headers = headers
		s.tools[t.name] = &t
		s.toolList = append(s.toolList, t.definition)
	}
}

func (s *Server) add(_ context.Context, c *call) (any, error) {
	var in struct {
		A *float64 `json:"a"`
		B *float64 `json:"b"`
	}
	if err := c.arguments(&in); err != nil {
		return nil, err
	}
	if in.A == nil || in.B == nil {
		return nil, refused("add needs two numbers, a and b")
	}
	sum := *in.A + *in.B
	if math.IsInf(sum, 0) {
		return nil, refused("the sum is too large")
	}
	return structured(map[string]any{"sum": sum}), nil
}

func (s *Server) echo(_ context.Context, c *call) (any, error) {
	said, ok := mcp.Text(mcp.Field(c.params, "arguments", "text"))
	if !ok {
		return nil, refused("echo needs a text")
	}
	return textResult("%s", said), nil
}

func (s *Server) slow(ctx context.Context, c *call) (any, error) {
	in := struct {
		Steps int `json:"steps"`
		Delay int `json:"delay_ms"`
	}{Steps: 5, Delay: 200}
	if err := c.arguments(&in); err != nil {
		return nil, err
	}
	if in.Steps < 1 || in.Steps > maxSteps || in.Delay < 0 || in.Delay > int(maxDelay.Milliseconds()) {
		return nil, refused("slow takes 1 to %d steps, and 0 to %d ms before each", maxSteps, maxDelay.Milliseconds())
	}
	c.client.open()
	for step := range in.Steps {
		select {
		case <-time.After(time.Duration(in.Delay) * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		c.progress(step+1, in.Steps, fmt.Sprintf("step %d of %d", step+1, in.Steps))
	}
	return textResult("took %d steps", in.Steps), nil
}

func (s *Server) confirm(ctx context.Context, c *call) (any, error) {
	in := struct {
		Question string `json:"question"`
	}{Question: "Shall I go on?"}
	if err := c.arguments(&in); err != nil {
		return nil, err
	}
	answer, err := c.client.ask(ctx, "confirm", mcp.ElicitationCreate, encode(map[string]any{
		"message":         in.Question,
		"requestedSchema": mcp.Raw(`{"type":"object","properties":{"ok":{"type":"boolean","title":"Go on"}},"required":["ok"]}`),
	}))
	if err != nil {
		return nil, err
	}
	action, _ := mcp.Text(mcp.Field(answer, "action"))
	switch {
	case action != "accept":
		return textResult("the user did not answer: %s", action), nil
	case string(mcp.Field(answer, "content", "ok")) == "true":
		return textResult("the user said yes"), nil
	default:
		return textResult("the user said no"), nil
	}
}

func (s *Server) summarize(ctx context.Context, c *call) (any, error) {
	given, ok := mcp.Text(mcp.Field(c.params, "arguments", "text"))
	if !ok {
		return nil, refused("summarize needs a text")
	}
	answer, err := c.client.ask(ctx, "summary", mcp.SamplingCreate, encode(map[string]any{
		"messages":  []any{map[string]any{"role": "user", "content": text("Summarize in one sentence:\n\n" + given)}},
		"maxTokens": 200,
	}))
	if e, declined := errors.AsType[*mcp.Error](err); declined && e.Code == mcp.CodeDeclined {
		return nil, refused("the client declined: %s", e.Message)
	}
	if err != nil {
		return nil, err
	}
	summary, _ := mcp.Text(mcp.Field(answer, "content", "text"))
	return textResult("%s", summary), nil
}

func (s *Server) count(_ context.Context, c *call) (any, error) {
	var in struct {
		Key string `json:"key"`
	}
	if err := c.arguments(&in); err != nil {
		return nil, err
	}
	if len(in.Key) > maxKey {
		return nil, refused("a key has at most %d bytes", maxKey)
	}
	calls, ofKey, ok := s.counter.add(in.Key)
	if !ok {
		return nil, refused("there are %d keys, the most that are counted", maxKeys)
	}
	return structured(map[string]any{"calls": calls, "key": in.Key, "key_calls": ofKey}), nil
}

func (s *Server) writeNote(_ context.Context, c *call) (any, error) {
	in := struct {
		Name string  `json:"name"`
		Text *string `json:"text"`
	}{Name: "welcome"}
	if err := c.arguments(&in); err != nil {
		return nil, err
	}
	if in.Text == nil {
		return nil, refused("write_note needs a text")
	}
	isNew, err := s.notes.put(in.Name, *in.Text)
	if err != nil {
		return nil, err
	}
	if isNew {
		s.topics.publish(change{method: mcp.ResourcesListChanged})
	}
	s.topics.publish(updated(notePrefix + in.Name))
	return textResult("wrote %s%s", notePrefix, in.Name), nil
}

// A counter counts calls. The zero value is ready.
type counter struct {
	mu    sync.Mutex
	all   int
	byKey map[string]int
}

// add counts one call; false if the key is new and there are too many.
func (n *counter) add(key string) (all, ofKey int, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.byKey == nil {
		n.byKey = make(map[string]int)
	}
	if _, known := n.byKey[key]; !known && len(n.byKey) == maxKeys {
		return 0, 0, false
	}
	n.all++
	n.byKey[key]++
	return n.all, n.byKey[key], true
}

// of is how often a key was counted.
func (n *counter) of(key string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.byKey[key]
}
