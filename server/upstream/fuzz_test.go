package upstream

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"testing"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/mcp"
)

// fixed is a carrier that gives one answer to everything.
type fixed struct {
	status      int
	contentType string
	body        []byte
}

func (f fixed) send(context.Context, *request) (*response, error) {
	header := http.Header{"Content-Type": {f.contentType}, "Location": {"/elsewhere"}}
	return &response{status: f.status, header: header, length: -1, body: io.NopCloser(bytes.NewReader(f.body))}, nil
}

// counter is a budget that notices what is not given back.
type counter struct{ held int64 }

func (c *counter) Acquire(_ context.Context, n int64) error { c.held += n; return nil }
func (c *counter) Release(n int64)                          { c.held -= n }

// Whatever an upstream answers, it is a message that answers the request, or an
// error that a stranger may read; and the budget gets back what it gave.
func FuzzAnswer(f *testing.F) {
	for _, body := range []string{
		`{"jsonrpc":"2.0","id":1,"result":{}}`, `{"jsonrpc":"2.0","id":"1","error":{"code":1,"message":"m"}}`,
		`[{"jsonrpc":"2.0","id":1,"result":{}}]`, "data: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\n",
		"id: 1\nretry: 5\ndata:\n\n: c\n\nevent: message\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progressToken\":1}}\n\n",
		"<html>", "", "\xef\xbb\xbf {", "session not found", `{"jsonrpc":"2.0","error":{"code":-32022,"message":"m","data":{"supported":["2026-07-28",1]}}}`,
	} {
		for _, contentType := range []string{"application/json", "text/event-stream", "text/plain"} {
			f.Add(200, contentType, []byte(body))
		}
		f.Add(404, "text/plain", []byte(body))
		f.Add(307, "", []byte(body))
	}
	f.Fuzz(func(t *testing.T, status int, contentType string, data []byte) {
		if status < 200 || status > 599 {
			return
		}
		budget := &counter{}
		u := New(Config{Budget: budget})
		up, err := newUpstream(u, recordFor("http://up.example/"))
		if err != nil {
			t.Fatal(err)
		}
		up.carrier = fixed{status, contentType, data}
		st := &state{version: mcp.V20251125, id: "s"}
		p := &path{up: up, era: &era{}, session: newSession(up, key{}), state: st}
		c, err := p.newCall(t.Context(), &Caller{}, mcp.Request("7", mcp.ToolsCall, []byte(`{"name":"t","_meta":{"progressToken":"p"}}`)), nil)
		if err != nil {
			t.Fatal(err)
		}
		c.id = "1"
		c.clock = &clock{}
		ctx, clock := startClock(t.Context(), c.timeout, c.timeout)
		defer clock.stop()
		c.clock, c.asks = clock, newAsks(up, nil, func(context.Context, *mcp.Message) error { return nil }, nil)
		answer, err := onlyOnce(ctx, c)
		c.asks.end()
		if budget.held != 0 {
			t.Errorf("%d bytes of the budget are lost", budget.held)
		}
		if err == nil {
			if !answers(answer, "1") || status >= 300 {
				t.Errorf("%d gave %s", status, answer.Bytes())
			}
			return
		}
		clear := fault.As(up.fault(err))
		if clear.Kind == fault.Internal || clear.Message == "" || !printable(clean(clear.Message)) && !isText(clear.Message) {
			t.Errorf("%v became %v %q", err, clear.Kind, clear.Message)
		}
		if r, ok := errors.AsType[*refusal](err); ok {
			_ = r.Error()
			_ = r.lostSession(true)
			_, _ = judged(r, mcp.V20260728)
			_ = newestModern(r.supported())
		}
	})
}

// onlyOnce is exchange without resuming: the same answer would come again.
func onlyOnce(ctx context.Context, c *call) (*mcp.Message, error) {
	res, err := c.up.send(ctx, &request{method: http.MethodPost, url: c.to, header: c.header, body: c.body})
	if err != nil {
		return nil, err
	}
	b, err := openBody(ctx, c.up.ups.o.Budget, res)
	if err != nil {
		return nil, err
	}
	defer b.close()
	switch {
	case res.status >= 300:
		return nil, readRefusal(ctx, b)
	case b.form == formStream:
		return c.read(ctx, b)
	case b.form == formJSON:
		return c.whole(ctx, b)
	}
	return nil, errGarbage
}

func isText(s string) bool {
	for _, r := range s {
		if r < ' ' {
			return false
		}
	}
	return true
}

func recordFor(url string) record.Upstream {
	return record.Upstream{Alias: "up", Transport: record.TransportHTTP, URL: url, Revision: 1}
}
