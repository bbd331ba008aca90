package admin

import (
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/mcpraft/mcpraft/server/adminapi"
)

// BenchmarkCarriers measures one register with a state machine that costs
// nothing, both ends in this process, 64 callers at once: over plain HTTP, over a
// stream, and against a net/http server that only reads the body.
func BenchmarkCarriers(b *testing.B) {
	f := newFixture(b, new(free))
	nothing := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = w.Write([]byte(`{"revision":1,"time":"2026-11-23T10:00:00Z"}`))
	})
	for _, c := range []struct {
		name    string
		handler http.Handler
		open    func(adminapi.Config) (*adminapi.Client, error)
	}{
		{"http", f.api, adminapi.New},
		{"nothing", nothing, adminapi.New},
		{"stream", f.api, adminapi.NewStream},
	} {
		b.Run(c.name, func(b *testing.B) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			server := &http.Server{Handler: c.handler}
			defer server.Close()
			go func() { _ = server.Serve(l) }() // ended by Close
			client, err := c.open(adminapi.Config{Addrs: []string{l.Addr().String()}, Token: secret})
			if err != nil {
				b.Fatal(err)
			}
			defer client.Close()
			location := string(make([]byte, 200))
			var next atomic.Int64
			b.ReportAllocs()
			b.SetParallelism(32)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					r := &adminapi.RegisterRequest{Type: "resource", Key: strconv.FormatInt(next.Add(1), 10), EntrySpec: adminapi.EntrySpec{OwnerNode: "n1", Metadata: map[string]string{"v": location}}}
					if _, _, err := client.Register(b.Context(), r); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
