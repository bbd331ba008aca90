// Package frame carries calls over one network connection: in both directions,
// many in flight, answered out of order. The links between nodes and the admin
// API's /v1/stream are built on it.
//
// Either end may call and either end may serve:
//
//	conn := frame.NewConn(nc, frame.Options{Handler: h})
//	go conn.Run(ctx) // its owner waits for it
//	status, answer, err := conn.Call(ctx, op, body)
//
// The package knows ids, operation numbers and bytes; what an operation, a
// status or a body means belongs to the user. It does not dial, does not
// redial, never repeats a call, and negotiates nothing: whoever opens the
// connection settles the version first (ALPN, HTTP Upgrade) and then hands it
// over. The bytes are described in docs/format/frame.md.
//
// # Outcomes
//
// A call that has no answer leaves its outcome unknown, except when its error is
// [ErrNotRun]: then no handler has seen it and it may be sent again anywhere.
//
// # Limits
//
// Everything is bounded. Sent frames wait in one buffer of at most
// Options.MaxBuffered bytes; a sender waits for room in it with its own context.
// Received calls are refused, not queued, beyond Options.MaxInFlight or
// MaxBuffered bytes of bodies. A frame above Options.MaxBody ends the
// connection. A peer that stops reading blocks our senders, then our handlers,
// and is cut off after Options.WriteTimeout; one that falls silent, after
// Options.IdleTimeout.
//
// # How it is fast
//
// One goroutine reads and one writes. Whatever was queued while the last write
// was in the kernel leaves in the next one, so that a busy connection spends
// far less than one system call on a frame. A caller waits on its own channel,
// without a goroutine; handlers run on a pool that grows with need. See
// BenchmarkCall.
package frame
