package demo

import (
	"fmt"
	"strings"

	"github.com/mcpraft/mcpraft/server/mcp"
)

const maxCompletions = 100 // as the protocol says

// promptDefinitions are the entries of prompts/list.
var promptDefinitions = []mcp.Raw{
	mcp.Raw(`{"name":"haiku","title":"A haiku","description":"Asks for a haiku about consensus."}`),
	mcp.Raw(`{"name":"review","title":"Review code","description":"Asks for a review of some code.",
		"arguments":[{"name":"language","description":"what it is written in; completed","required":true},{"name":"code","description":"the code","required":false}]}`),
}

// languages complete the argument of the prompt review.
var languages = []string{"c", "c++", "erlang", "elixir", "go", "haskell", "java", "javascript", "ocaml", "python", "ruby", "rust", "typescript", "zig"}

// getPrompt answers prompts/get.
func getPrompt(c *call) (any, error) {
	switch name := c.text("name"); name {
	case "haiku":
		return prompt("Write a haiku about nodes that agree."), nil
	case "review":
		language := c.text("arguments", "language")
		if language == "" {
			return nil, failure(mcp.CodeInvalidParams, "the prompt review needs the argument language")
		}
		return prompt(fmt.Sprintf("Review this code, written in %s:\n\n%s", language, c.text("arguments", "code"))), nil
	default:
		return nil, failure(mcp.CodeInvalidParams, "unknown prompt %q", name)
	}
}

// prompt is a result of one message of the user.
func prompt(said string) any {
	return map[string]any{"messages": []any{map[string]any{"role": "user", "content": text(said)}}}
}

// complete answers completion/complete.
func (s *Server) complete(c *call) (any, error) {
	var candidates []string
	switch ref := c.text("ref", "type") + " " + c.text("ref", "name") + c.text("ref", "uri") + " " + c.text("argument", "name"); ref {
	case "ref/prompt review language":
		candidates = languages
	case "ref/resource demo://note/{name} name":
		candidates = s.notes.names()
	default:
		return nil, failure(mcp.CodeInvalidParams, "nothing completes %q", ref)
	}
	values := []string{}
	for _, candidate := range candidates {
		if strings.HasPrefix(candidate, c.text("argument", "value")) && len(values) < maxCompletions {
			values = append(values, candidate)
		}
	}
	return map[string]any{"completion": map[string]any{"values": values, "total": len(values), "hasMore": false}}, nil
}
