package mcp

import "testing"

// call is a tools/call as a real client sends it.
var call = []byte(`{"jsonrpc":"2.0","id":17,"method":"tools/call","params":{"name":"search_issues","arguments":{"query":"is:open label:bug","repository":"example/example","limit":20,"fields":["title","author","labels"]},"_meta":{"progressToken":17}}}`)

func BenchmarkParseWithID(b *testing.B) {
	b.ReportAllocs()
	b.SetBytes(int64(len(call)))
	for b.Loop() {
		m, err := Parse(call, Inbound)
		if err != nil {
			b.Fatal(err)
		}
		m.WithID("1234567")
	}
}

// BenchmarkCall adds what a router does with a call: it looks at the name and the
// progress token, and replaces both.
func BenchmarkCall(b *testing.B) {
	b.ReportAllocs()
	b.SetBytes(int64(len(call)))
	for b.Loop() {
		m, err := Parse(call, Inbound)
		if err != nil {
			b.Fatal(err)
		}
		params := m.Params()
		if _, ok := Text(Field(params, "name")); !ok {
			b.Fatal("no name")
		}
		params = WithField(params, []byte("99"), "_meta", "progressToken")
		m.WithParams(params).WithID("1234567")
	}
}
