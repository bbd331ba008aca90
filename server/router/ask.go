package router

import (
	"bytes"
	"fmt"

	"github.com/mcpraft/mcpraft/internal/strictjson"
	"github.com/mcpraft/mcpraft/server/mcp"
	"github.com/mcpraft/mcpraft/server/session"
)

// askLegacy asks the client of a session what a legacy upstream wants to know, in
// words of the client's revision and its names. What it did not say it can be asked is refused,
// and so is what its revision has no words for.
func askLegacy(m *mcp.Message, l *session.Live, of route, ask func(*mcp.Message) (*mcp.Message, error)) (*mcp.Message, error) {
	if m.Method() == mcp.Ping {
		return mcp.Answer(m.ID(), nil), nil // we are there, whoever else is
	}
	if isTask(m.Method()) {
		return nil, noMethod(m.Method())
	}
	v := l.Version()
	capabilities := mcp.ParseClientCapabilities(declared(l.Record.Capabilities, eras{client: v, upstream: v}))
	if missing := capabilities.Missing(m.Method(), m.Params()); missing != nil {
		return nil, &mcp.Error{
			Code:    mcp.CodeMethodNotFound,
			Message: fmt.Sprintf("the client cannot be asked %s: it did not declare %s in %s", m.Method(), missing, v),
		}
	}
	m, e := olderRequest(v, m)
	if e != nil {
		return nil, e
	}
	answer, err := ask(of.question(m))
	return of.reply(answer), err
}

// olderRequest is a request of a server in words that a client of revision v
// knows.
func olderRequest(v mcp.Version, m *mcp.Message) (*mcp.Message, *mcp.Error) {
	if v.AtLeast(mcp.V20251125) || m.Params() == nil {
		return m, nil
	}
	params, e := m.Params(), (*mcp.Error)(nil)
	switch m.Method() {
	case mcp.SamplingCreate:
		params, e = olderSampling(v, params)
	case mcp.ElicitationCreate:
		params, e = olderElicitation(v, params)
	}
	if e != nil || same(params, m.Params()) {
		return m, e
	}
	return m.WithParams(params), nil
}

// olderSampling has one block of content in each message; a list of several cannot
// be said.
func olderSampling(v mcp.Version, params []byte) ([]byte, *mcp.Error) {
	var e *mcp.Error
	out := rewrite(params, "messages", func(messages []byte) []byte {
		return rewriteElements(messages, func(message []byte) []byte {
			message = rewrite(message, "content", func(content []byte) []byte {
				if content[0] != '[' {
					return content
				}
				var blocks [][]byte
				for block := range strictjson.Elements(content) {
					blocks = append(blocks, block)
				}
				if len(blocks) != 1 {
					e = unsaid(v, "a sampling message of %d blocks", len(blocks))
					return content
				}
				return blocks[0]
			})
			return olderMessage(v, message)
		})
	})
	return out, e
}

// olderElicitation has the enumerations of 2025-06-18: one choice, its titles
// beside it.
func olderElicitation(v mcp.Version, params []byte) ([]byte, *mcp.Error) {
	var e *mcp.Error
	out := rewrite(params, "requestedSchema", func(schema []byte) []byte {
		return rewrite(schema, "properties", func(properties []byte) []byte {
			for property := range strictjson.Members(properties) {
				name, _ := mcp.Text(property.Name)
				if kind, _ := mcp.Text(mcp.Field(property.Value, "type")); kind == "array" {
					e = unsaid(v, "a choice of several values (%q)", name)
					return properties
				}
				if choices := mcp.Field(property.Value, "oneOf"); choices != nil {
					properties = mcp.WithField(properties, enumOf(property.Value, choices), name)
				}
			}
			return properties
		})
	})
	return out, e
}

// enumOf is a titled enumeration (oneOf of const and title) as enum and enumNames.
func enumOf(property, choices []byte) []byte {
	var values, titles [][]byte
	for choice := range strictjson.Elements(choices) {
		value, title := mcp.Field(choice, "const"), mcp.Field(choice, "title")
		if value == nil {
			continue
		}
		if title == nil {
			title = value
		}
		values, titles = append(values, value), append(titles, title)
	}
	property = mcp.WithoutField(property, "oneOf")
	property = mcp.WithField(property, array(values), "enum")
	return mcp.WithField(property, array(titles), "enumNames")
}

func array(elements [][]byte) []byte {
	return append(append([]byte("["), bytes.Join(elements, []byte(","))...), ']')
}

func unsaid(v mcp.Version, format string, args ...any) *mcp.Error {
	return invalidParams("%s cannot be said to the client: its protocol revision %s has no word for it", fmt.Sprintf(format, args...), v)
}
