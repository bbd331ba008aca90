package router

import (
	"sync"

	"github.com/mcpraft/mcpraft/server/mcp"
)

// An eras names the two ends of a path through the gateway.
type eras struct{ client, upstream mcp.Version }

// crossed reports whether the ends are of different eras, so that an upstream can
// ask its client nothing in the middle of a call.
func (e eras) crossed() bool { return e.client.Modern() != e.upstream.Modern() }

// declared is what a client's capabilities come down to at the upstream: what it
// can be asked through the gateway, and no more. Raw is the client's object as it
// came; nil stays nil.
//
//   - Tasks hosted by the client are not carried yet.
//   - Across eras nothing can be asked; see bridge.go.
//   - What the client's revision does not have, the client does not have, whatever
//     it says.
func declared(raw []byte, path eras) []byte {
	if raw == nil {
		return nil
	}
	raw = mcp.WithoutField(raw, "tasks")
	raw = mcp.WithoutField(raw, "extensions", mcp.ExtensionTasks)
	if path.crossed() {
		for _, name := range []string{"sampling", "elicitation", "roots"} {
			raw = mcp.WithoutField(raw, name)
		}
		return raw
	}
	if !path.client.AtLeast(mcp.V20250618) {
		raw = mcp.WithoutField(raw, "elicitation")
	}
	if !path.client.AtLeast(mcp.V20251125) {
		raw = mcp.WithoutField(raw, "elicitation", "form") // {} has that meaning in 2025-06-18
		raw = mcp.WithoutField(raw, "elicitation", "url")
		raw = mcp.WithoutField(raw, "sampling", "tools")
		raw = mcp.WithoutField(raw, "sampling", "context")
	}
	return raw
}

// offered is what an upstream's capabilities come down to at the client: without
// tasks, which the gateway does not carry yet in either dialect.
func offered(raw []byte) []byte {
	raw = mcp.WithoutField(raw, "tasks")
	return mcp.WithoutField(raw, "extensions", mcp.ExtensionTasks)
}

// maxDeclarations bounds what declarations remembers: clients of one make declare
// the same.
const maxDeclarations = 1024

// declarations remembers what declared gave, because every call of a session needs
// it.
type declarations struct {
	mu    sync.RWMutex
	known map[declaration][]byte
}

type declaration struct {
	capabilities string
	path         eras
}

func newDeclarations() *declarations {
	return &declarations{known: make(map[declaration][]byte)}
}

func (d *declarations) of(raw []byte, path eras) []byte {
	d.mu.RLock()
	out, ok := d.known[declaration{string(raw), path}]
	d.mu.RUnlock()
	if ok {
		return out
	}
	out = declared(raw, path)
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.known) >= maxDeclarations {
		clear(d.known)
	}
	d.known[declaration{string(raw), path}] = out
	return out
}
