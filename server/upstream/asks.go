package upstream

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/mcp"
)

// MaxAsks is how many requests of an upstream are answered at once on one
// stream; those beyond are refused.
const MaxAsks = 16

// backWait bounds the sending of an answer to an upstream, backGrace what is left
// of it when the call ends meanwhile.
const (
	backWait  = 30 * time.Second
	backGrace = time.Second
)

type askFunc func(ctx context.Context, m *mcp.Message) (*mcp.Message, error)

// asks answers the requests that an upstream sends on one stream. Each is
// answered on its own goroutine: the stream goes on meanwhile.
type asks struct {
	up     *upstream
	answer askFunc                                         // nil refuses
	send   func(ctx context.Context, m *mcp.Message) error // to the upstream
	clock  *clock                                          // stands still while something is asked; nil: none

	running sync.WaitGroup
	mu      sync.Mutex
	cancels map[mcp.ID]context.CancelFunc // of what runs
	over    bool
}

func newAsks(up *upstream, answer askFunc, send func(context.Context, *mcp.Message) error, clock *clock) *asks {
	return &asks{up: up, answer: answer, send: send, clock: clock}
}

// take begins to answer m and does not wait for it, unless there is no place: then
// nothing more is read until the upstream has heard that.
func (a *asks) take(ctx context.Context, m *mcp.Message) {
	ctx, cancel := context.WithCancel(ctx)
	answer := a.answer
	a.mu.Lock()
	if _, twice := a.cancels[m.ID()]; a.over || twice || len(a.cancels) >= MaxAsks {
		a.mu.Unlock()
		defer cancel()
		a.refuse(ctx, m)
		return
	}
	if a.cancels == nil {
		a.cancels = make(map[mcp.ID]context.CancelFunc)
	}
	a.cancels[m.ID()] = cancel
	a.mu.Unlock()
	a.running.Go(func() {
		defer a.done(m.ID())
		a.run(ctx, answer, m)
	})
}

func (a *asks) refuse(ctx context.Context, m *mcp.Message) {
	a.up.metrics.askRefused()
	why := fmt.Sprintf("more than %d requests at once, or one id twice", MaxAsks)
	a.back(ctx, mcp.Failed(m.ID(), &mcp.Error{Code: mcp.CodeInternal, Message: why}))
}

func (a *asks) done(id mcp.ID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cancels[id]()
	delete(a.cancels, id)
}

// run answers one request.
func (a *asks) run(ctx context.Context, answer askFunc, m *mcp.Message) {
	var reply *mcp.Message
	switch {
	case m.Method() == mcp.Ping:
		reply = mcp.Answer(m.ID(), nil)
	case answer == nil:
		a.up.metrics.askRefused()
		reply = mcp.Failed(m.ID(), &mcp.Error{Code: mcp.CodeMethodNotFound, Message: "no client is there to answer " + m.Method()})
	default:
		reply = a.put(ctx, answer, m)
	}
	if ctx.Err() == nil { // else the upstream has withdrawn it, or the call is over
		a.back(ctx, reply)
	}
}

// back sends a reply. One that is on its way when the call ends gets a moment
// more: the upstream may have acted on it before it answered the POST.
func (a *asks) back(ctx context.Context, reply *mcp.Message) {
	sending, cancel := context.WithTimeout(context.WithoutCancel(ctx), backWait)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(backGrace, cancel) })
	defer stop()
	if err := a.send(sending, reply); err != nil && ctx.Err() == nil {
		a.up.log.Warn("answer did not reach the upstream", "error", err)
	}
}

// put puts a request to the client.
func (a *asks) put(ctx context.Context, answer askFunc, m *mcp.Message) *mcp.Message {
	if a.clock != nil {
		a.clock.pause()
		defer a.clock.resume()
	}
	reply, err := answer(ctx, m)
	if err == nil && reply == nil {
		err = fault.New(fault.Internal, "no answer")
	}
	if err != nil {
		return mcp.Failed(m.ID(), mcp.FromFault(err, ""))
	}
	return reply.WithID(m.ID())
}

// cancel ends the asking of the request id, which the upstream has withdrawn.
func (a *asks) cancel(id mcp.ID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if cancel := a.cancels[id]; cancel != nil {
		cancel()
	}
}

// end ends all asking and waits for it.
func (a *asks) end() {
	a.mu.Lock()
	a.over = true
	for _, cancel := range a.cancels {
		cancel()
	}
	a.mu.Unlock()
	a.running.Wait()
}
