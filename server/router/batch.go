package router

import (
	"context"
	"sync"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/sse"
	"github.com/mcpraft/mcpraft/server/exchange"
	"github.com/mcpraft/mcpraft/server/mcp"
	"github.com/mcpraft/mcpraft/server/session"
)

// batchAtOnce is how many requests of a batch are worked on at the same time.
const batchAtOnce = 8

// Batch answers the messages of a JSON-RPC array. Only sessions of 2025-03-26 have
// them, and, as nobody is harmed, of 2024-11-05.
func (r *Router) Batch(ctx context.Context, q *exchange.Request, batch []*mcp.Message, s exchange.Stream) ([]*mcp.Message, error) {
	if !q.HasSession {
		return nil, fault.New(fault.Invalid, "a batch needs a session").WithHint("send initialize, alone, and its session id with the batch")
	}
	l, err := r.live(ctx, q)
	if err != nil {
		return nil, err
	}
	claims := make([]claim, len(batch))
	for i, m := range batch {
		claims[i] = classify(q, m)
		if err := batched(l, m, &claims[i]); err != nil {
			return nil, err
		}
	}
	return r.batch(ctx, q, batch, claims, l, unnumbered{s})
}

// batched refuses what may not be in a batch, or not in one of this session.
func batched(l *session.Live, m *mcp.Message, c *claim) error {
	switch {
	case !l.Version().Batches():
		return fault.New(fault.Invalid, "revision %s, which this session speaks, has no batches", l.Version()).WithHint("send one message in each request")
	case c.modern:
		return fault.New(fault.Invalid, "revision %s has no batches", mcp.V20260728).WithHint("send one message in each request")
	case m.Method() == mcp.Initialize:
		return fault.New(fault.Invalid, "initialize must not be in a batch").WithHint("send it alone")
	}
	return nil
}

// batch works on the messages and gives the answers in the order of the requests.
// What is not answered does not wait for a place: it may be what a request before
// it is waiting for.
func (r *Router) batch(ctx context.Context, q *exchange.Request, batch []*mcp.Message, claims []claim, l *session.Live, s exchange.Stream) ([]*mcp.Message, error) {
	answers := make([]*mcp.Message, len(batch))
	var wg sync.WaitGroup
	places := make(chan struct{}, batchAtOnce)
	for i, m := range batch {
		if m.Kind() != mcp.KindRequest {
			if err := r.sessionMessage(ctx, q, m, l); err != nil {
				r.log.Debug("a message of a batch was not taken", "request_id", q.ID, "error", err)
			}
			continue
		}
		wg.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			answer, err := r.sessionRequest(ctx, q, m, &claims[i], l, s)
			if err != nil {
				answer.Message = mcp.Failed(m.ID(), mcp.FromFault(err, q.ID))
			}
			answers[i] = answer.Message
		})
	}
	wg.Wait()
	given := answers[:0]
	for _, a := range answers {
		if a != nil {
			given = append(given, a)
		}
	}
	return given, nil
}

// unnumbered is a stream that several calls share, each of which numbers its own
// events: the client could not come back to any of them, so none has a number.
type unnumbered struct{ exchange.Stream }

func (u unnumbered) Send(e sse.Event) error {
	e.ID, e.HasID = "", false
	return u.Stream.Send(e)
}
