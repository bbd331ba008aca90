package router

import (
	"bytes"
	"fmt"

	"github.com/mcpraft/mcpraft/internal/strictjson"
	"github.com/mcpraft/mcpraft/server/mcp"
)

// olderResult is a result in words that a client of revision v knows. What v has
// no word for becomes text, or is left out if it can be. It gives back result
// itself when there is nothing to change.
func olderResult(v mcp.Version, method string, result []byte) []byte {
	switch method {
	case mcp.ToolsCall:
		if !v.Modern() {
			result = withoutScalarStructure(result)
		}
		return rewrite(result, "content", func(list []byte) []byte { return olderBlocks(v, list) })
	case mcp.PromptsGet:
		return rewrite(result, "messages", func(list []byte) []byte {
			return rewriteElements(list, func(message []byte) []byte { return olderMessage(v, message) })
		})
	case mcp.ToolsList:
		return rewrite(result, "tools", func(list []byte) []byte {
			return rewriteElements(list, func(tool []byte) []byte { return olderTool(v, tool) })
		})
	default:
		return result
	}
}

// olderMessage is a message of a prompt or of a sampling request for a client of
// revision v; its content is one block, or a list since 2025-11-25.
func olderMessage(v mcp.Version, message []byte) []byte {
	return rewrite(message, "content", func(content []byte) []byte {
		if content[0] == '[' {
			return olderBlocks(v, content)
		}
		return olderBlock(v, content)
	})
}

func olderBlocks(v mcp.Version, list []byte) []byte {
	if v.AtLeast(mcp.V20250618) {
		return list
	}
	return rewriteElements(list, func(block []byte) []byte { return olderBlock(v, block) })
}

// olderBlock turns a block of content that v does not have into text.
func olderBlock(v mcp.Version, block []byte) []byte {
	kind, _ := mcp.Text(mcp.Field(block, "type"))
	switch {
	case kind == "audio" && !v.AtLeast(mcp.V20250326):
		mime, _ := mcp.Text(mcp.Field(block, "mimeType"))
		return textBlock(fmt.Sprintf("[audio %s: MCP revision %s has no audio content]", mime, v))
	case kind == "resource_link" && !v.AtLeast(mcp.V20250618):
		uri, _ := mcp.Text(mcp.Field(block, "uri"))
		name, _ := mcp.Text(mcp.Field(block, "name"))
		return textBlock(fmt.Sprintf("%s: %s", name, uri))
	default:
		return block
	}
}

func textBlock(text string) []byte {
	block := append([]byte(`{"type":"text","text":`), mcp.Quote(text)...)
	return append(block, '}')
}

// withoutScalarStructure removes structured content that is not an object, which
// only the modern era has. The text that stands for it remains; where the server
// left that out, it is written.
func withoutScalarStructure(result []byte) []byte {
	structured := mcp.Field(result, "structuredContent")
	if structured == nil || structured[0] == '{' {
		return result
	}
	result = mcp.WithoutField(result, "structuredContent")
	content := mcp.Field(result, "content")
	if content != nil && string(bytes.TrimSpace(content)) != "[]" && content[0] == '[' {
		return result
	}
	return mcp.WithField(result, bytes.Join([][]byte{[]byte("["), textBlock(string(structured)), []byte("]")}, nil), "content")
}

// olderTool removes from a tool what a client of revision v would misread: a
// schema of results that are not objects. Members that v only does not know stay.
func olderTool(v mcp.Version, tool []byte) []byte {
	if v.Modern() {
		return tool
	}
	return rewrite(tool, "outputSchema", func(schema []byte) []byte {
		if kind, _ := mcp.Text(mcp.Field(schema, "type")); kind == "object" {
			return schema
		}
		return nil
	})
}

// withoutTasks hides from a list of tools that they can run as tasks: nobody may
// ask for one, because no client is offered any.
func withoutTasks(result []byte) []byte {
	if !bytes.Contains(result, []byte(`"taskSupport"`)) {
		return result
	}
	return rewrite(result, "tools", func(list []byte) []byte {
		return rewriteElements(list, func(tool []byte) []byte {
			return mcp.WithoutField(tool, "execution", "taskSupport")
		})
	})
}

// rewrite is object with the value of one member put through f. F gives back its
// argument to change nothing, and nil to remove the member.
func rewrite(object []byte, name string, f func(value []byte) []byte) []byte {
	value := mcp.Field(object, name)
	if value == nil {
		return object
	}
	changed := f(value)
	if same(changed, value) {
		return object
	}
	if changed == nil {
		return mcp.WithoutField(object, name)
	}
	return mcp.WithField(object, changed, name)
}

// rewriteElements is array with each element put through f, which gives back its
// argument to change nothing.
func rewriteElements(array []byte, f func(element []byte) []byte) []byte {
	var out []byte // nil until something changed
	done := 0      // how much of array is in out
	at := 0
	for element := range strictjson.Elements(array) {
		// Elements share the memory of the array, in its order.
		at += bytes.Index(array[at:], element)
		changed := f(element)
		if !same(changed, element) {
			out = append(append(out, array[done:at]...), changed...)
			done = at + len(element)
		}
		at += len(element)
	}
	if out == nil {
		return array
	}
	return append(out, array[done:]...)
}

// same reports whether a and b are one piece of memory.
func same(a, b []byte) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}
