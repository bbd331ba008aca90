// Package adminapi is the admin API as it crosses the wire, version 1, and its
// Go client. The types are a compatibility promise: fields are added, never
// renamed or given another meaning, and a reader ignores fields it does not know.
//
// # Two carriers, one set of operations
//
// Every operation has a row in Operations: a number for /v1/stream, and a method
// and path for plain HTTP (docs/api/openapi.yaml). Over HTTP bodies are JSON in
// snake_case with times in RFC 3339 and durations in Go's notation. Over the
// stream the same structs are CBOR with integer keys (docs/format/stream.md),
// many in flight on one connection, answered out of order. New makes a Client
// for HTTP, NewStream one for the stream; their methods are the same.
//
// # Reads
//
// A read says how fresh it must be (ReadOptions); what it got is in Info. The
// default is linearizable for one record and bounded for a list.
//
// # Writes and retries
//
// A Client sends a request to the next address when nothing of it can have been
// applied: the connection could not be opened, or the node answered that it
// does not serve. Once a request has been sent, only a read or a write with an
// IdempotencyKey is sent again; any other ends as fault.OutcomeUnknown. Without
// a key or an IfMatch a caller's own retry of a write can apply it twice.
package adminapi
