package bridge

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/sse"
	"github.com/mcpraft/mcpraft/server/mcp"
)

// errCut says that a connection ended before the answer came.
var errCut = errors.New("the connection ended before the answer came")

// A reading is the answer to one request as it comes: JSON, or a stream of
// messages that ends with it, over as many connections as it takes.
type reading struct {
	bridge *Bridge
	id     mcp.ID             // of the request; "" for a stream that belongs to none
	each   func(*mcp.Message) // what is given of the messages before the answer
	event  string             // id of the last event; "" if the stream has none
	events int                // seen on the newest connection
	retry  time.Duration      // that the stream asked for; 0: none
}

// read gives the answer. The error is errCut if the connection ended without it.
func (r *reading) read(ctx context.Context, resp *http.Response) (*mcp.Message, error) {
	defer resp.Body.Close()
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		return r.stream(ctx, resp.Body)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil || len(text) == 0: // nothing answers a cancelled request
		return nil, errCut
	}
	m, err := mcp.Parse(text, mcp.FromUpstream)
	if err != nil {
		return nil, fault.New(fault.Integrity, "the answer of the gateway is no message: %v", err)
	}
	return m, nil
}

// stream reads one connection of a stream. One that says nothing for a long time is
// cut: its node hangs, or the network is gone.
func (r *reading) stream(ctx context.Context, body io.ReadCloser) (*mcp.Message, error) {
	quiet := time.AfterFunc(silence, func() { body.Close() })
	defer quiet.Stop()
	events := sse.NewReader(body, maxAnswer)
	r.events = 0
	for {
		e, err := events.Next()
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case errors.Is(err, sse.ErrTooLarge):
			return nil, fault.New(fault.TooLarge, "a message has more than %d bytes", maxAnswer)
		case err != nil:
			return nil, errCut
		}
		quiet.Reset(silence)
		r.events++
		if e.HasID {
			r.event = e.ID
		}
		if e.Retry > 0 {
			r.retry = min(e.Retry, longestWait)
		}
		if len(e.Data) == 0 {
			continue
		}
		m, err := mcp.Parse(e.Data, mcp.FromUpstream)
		if err != nil {
			r.bridge.log.Warn("an event that is no message is left out", "err", err)
			continue
		}
		if m.Method() == "" && r.id != "" && m.ID() == r.id {
			return m, nil
		}
		r.each(m)
	}
}
