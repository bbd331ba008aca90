// Package front is the MCP port over net/http: streamable HTTP of every
// revision, over HTTP/1.1, HTTP/2 and TLS, in front of an exchange.Handler. It is
// a carrier: it knows HTTP and the shape of an envelope, and nothing of what a
// message means.
//
// # Endpoints
//
//	/mcp                    the aggregate
//	/servers/{alias}/mcp    one upstream
//
// On each, POST sends a message, GET opens the stream of a session, DELETE ends a
// session, OPTIONS asks for permission as browsers do.
//
// # Order of admission
//
// The first step that refuses ends the request; what comes later costs nothing.
//
//  1. A declared body above MaxBody: 413. An undeclared one is cut while it is
//     read.
//  2. Host, on a loopback listener (DNS rebinding), and Origin: 403.
//  3. OPTIONS: the answer to a preflight.
//  4. /.well-known/* and the paths that OAuth clients try: metadata, or JSON 404s
//     that keep them from registering themselves.
//  5. Unknown paths and methods: 404 and 405, also in JSON.
//  6. Authentication: 401 with a challenge, and the reason in words.
//  7. Limits, media type, body, envelope: 429, 503, 415, 413, 400.
//  8. The Handler.
//
// An error of an MCP endpoint is a JSON-RPC error, with the id of the message if
// there is one; elsewhere it has the shape of the admin API's.
//
// # JSON unless something must come first
//
// An answer is one JSON body, written at once. It becomes an event stream by the
// first Send, and stays one. A stream is kept alive by a comment every
// exchange.KeepAlive; each event must be taken within eventTimeout, so that a
// client that does not read is cut; nothing else limits how long it lasts but the
// credentials, which may expire or be revoked (Recheck), and the stop of the node.
package front
