package router

import (
	"context"
	"testing"

	"github.com/mcpraft/mcpraft/server/exchange"
	"github.com/mcpraft/mcpraft/server/mcp"
	"github.com/mcpraft/mcpraft/server/upstream"
)

// FuzzPost holds that any message that parses is answered under its own id, by
// valid JSON, in either era, with whatever headers.
func FuzzPost(f *testing.F) {
	f.Add([]byte(addCall), "2025-11-25", "", "", true)
	f.Add([]byte(modernBody("tools/call", callParams)), "2026-07-28", "tools/call", "add", false)
	f.Add([]byte(modernBody("server/discover", "")), "2026-07-28", "server/discover", "", false)
	f.Add([]byte(modernBody("resources/read", `"uri":"a"`)), "2026-07-28", "resources/read", "=?base64?YQ==?=", true)
	f.Add([]byte(opening("2025-06-18", `{"sampling":{}}`)), "", "", "", false)
	f.Add([]byte(`{"jsonrpc":"2.0","id":1,"method":"resources/subscribe","params":{"uri":"a"}}`), "x", "", "", true)
	f.Add([]byte(`{"jsonrpc":"2.0","id":"g","result":{}}`), "", "", "", true)
	f.Fuzz(func(t *testing.T, body []byte, version, method, name string, inSession bool) {
		m, err := mcp.Parse(body, mcp.Inbound)
		if err != nil || m.Method() == mcp.SubscriptionsListen {
			return // that one does not come back
		}
		for _, up := range []mcp.Version{mcp.V20241105, mcp.V20260728} {
			w := newWorld(t)
			if w.legacyUpstream(up, `{}`); up.Modern() {
				w.modernUpstream(`{"resources":{"subscribe":true}}`)
			}
			w.open("s", mcp.V20250326, up, `{}`)
			w.answers(`{"tools":[],"content":[]}`)
			s := sent{version: version, method: method, name: name}
			if inSession {
				s.session = "s"
			}
			a, err := w.Post(t.Context(), s.request(), m, new(fakeStream))
			checkAnswer(t, m, a, err)
		}
	})
}

func checkAnswer(t *testing.T, m *mcp.Message, a exchange.Answer, err error) {
	t.Helper()
	if err != nil {
		return // the carrier answers
	}
	if a.Message == nil {
		if m.Kind() == mcp.KindRequest {
			t.Fatalf("%s was not answered", m.Bytes())
		}
		return
	}
	if m.Kind() == mcp.KindRequest && a.Message.ID() != m.ID() {
		t.Fatalf("%s answered under id %s", m.Bytes(), a.Message.ID())
	}
	if _, err := mcp.Parse(a.Message.Bytes(), mcp.FromUpstream); err != nil {
		t.Fatalf("%s answered by %s: %v", m.Bytes(), a.Message.Bytes(), err)
	}
}

// FuzzAnswer holds that whatever an upstream answers reaches a client of any
// revision as one valid message.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"audio"},{"type":"resource_link","uri":"u"}],"structuredContent":[1]}}`))
	f.Add([]byte(`{"jsonrpc":"2.0","id":7,"result":{"tools":[{"name":"a","execution":{"taskSupport":"x"},"outputSchema":{"type":"array"},"inputSchema":{"properties":{"a":{"type":"object","x-mcp-header":"A"}}}}]}}`))
	f.Add([]byte(`{"jsonrpc":"2.0","id":7,"result":{"resultType":"input_required","inputRequests":{"k":{"method":"roots/list"}},"_meta":{"x":1}}}`))
	f.Add([]byte(`{"jsonrpc":"2.0","id":7,"error":{"code":-32042,"message":"","data":{"elicitations":[{"url":"u","elicitationId":"e"}]}}}`))
	f.Add([]byte(`{"jsonrpc":"2.0","id":7,"error":{"code":-32021,"message":"","data":1}}`))
	f.Fuzz(func(t *testing.T, answer []byte) {
		parsed, err := mcp.Parse(answer, mcp.FromUpstream)
		if err != nil || parsed.Method() != "" {
			return
		}
		call := func(_ context.Context, _ upstream.Caller, m *mcp.Message, _ upstream.Sink) (*mcp.Message, error) {
			return parsed.WithID(m.ID()), nil
		}
		for _, method := range []string{"tools/call", "tools/list", "prompts/get", "resources/read"} {
			for _, client := range mcp.Versions() {
				w := newWorld(t)
				w.legacyUpstream(mcp.V20251125, `{}`)
				w.upstreams.call = call
				w.open("s", client, mcp.V20251125, `{}`)
				s, body := sent{session: "s"}, `{"jsonrpc":"2.0","id":7,"method":"`+method+`","params":{"name":"a","uri":"a"}}`
				if client.Modern() {
					s, body = modernSent(method, "a"), modernBody(method, `"name":"a","uri":"a"`)
				}
				m := parse(t, body)
				if _, waits := mcp.RequestState(parsed.Result()); waits && !client.Modern() {
					continue // it would be sent again after a pause
				}
				a, err := w.Post(t.Context(), s.request(), m, new(fakeStream))
				checkAnswer(t, m, a, err)
			}
		}
	})
}
