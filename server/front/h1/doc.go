// Package h1 is the fast lane of the MCP port: a server for the one kind of HTTP
// request that nearly all traffic is, in front of net/http, which serves every
// other. Both call the same http.Handler, so that what is admitted and what is
// answered is decided in one place (server/front).
//
// # What it serves
//
// POST over plain HTTP/1.1 to a path of unreserved characters, with exactly one
// Host and one Content-Length, and no header that changes how a message is framed
// or how the connection goes on. Everything else - another method, TLS, chunked or
// large bodies, Expect, Upgrade, folded or unusual headers, a line that ends
// without a carriage return, a head above MaxHead - is handed to net/http with all
// bytes that were read of it. That happens once: the connection then stays there.
//
// So the lane refuses nothing by itself and never guesses. What it does not
// understand entirely it does not touch; what it takes, net/http would have read as
// the same method, path, headers and body (a fuzz target compares the two).
//
// # What is guaranteed
//
//   - Requests of a connection are answered one after the other, in their order,
//     also when they were sent ahead.
//   - An answer of known length leaves in one write, with its head. One that is
//     flushed before its end is chunked.
//   - A head that is not complete HeadTimeout after its first byte ends the
//     connection, as does one that is silent for IdleTimeout between requests. How
//     long a body and an answer may take is the Handler's business, by the
//     deadlines of http.ResponseController.
//   - The context of a request ends when its client has gone, noticed when the
//     request has run for watchAfter: most are over by then, and looking sooner
//     would cost each of them a goroutine and a system call.
//   - A connection costs one goroutine and, while it is idle, one buffer of
//     bufferSize.
//
// Handlers must not use a request or its writer once they have returned, which
// net/http forgives: the next request of the connection is read into the same.
package h1
