package router

import (
	"strings"

	"github.com/mcpraft/mcpraft/internal/strictjson"
	"github.com/mcpraft/mcpraft/server/catalog"
	"github.com/mcpraft/mcpraft/server/mcp"
)

// joinedCapabilities are those of the aggregate. All are always there, whatever the
// upstreams have just now: they come and go while a client keeps what it was told
// first.
const joinedCapabilities = `{"completions":{},"logging":{},"prompts":{"listChanged":true},"resources":{"listChanged":true,"subscribe":true},"tools":{"listChanged":true}}`

// maxInstructions bounds the instructions of the aggregate, in bytes: they are read
// by a model, in every conversation.
const maxInstructions = 16 << 10

const joinedInstructions = "Several MCP servers behind one gateway. The name of a tool or prompt begins with that of its server: SERVER__NAME."

// mergedCapabilities adds the extensions that upstreams offer, each as the first
// upstream by name has it. What an upstream calls experimental means nothing without
// knowing whose it is, and is left out.
func mergedCapabilities(v *catalog.View) []byte {
	merged := []byte(joinedCapabilities)
	for s := range v.Slices() {
		for extension := range strictjson.Members(object(mcp.Field(s.Capabilities, "extensions"))) {
			id, _ := mcp.Text(extension.Name)
			if mcp.Field(merged, "extensions", id) == nil {
				merged = mcp.WithField(merged, extension.Value, "extensions", id)
			}
		}
	}
	return offered(merged)
}

// mergedInstructions are those of the upstreams, each under its name. One for which
// there is no room is left out whole.
func mergedInstructions(v *catalog.View) string {
	var b strings.Builder
	b.WriteString(joinedInstructions)
	for s := range v.Slices() {
		text := strings.TrimSpace(s.Instructions)
		part := "\n\n# " + s.Alias + "\n\n" + text
		if text != "" && b.Len()+len(part) <= maxInstructions {
			b.WriteString(part)
		}
	}
	return b.String()
}

// joinedResult is what the aggregate says of itself, without what is of one era
// only.
func (r *Router) joinedResult() []byte {
	v := r.catalog.Now()
	result := mcp.WithField(nil, mergedCapabilities(v), "capabilities")
	return mcp.WithField(result, mcp.Quote(mergedInstructions(v)), "instructions")
}

// joinedInitialize is the result of initialize at the aggregate.
func (r *Router) joinedInitialize(v mcp.Version) []byte {
	result := mcp.WithField(r.joinedResult(), r.serverInfo, "serverInfo")
	return mcp.WithField(result, mcp.Quote(string(v)), "protocolVersion")
}

// joinedDiscovery is the result of server/discover at the aggregate.
func (r *Router) joinedDiscovery() []byte {
	result := mcp.WithField(r.joinedResult(), supportedVersions, "supportedVersions")
	result = mcp.WithField(result, []byte(listTTL), "ttlMs")
	return completed(mcp.Discover, result, r.serverInfo)
}

// serverInfoOf is the gateway as clients of the aggregate know it.
func serverInfoOf(version string) []byte {
	info := mcp.WithField(nil, mcp.Quote("mcpraft"), "name")
	return mcp.WithField(info, mcp.Quote(version), "version")
}
