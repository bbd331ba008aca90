package upstream_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/server/mcp"
	"github.com/mcpraft/mcpraft/server/upstream"
)

var (
	benchCall   = []byte(`{"jsonrpc":"2.0","id":123456,"method":"tools/call","params":{"name":"echo","arguments":{"text":"hello hello hello"}}}`)
	benchResult = []byte(`{"content":[{"type":"text","text":"hello hello hello"}]}`)
)

// nativeUpstream answers at once, over real TCP.
func nativeUpstream(b *testing.B) *httptest.Server {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, _ := io.ReadAll(r.Body)
		m, err := mcp.Parse(data, mcp.Inbound)
		switch {
		case err != nil:
			w.WriteHeader(http.StatusBadRequest)
		case m.Kind() != mcp.KindRequest:
			w.WriteHeader(http.StatusAccepted)
		default:
			w.Header().Set("Content-Type", "application/json")
			result := benchResult
			if m.Method() == mcp.Initialize {
				w.Header().Set("Mcp-Session-Id", "s")
				result = []byte(`{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"n","version":"1"}}`)
			}
			w.Write(mcp.Answer(m.ID(), result).Bytes())
		}
	}))
	b.Cleanup(server.Close)
	return server
}

// BenchmarkCall is a tools/call with a JSON answer; BenchmarkPlain is what
// net/http alone costs for the same bytes against the same server.
func BenchmarkCall(b *testing.B) {
	server := nativeUpstream(b)
	ups := upstream.New(upstream.Config{AllowPrivate: true, Lookup: func(string) (record.Upstream, error) {
		return record.Upstream{Alias: "up", Transport: "http", URL: server.URL, Revision: 1}, nil
	}})
	m, err := mcp.Parse(benchCall, mcp.Inbound)
	if err != nil {
		b.Fatal(err)
	}
	c := user("a")
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := ups.Call(b.Context(), "up", c, m, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkPlain(b *testing.B) {
	server := nativeUpstream(b)
	transport := &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true}
	defer transport.CloseIdleConnections()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, server.URL, bytes.NewReader(benchCall))
			if err != nil {
				b.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("Accept", "application/json, text/event-stream")
			res, err := transport.RoundTrip(req)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadAll(res.Body); err != nil {
				b.Fatal(err)
			}
			res.Body.Close()
		}
	})
}
