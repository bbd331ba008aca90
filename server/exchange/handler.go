package exchange

import (
	"context"
	"time"

	"github.com/mcpraft/mcpraft/internal/sse"
	"github.com/mcpraft/mcpraft/server/mcp"
)

// KeepAlive is how long a stream may be silent before its carrier sends a
// comment: proxies close what is silent for a minute or less.
const KeepAlive = 15 * time.Second

// A Stream takes what comes before the answer of a request.
type Stream interface {
	// Send writes e and flushes it. The first Send makes the answer an event
	// stream, with status 200; until then it can be anything. It blocks at most
	// for the carrier's write timeout; an error means that the client is gone,
	// and every later Send gives one too. For a request with JSONOnly events are
	// dropped and Send gives nil. Any goroutine may call it, until the Handler's
	// method has returned.
	Send(e sse.Event) error
}

// An Answer ends a POST.
type Answer struct {
	Message *mcp.Message // nil: accepted, 202 without a body
	Status  int          // HTTP status; 0 means 200. Of no effect once a stream is open
	Session string       // for the header Mcp-Session-Id; only initialize gives one
	EventID string       // id of the event that carries Message, if a stream is open; "" for none
}

// A Handler answers the requests of one MCP endpoint. Its methods run
// concurrently, each on the goroutine of its request.
//
// The context ends when the client is gone, its credentials end or the node
// stops. What that means is the Handler's decision: it cancels a modern request
// and leaves a legacy one running.
//
// An error is a *fault.Error or wraps one. The carrier gives it the HTTP status
// of the table in internal/fault and a JSON-RPC body by mcp.FromFault, with the
// request's JSON-RPC id; on an open stream only the body. Failures that the MCP
// specification gives a code and status of their own come as an Answer.
type Handler interface {
	// Post answers a single message of the client: a request gets its response, a
	// notification or a response gets an Answer without a Message.
	Post(ctx context.Context, r *Request, m *mcp.Message, s Stream) (Answer, error)

	// Batch answers the messages of a JSON-RPC array (revisions 2025-03-26 and
	// before). The responses come in the order of their requests; none means 202.
	// If a stream is open each is one event.
	Batch(ctx context.Context, r *Request, batch []*mcp.Message, s Stream) ([]*mcp.Message, error)

	// Listen serves a GET: it sends on s until the stream has come to its end.
	// Before the first Send an error is an ordinary response (405: no such
	// stream); after it the carrier closes the connection, with or without one.
	Listen(ctx context.Context, r *Request, s Stream) error

	// End serves a DELETE: the session is gone when it returns nil (204).
	End(ctx context.Context, r *Request) error
}
