package mcp

import (
	"maps"
	"slices"

	"github.com/mcpraft/mcpraft/internal/strictjson"
)

// ClientCapabilities is what a client says it can be asked for.
type ClientCapabilities struct {
	Roots            bool
	RootsListChanged bool
	Sampling         bool
	SamplingTools    bool
	SamplingContext  bool
	ElicitationForm  bool
	ElicitationURL   bool
	Tasks            bool              // 2025-11-25: the client hosts tasks
	Extensions       map[string][]byte // settings by id; nil if there are none
}

// ParseClientCapabilities reads a capabilities object, part of a parsed message. What
// is no object declares nothing; neither does a capability that is not an object.
func ParseClientCapabilities(raw []byte) ClientCapabilities {
	has := func(path ...string) bool {
		v := Field(raw, path...)
		return len(v) > 0 && v[0] == '{'
	}
	c := ClientCapabilities{
		Roots:            has("roots"),
		RootsListChanged: string(Field(raw, "roots", "listChanged")) == "true",
		Sampling:         has("sampling"),
		SamplingTools:    has("sampling", "tools"),
		SamplingContext:  has("sampling", "context"),
		ElicitationForm:  has("elicitation", "form"),
		ElicitationURL:   has("elicitation", "url"),
		Tasks:            has("tasks"),
	}
	if has("elicitation") && !c.ElicitationURL {
		c.ElicitationForm = true // {} means form, as before there was another
	}
	for m := range strictjson.Members(Field(raw, "extensions")) {
		if c.Extensions == nil {
			c.Extensions = make(map[string][]byte)
		}
		id, _ := Text(m.Name)
		c.Extensions[id] = m.Value
	}
	return c
}

// Allows reports whether the client can be asked the request: a method that
// AsksClient, with its params. Anybody can be pinged.
func (c ClientCapabilities) Allows(method string, params []byte) bool {
	return c.Missing(method, params) == nil
}

// Missing is what the client would have to declare to be asked the request, as an
// object for data.requiredCapabilities; nil if nothing is missing.
func (c ClientCapabilities) Missing(method string, params []byte) []byte {
	switch method {
	case RootsList:
		return unless(c.Roots, `{"roots":{}}`)
	case SamplingCreate:
		if Field(params, "tools") != nil || Field(params, "toolChoice") != nil {
			return unless(c.SamplingTools, `{"sampling":{"tools":{}}}`)
		}
		return unless(c.Sampling, `{"sampling":{}}`)
	case ElicitationCreate:
		if mode, _ := Text(Field(params, "mode")); mode == "url" {
			return unless(c.ElicitationURL, `{"elicitation":{"url":{}}}`)
		}
		return unless(c.ElicitationForm, `{"elicitation":{"form":{}}}`)
	default:
		return nil
	}
}

func unless(declared bool, required string) []byte {
	if declared {
		return nil
	}
	return []byte(required)
}

// MissingCapability is the modern error for a request that needs what the client did
// not declare: an object of capabilities, see Missing.
func MissingCapability(required []byte) *Error {
	return &Error{
		Code:    CodeMissingCapability,
		Message: "the client did not declare a capability that this needs",
		Data:    WithField(nil, required, "requiredCapabilities"),
	}
}

// ExtensionIDs are the ids of the extensions, sorted.
func (c ClientCapabilities) ExtensionIDs() []string { return slices.Sorted(maps.Keys(c.Extensions)) }

// Ids of the official extensions.
const (
	ExtensionTasks = "io.modelcontextprotocol/tasks"
	ExtensionUI    = "io.modelcontextprotocol/ui"
)
