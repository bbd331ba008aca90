// Package sse writes and reads server-sent events, the text/event-stream format
// of the HTML standard, section 9.2.
//
// [Append] is the writer: it never lets a value break out of its field.
// [Reader] is the parser: it takes every line ending and ignores what the
// standard says to ignore, holds at most one event of a stated size, and tells a
// stream that ended from one that was cut.
//
// The package knows nothing of HTTP and nothing of what the data means.
package sse
