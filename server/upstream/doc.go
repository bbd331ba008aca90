// Package upstream is the client side of the gateway: it carries messages to the
// MCP servers that are registered with the cluster, and their answers back.
//
//	ups := upstream.New(upstream.Config{Lookup: lookup, …})
//	go ups.Run(ctx)                                  // its owner waits for it
//	opened, err := ups.Open(ctx, "files", caller)    // initialize, or discover
//	answer, err := ups.Call(ctx, "files", caller, request, sink)
//
// It speaks Streamable HTTP of both eras and the HTTP+SSE of 2024-11-05. Which
// era an upstream is of is probed by server/discover and remembered on this node
// for as long as nothing contradicts it; a probe that proves nothing (no
// connection, 5xx, 401) is not remembered.
//
// # What is guaranteed
//
//   - Nothing of a client's HTTP request reaches an upstream. Headers are built
//     anew from the body that is sent and, for Mcp-Param-*, from the schema that
//     the upstream itself listed. The only credentials are the node's own, from
//     files.
//   - A request is sent once. It is sent again only when the upstream has said
//     that it did not look at it: an unknown session, another era, a header that
//     does not match. What broke in the middle is [fault.OutcomeUnknown].
//   - Ids and progress tokens are ours on the way up and the caller's again on
//     the way back. An answer counts only under the id that was sent; what
//     carries another is an error to that caller and to nobody else.
//   - A lost upstream session is opened again by one caller while the others
//     wait, its subscriptions and log level are set again, and no other session
//     notices.
//   - No connection is made to a link-local or metadata address, nor, unless the
//     node's configuration allows it, to a private one. The address that is
//     checked is the one that is dialled.
//   - Memory is bounded: messages of at most [MaxMessage] bytes, drawn from the
//     node's budget while they are read; calls by the pool of their upstream;
//     requests of an upstream inside a call by [MaxAsks].
//
// # What it does not know
//
// Who the client is beyond a principal and a session id, how messages of one era
// become those of the other (only what identifies a request, the protocol's own
// _meta keys, is set here, because headers must agree with it), and what is
// done with a notification.
package upstream
