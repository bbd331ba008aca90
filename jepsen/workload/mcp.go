package workload

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/jepsen/history"
)

// alias is what the upstream of the harness is called.
const alias = "tool"

// protocol is the revision that clients speak: the newest with sessions.
const protocol = "2025-11-25"

// direct makes a new connection for each request, so that none is sent on one
// that a killed node has left behind, and none is sent again.
var direct = &http.Transport{DisableKeepAlives: true}

// maxAnswer bounds what is read of one answer.
const maxAnswer = 1 << 20

// A packet is one HTTP request to the MCP port of a node.
type packet struct {
	method, node, session, event, token, body string
}

// send sends it once.
func (c *Client) send(ctx context.Context, p packet) (*http.Response, error) {
	url := "http://" + c.Cluster.Node(p.node).MCP + "/servers/" + alias + "/mcp"
	r, err := http.NewRequestWithContext(ctx, p.method, url, strings.NewReader(p.body))
	if err != nil {
		return nil, err
	}
	r.GetBody = nil // nothing is sent twice
	r.Header.Set("Authorization", "Bearer "+p.token)
	r.Header.Set("Accept", "application/json, text/event-stream")
	if p.method == http.MethodGet {
		r.Header.Set("Accept", "text/event-stream")
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Mcp-Protocol-Version", protocol)
	for key, value := range map[string]string{"Mcp-Session-Id": p.session, "Last-Event-Id": p.event} {
		if value != "" {
			r.Header.Set(key, value)
		}
	}
	a, err := direct.RoundTrip(r)
	if err != nil {
		return nil, transportError(err)
	}
	return a, nil
}

// transportError is err as a fault: a connection that was not made has carried
// nothing, anything else may have carried the request.
func transportError(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return fault.New(fault.Unreachable, "%v", err)
	}
	return fault.New(fault.OutcomeUnknown, "no answer: %v", err)
}

// A message is what a node or the upstream says.
type message struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params struct {
		Progress float64 `json:"progress"`
	} `json:"params"`
	Result *struct {
		Content []struct {
			Text string `json:"text"`
		} `json:"content"`
		IsError bool `json:"isError"`
	} `json:"result"`
	Error *struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
		Data    struct {
			Gateway struct {
				Reason string `json:"reason"`
			} `json:"gateway"`
		} `json:"data"`
	} `json:"error"`
}

// text is the first text of a result.
func (m *message) text() string {
	if m.Result == nil || len(m.Result.Content) == 0 {
		return ""
	}
	return m.Result.Content[0].Text
}

// nodeLost is the reason of a call whose outcome nobody knows any more.
const nodeLost = "node_lost"

// fault is the error of an answer, nil if it has a result. An error without a
// reason of the gateway is the upstream's own.
func (m *message) fault() error {
	switch {
	case m.Error == nil && m.Result == nil:
		return fault.New(fault.Internal, "an answer without result and error")
	case m.Error == nil:
		return nil
	case m.Error.Data.Gateway.Reason == nodeLost:
		return fault.New(fault.OutcomeUnknown, "%s: %s", nodeLost, m.Error.Message)
	case m.Error.Data.Gateway.Reason == fault.Timeout.String(): // the upstream may still carry it out
		return fault.New(fault.OutcomeUnknown, "no answer in time: %s", m.Error.Message)
	case m.Error.Data.Gateway.Reason == "":
		return fault.New(fault.Internal, "the gateway gives no reason: %d %s", m.Error.Code, m.Error.Message)
	default:
		return fault.New(fault.Parse(m.Error.Data.Gateway.Reason), "%s", m.Error.Message)
	}
}

// statusFault is what an HTTP status says before anything of the answer is read.
func statusFault(a *http.Response, body []byte) error {
	var m message
	_ = json.Unmarshal(body, &m) // not every refusal is of JSON-RPC
	switch {
	case a.StatusCode < 300:
		return nil
	case m.Error != nil && m.Error.Data.Gateway.Reason != "":
		return m.fault()
	case a.StatusCode == http.StatusNotFound:
		return fault.New(fault.NotFound, "404 %s", body)
	case a.StatusCode == http.StatusMethodNotAllowed:
		return fault.New(fault.Conflict, "405 %s", body)
	case a.StatusCode == http.StatusServiceUnavailable, a.StatusCode == http.StatusTooManyRequests:
		return fault.New(fault.Unavailable, "%d %s", a.StatusCode, body)
	case a.StatusCode == http.StatusGatewayTimeout:
		return fault.New(fault.OutcomeUnknown, "504 %s", body)
	default:
		return fault.New(fault.Internal, "%d %s", a.StatusCode, body)
	}
}

// exchange sends a packet and reads the whole answer, JSON or the last message of
// an event stream.
func (c *Client) exchange(ctx context.Context, p packet, o *history.Operation) (message, http.Header, error) {
	var m message
	a, err := c.send(ctx, p)
	if err != nil {
		return m, nil, err
	}
	defer a.Body.Close()
	o.Status = a.StatusCode
	if strings.HasPrefix(a.Header.Get("Content-Type"), "text/event-stream") && a.StatusCode == http.StatusOK {
		for e, err := range events(a.Body) {
			if err != nil {
				return m, a.Header, err
			}
			if e.message.Result != nil || e.message.Error != nil {
				return e.message, a.Header, nil
			}
		}
		return m, a.Header, fault.New(fault.OutcomeUnknown, "the stream ended without an answer")
	}
	body, err := io.ReadAll(io.LimitReader(a.Body, maxAnswer))
	if err != nil {
		return m, a.Header, fault.New(fault.OutcomeUnknown, "the answer broke off: %v", err)
	}
	if err := statusFault(a, body); err != nil {
		return m, a.Header, err
	}
	if len(body) > 0 {
		if err := json.Unmarshal(body, &m); err != nil {
			return m, a.Header, fault.New(fault.Internal, "the answer is no JSON: %v: %.80q", err, body)
		}
	}
	return m, a.Header, nil
}

// An event of a stream.
type event struct {
	id      string
	message message
}

// events reads a stream until it ends; an error is one of the connection.
func events(r io.Reader) func(yield func(event, error) bool) {
	return func(yield func(event, error) bool) {
		lines := bufio.NewScanner(r)
		lines.Buffer(nil, maxAnswer)
		var e event
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), ":")
			value = strings.TrimPrefix(value, " ")
			switch name {
			case "id":
				e.id = value
			case "data":
				if value != "" {
					_ = json.Unmarshal([]byte(value), &e.message) // what is no message has no result
				}
			case "":
				if lines.Text() != "" {
					continue // a comment
				}
				if !yield(e, nil) {
					return
				}
				e = event{}
			}
		}
		if err := lines.Err(); err != nil {
			yield(event{}, fault.New(fault.OutcomeUnknown, "the stream broke off: %v", err))
		}
	}
}

func request(id int, method, params string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":%q,"params":%s}`, id, method, params)
}

const (
	initialize  = `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"` + protocol + `","capabilities":{},"clientInfo":{"name":"jepsen","version":"1"}}}`
	initialized = `{"jsonrpc":"2.0","method":"notifications/initialized"}`
	ping        = `{"jsonrpc":"2.0","id":1,"method":"ping"}`
)
