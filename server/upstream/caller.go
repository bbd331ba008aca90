package upstream

import (
	"context"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/server/mcp"
)

// A Caller is for whom something is done at an upstream. It decides which
// upstream session is used.
type Caller struct {
	Principal    record.Principal
	Session      string          // id of the record of the gateway's session; "" for a caller of the modern era
	Capabilities []byte          // client capabilities to declare upstream, raw JSON; nil means {}
	ClientInfo   []byte          // to pass on where the upstream session is the caller's alone; nil means the gateway's own
	Binding      *record.Binding // what Session holds at the upstream, its session id in clear; nil if nothing is known
	Version      mcp.Version     // its own revision, offered upstream where the session is the caller's alone; "" means the newest
	Modern       bool            // the caller is of the modern era
	LogLevel     string          // the least severe log message that is wanted; "" if none was asked for
}

// Opened is what an upstream says of itself.
type Opened struct {
	// Initialize is the raw result of initialize. For a modern upstream it is an
	// equivalent made from server/discover.
	Initialize []byte
	// Discover is the raw result of server/discover; nil for a legacy upstream.
	Discover []byte
	Modern   bool
	Version  mcp.Version
	// Session is the upstream's session id in clear, to be kept sealed in the
	// caller's Binding: only if the caller has this upstream session to itself,
	// and "" if the upstream gave none.
	Session string
}

// A Sink takes what comes from an upstream before the answer to a call.
type Sink interface {
	// Notification takes a notification that belongs to the call. Progress
	// carries the caller's own token. It is called by one goroutine at a time, in
	// the order of arrival; while it blocks, nothing more is read.
	Notification(m *mcp.Message)

	// Ask answers a request of the upstream. Up to MaxAsks run at once, each on
	// its own goroutine; ctx ends with the call, and when the upstream cancels
	// its request. The id of the answer does not matter. An error is sent to the
	// upstream as mcp.FromFault makes it.
	Ask(ctx context.Context, m *mcp.Message) (*mcp.Message, error)

	// Progressed tells how far the call's stream has come, if the upstream numbers
	// its events: with these ids in hand another node can go on by Resume. request
	// is the id that the upstream knows the call by. It is called as Notification
	// is.
	Progressed(eventID, upstreamSession string, request mcp.ID)
}

// A Watch says what a listener wants to hear of. Legacy upstreams send what they
// send; for them only URIs matters.
type Watch struct {
	Tools, Prompts, Resources bool     // list changes
	URIs                      []string // resources whose updates are wanted, in the upstream's own names

	// Ask answers requests of the upstream that belong to no call. Nil refuses
	// them.
	Ask func(ctx context.Context, m *mcp.Message) (*mcp.Message, error)

	// Missed, if not nil, is called when the stream stands again after a gap that
	// could not be closed: something may have changed meanwhile.
	Missed func()

	// Begun, if not nil, is called once, before anything is delivered: the stream
	// stands, or the upstream has said that it offers none.
	Begun func()
}
