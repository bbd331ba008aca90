package workload

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/jepsen/history"
)

const (
	streamSteps = 12
	streamDelay = 150 * time.Millisecond
	maxHops     = 8 // times that a stream is resumed
)

// tools calls tools through all nodes, in a session that was opened on any of them.
// Each call has a name that the upstream counts and says back.
func (c *Client) tools() func(context.Context) {
	var in session
	return func(context.Context) {
		if in.id == "" || c.rng.IntN(50) == 0 {
			if s, ok := c.open(c.node()); ok {
				in = s
			}
			return
		}
		if c.rng.IntN(6) == 0 {
			c.stream(in)
			return
		}
		c.call(in)
	}
}

// arguments of a call.
type arguments struct {
	Key   string        `json:"key"`
	Steps int           `json:"steps,omitempty"`
	Delay time.Duration `json:"delay,omitempty"`
}

func toolCall(a arguments) string {
	args, err := json.Marshal(a)
	if err != nil {
		panic(err) // of two numbers and a text
	}
	return request(7, "tools/call", `{"name":"mark","arguments":`+string(args)+`,"_meta":{"progressToken":"p"}}`)
}

func (c *Client) call(in session) {
	o := c.begin(c.node(), history.Call, c.value())
	ctx, cancel := c.patience()
	defer cancel()
	m, _, err := c.exchange(ctx, packet{method: http.MethodPost, node: o.Node, session: in.id, token: c.token, body: toolCall(arguments{Key: o.Key})}, &o)
	if err == nil {
		err = m.fault()
	}
	o.Result = m.text()
	c.finish(&o, err)
}

// stream calls a tool that reports progress, and goes to another node with the last
// event that it got whenever the stream ends before the answer. Now and then it
// breaks the stream itself.
func (c *Client) stream(in session) {
	o := c.begin(c.node(), history.Stream, c.value())
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	p := packet{method: http.MethodPost, node: o.Node, session: in.id, token: c.token, body: toolCall(arguments{o.Key, streamSteps, streamDelay})}
	last := ""
	answered, err := c.follow(ctx, p, &o, &last)
	for !answered && last != "" && o.Hops < maxHops {
		o.Hops++
		c.rest(ctx, 200*time.Millisecond)
		answered, err = c.follow(ctx, packet{method: http.MethodGet, node: c.node(), session: in.id, token: c.token, event: last}, &o, &last)
	}
	if !answered && last != "" {
		err = fault.New(fault.OutcomeUnknown, "given up after %d resumptions: %v", o.Hops, err)
	}
	c.finish(&o, err)
}

// follow reads one stream of a call. Without an answer, err is why it ended; with
// one, it is the error that was answered.
func (c *Client) follow(ctx context.Context, p packet, o *history.Operation, last *string) (answered bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if c.rng.IntN(3) == 0 { // a client with a bad line
		stop := time.AfterFunc(time.Duration(200+c.rng.IntN(1500))*time.Millisecond, cancel)
		defer stop.Stop()
	}
	a, err := c.send(ctx, p)
	if err != nil {
		return false, err
	}
	defer a.Body.Close()
	o.Status = a.StatusCode
	if a.StatusCode != http.StatusOK || !strings.HasPrefix(a.Header.Get("Content-Type"), "text/event-stream") {
		return c.plain(a, o)
	}
	for e, err := range events(a.Body) {
		if err != nil {
			return false, err
		}
		if e.id != "" {
			*last = e.id
		}
		if e.message.Method == "notifications/progress" {
			o.Steps = append(o.Steps, int(e.message.Params.Progress))
		}
		if e.message.Result != nil || e.message.Error != nil {
			o.Result = e.message.text()
			return true, e.message.fault()
		}
	}
	return false, fault.New(fault.OutcomeUnknown, "the stream ended without an answer")
}

// plain reads an answer that is no stream.
func (c *Client) plain(a *http.Response, o *history.Operation) (answered bool, err error) {
	body, err := io.ReadAll(io.LimitReader(a.Body, maxAnswer))
	if err != nil {
		return false, fault.New(fault.OutcomeUnknown, "the answer broke off: %v", err)
	}
	if err := statusFault(a, body); err != nil {
		return false, err
	}
	var m message
	if err := json.Unmarshal(body, &m); err != nil {
		return true, fault.New(fault.Internal, "the answer is no JSON: %v: %.80q", err, body)
	}
	o.Result = m.text()
	return true, m.fault()
}
