// Package mcpclient is the MCP client of the command line: one session over
// streamable HTTP, of revision 2025-11-25, in which a server may ask its user.
//
// A session is not tied to a node. When a connection breaks before a request was
// sent, the next address gets it; when it breaks in the middle of an event stream,
// the stream is taken up at the next address from the last event that was seen. A
// request that may have arrived is never sent again.
//
// [Endpoint] is the part of it that knows addresses and nothing of sessions.
package mcpclient
