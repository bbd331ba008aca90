package session

import (
	"bytes"
	"context"
	"sync"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/mcp"
)

// maxAsks is how many requests a call, or a GET stream, may have open to the
// client at once.
const maxAsks = 16

// asks are the requests to a client of one stream that wait for an answer.
type asks struct {
	mu     sync.Mutex
	last   uint64
	open   map[uint64]*ask
	closed bool
}

type ask struct {
	answer   chan *mcp.Message  // capacity 1
	token    []byte             // progress token that the request had; nil if none
	progress func(*mcp.Message) // nil: dropped
}

func (a *asks) begin(q *ask) (number uint64, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return 0, fault.New(fault.Conflict, "the call has been answered")
	}
	if len(a.open) >= maxAsks {
		return 0, fault.New(fault.Quota, "%d requests to the client are open, the limit of a stream", maxAsks)
	}
	if a.open == nil {
		a.open = make(map[uint64]*ask)
	}
	a.last++
	a.open[a.last] = q
	return a.last, nil
}

func (a *asks) end(number uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.open, number)
}

func (a *asks) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
}

// take hands in what the client said to a request: its answer, the first of which
// counts, or progress. It reports whether somebody waited for it.
func (a *asks) take(number uint64, m *mcp.Message) bool {
	a.mu.Lock()
	q := a.open[number]
	a.mu.Unlock()
	if q == nil {
		return false
	}
	if m.Kind() == mcp.KindNotification {
		return q.tookProgress(m)
	}
	select {
	case q.answer <- m:
		return true
	default:
		return false
	}
}

// tookProgress gives progress on under the token that the request had.
func (q *ask) tookProgress(m *mcp.Message) bool {
	if q.token == nil || q.progress == nil {
		return false
	}
	q.progress(m.WithParams(mcp.WithField(m.Params(), q.token, "progressToken")))
	return true
}

// Ask sends a request to the client and waits for its answer, which may arrive at
// any node. It goes out under an id of the gateway's own, and so does its progress
// token; the answer has the request's own id again. The wait ends with ctx, or with
// the call.
//
// An error is of kind Unsupported when nothing can be asked of this client, Quota
// when too much has been, and that of the context's cause when the wait ended.
func (c *Call) Ask(ctx context.Context, m *mcp.Message) (*mcp.Message, error) {
	if c.options.JSONOnly {
		return nil, errCannotAsk()
	}
	q := &ask{answer: make(chan *mcp.Message, 1), progress: c.options.Progress}
	number, err := c.asks.begin(q)
	if err != nil {
		return nil, err
	}
	defer c.asks.end(number)
	out := q.outgoing(m, c.s.askToken(c.stream, number))
	if !c.carry(out.Bytes(), true) {
		return nil, errCannotAsk()
	}
	select {
	case answer := <-q.answer:
		return answer.WithID(m.ID()), nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-c.ctx.Done():
		return nil, context.Cause(c.ctx)
	}
}

func errCannotAsk() error {
	return fault.New(fault.Unsupported, "the client takes no event stream, so nothing can be asked of it").
		WithHint("the client has to accept text/event-stream")
}

// askToken is the id under which request number of a stream leaves.
func (s *Sessions) askToken(st *stream, number uint64) string {
	t := token{kind: tokenAsk, node: st.owner, stream: st.id, sequence: number}
	return t.format(s.keys, st.session)
}

// outgoing is m under the token as its id, and as its progress token if it has
// one.
func (q *ask) outgoing(m *mcp.Message, token string) *mcp.Message {
	id := mcp.TextID(token)
	m = m.WithID(id)
	old := mcp.Field(m.Params(), "_meta", "progressToken")
	if old == nil {
		return m
	}
	q.token = bytes.Clone(old)
	return m.WithParams(mcp.WithField(m.Params(), []byte(id), "_meta", "progressToken"))
}
