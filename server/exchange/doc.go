// Package exchange is what carriers of MCP and the router share: one parsed
// request in, one message or a stream of events out.
//
// A carrier knows its wire (HTTP/1.1, HTTP/2, the own lane) and nothing of MCP
// beyond the shape of an envelope; a Handler knows MCP and no wire. Between them
// travel a Request, a message of server/mcp, a Stream for what comes before the
// answer, and the Answer. So a second carrier needs no second router.
//
// Who does what:
//
//   - The carrier limits sizes, authenticates, reads the headers named in
//     Request, parses the body with mcp.Parse, and writes what it is given. It
//     turns an error into a response by the table of internal/fault. When a
//     stream has been silent for KeepAlive it sends a comment.
//   - The Handler decides everything else, also whether an answer is a stream: it
//     is one as soon as something is sent on the Stream.
package exchange
