package router

import (
	"context"
	"time"

	"github.com/mcpraft/mcpraft/server/mcp"
)

// What a server asks in the middle of a call has two shapes: a request on the
// call's stream (legacy) and an input_required result (modern). Within an era it
// is relayed. Between the eras the two functions of this file are all there is:
// askModern is where a call of a modern client would be parked, inputOfLegacy
// where the client's session would be asked and the call sent again.

// askModern answers a request of a legacy upstream in a call of a modern client,
// who has no way to be asked.
func askModern(m *mcp.Message) (*mcp.Message, error) {
	if m.Method() == mcp.Ping {
		return mcp.Answer(m.ID(), nil), nil
	}
	return nil, &mcp.Error{
		Code:    mcp.CodeMethodNotFound,
		Message: m.Method() + " cannot be carried to this client: its protocol revision has no requests of the server",
	}
}

// How often a call is sent again for an upstream that only wants to see it later,
// and how long apart.
const (
	maxRounds  = 10
	firstPause = 100 * time.Millisecond
	maxPause   = 2 * time.Second
)

// inputOfLegacy decides on the input_required result that a modern upstream gave
// to a legacy client's call m, in the round-th attempt. A result that asks nothing
// only sheds load: then again is the message to send after a pause. Everything
// else gets an answer for the client that says what is missing; nothing was
// declared to the upstream that would have allowed it to ask.
func inputOfLegacy(ctx context.Context, m *mcp.Message, result []byte, round int) (again, answer *mcp.Message, err error) {
	state := mcp.Field(result, "requestState")
	for asked := range mcp.InputRequests(result) {
		return nil, cannotAskLegacy(m, asked), nil
	}
	if state == nil || round >= maxRounds {
		return nil, failure(m, impossible("input_required", "the upstream did not answer but asked %d times to be called again", round)), nil
	}
	if err := pause(ctx, min(firstPause<<(round-1), maxPause)); err != nil {
		return nil, nil, err
	}
	return m.WithParams(mcp.WithField(m.Params(), state, "requestState")), nil, nil
}

// cannotAskLegacy names what the upstream wants: as text for the model where there
// is one, otherwise as an error.
func cannotAskLegacy(m *mcp.Message, asked mcp.InputRequest) *mcp.Message {
	text := "the server asks for " + asked.Method + " in the middle of the call, which cannot be carried between its protocol revision and the client's yet"
	if m.Method() == mcp.ToolsCall {
		return mcp.Answer(m.ID(), toolError(text))
	}
	return failure(m, impossible("input_required", "%s", text))
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
