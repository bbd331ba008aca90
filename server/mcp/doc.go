// Package mcp is the vocabulary of the Model Context Protocol: JSON-RPC messages
// kept as the bytes they came in, and the words of all revisions from 2024-11-05
// to 2026-07-28.
//
// A [Message] is parsed once and relayed losslessly. [Parse] reads a whole message
// strictly, keeps its bytes, and remembers where its parts are. An edit splices one
// part into a copy; members that nobody here knows stay where they are. No byte
// leaves that was not parsed, so that the gateway and the reader behind it cannot
// see two things in one message.
//
// # What a caller must keep
//
// Where a function takes raw JSON to put into a message (WithParams, Set, …), it
// must be one valid value: a part of a parsed message, the bytes of an [Object], or
// what [Marshal] and [Quote] write. Where a function gives raw JSON, it shares the
// memory of the message; nobody writes to it. A Message is never changed after it
// was made, and may be used by several goroutines.
//
// The package knows nothing of HTTP but the names and the encoding of the headers
// that mirror parts of a message, and nothing of sessions.
package mcp
