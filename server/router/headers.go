package router

import (
	"github.com/mcpraft/mcpraft/server/exchange"
	"github.com/mcpraft/mcpraft/server/mcp"
)

// checkVersion holds the revision that a modern request claims in its body
// against the one in its header, and both against what we speak.
func checkVersion(q *exchange.Request, c *claim) *mcp.Error {
	if c.version == nil {
		return invalidParams("params._meta lacks %s, which the header %s: %s asks for", mcp.MetaProtocolVersion, mcp.HeaderVersion, q.Version)
	}
	version, ok := mcp.Text(c.version)
	switch {
	case !ok:
		return invalidParams("%s in params._meta is not a string", mcp.MetaProtocolVersion)
	case !q.HasVersion:
		return mismatch("the header %s is missing, params._meta says %q", mcp.HeaderVersion, version)
	case q.Version != version:
		return mismatch("the header %s is %q, params._meta says %q", mcp.HeaderVersion, q.Version, version)
	case !mcp.Version(version).Known() || !mcp.Version(version).Modern():
		return mcp.UnsupportedVersion(version)
	}
	return nil
}

// checkNames holds the headers that mirror the method and its object against the
// body.
func checkNames(q *exchange.Request, m *mcp.Message, c *claim) *mcp.Error {
	switch {
	case !q.HasMethod:
		return mismatch("the header %s is missing, the body's method is %q", mcp.HeaderMethod, m.Method())
	case q.Method != m.Method():
		return mismatch("the header %s is %q, the body's method is %q", mcp.HeaderMethod, q.Method, m.Method())
	}
	field := mcp.NameField(m.Method())
	if field == "" {
		return nil
	}
	name, ok := mcp.Text(mcp.Field(c.params, field))
	if !ok {
		return invalidParams("params.%s of %s is missing or not a string", field, m.Method())
	}
	if !q.HasName {
		return mismatch("the header %s is missing, params.%s is %q", mcp.HeaderName, field, name)
	}
	header, err := mcp.DecodeHeader(q.Name)
	if err != nil {
		return mismatch("the header %s: %v", mcp.HeaderName, err)
	}
	if header != name {
		return mismatch("the header %s is %q, params.%s is %q", mcp.HeaderName, header, field, name)
	}
	return nil
}

// checkParams holds the Mcp-Param headers of a tools/call against its arguments,
// for those that the tool's published schema mirrors. Other headers of that form
// are nobody's concern.
func checkParams(q *exchange.Request, params []byte, mirrored []mcp.HeaderParam) *mcp.Error {
	if len(mirrored) == 0 {
		return nil
	}
	arguments := mcp.Field(params, "arguments")
	for i := range mirrored {
		header, sent := "", false
		if q.Param != nil {
			header, sent = q.Param(mirrored[i].Header)
		}
		if err := mirrored[i].Check(header, sent, arguments); err != nil {
			return mismatch("%v", err)
		}
	}
	return nil
}
