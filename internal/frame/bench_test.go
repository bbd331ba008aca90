package frame

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// BenchmarkCall measures calls of 64 bytes over loopback TCP with both ends in
// this process. One operation is one call; calls/s is what to compare.
//
//	go test -run '^$' -bench Call -benchmem ./internal/frame
func BenchmarkCall(b *testing.B) {
	for _, c := range []struct{ conns, callers int }{{1, 256}, {4, 256}, {16, 256}} {
		b.Run(fmt.Sprintf("conns=%d/callers=%d", c.conns, c.callers), func(b *testing.B) {
			benchmarkCall(b, c.conns, c.callers)
		})
	}
}

func benchmarkCall(b *testing.B, conns, callers int) {
	echo := HandlerFunc(func(_ context.Context, _ uint16, body []byte) (uint8, []byte) {
		return 0, append([]byte(nil), body...)
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()

	var wg sync.WaitGroup
	var clients []*Conn
	for range conns {
		near, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		far, err := l.Accept()
		if err != nil {
			b.Fatal(err)
		}
		client, server := NewConn(near, Options{}), NewConn(far, Options{Handler: echo})
		wg.Go(func() { _ = client.Run(b.Context()) })
		wg.Go(func() { _ = server.Run(b.Context()) })
		clients = append(clients, client)
	}
	defer wg.Wait()
	defer func() {
		for _, c := range clients {
			c.Close()
		}
	}()

	body := make([]byte, 64)
	var next atomic.Int64
	b.ReportAllocs()
	b.SetParallelism(max(1, callers/runtime.GOMAXPROCS(0)))
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		c := clients[int(next.Add(1))%conns]
		for pb.Next() {
			if _, _, err := c.Call(b.Context(), 1, body); err != nil {
				b.Error(err)
			}
		}
	})
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
}
