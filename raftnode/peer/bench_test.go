package peer

import "testing"

// BenchmarkCall is one small call after another from many goroutines over TLS on
// loopback, both ends in this process.
func BenchmarkCall(b *testing.B) {
	w := newWorld(b)
	w.mem = nil
	n1, _ := w.start("n1", setup{}), w.start("n2", setup{}).echo()
	body := make([]byte, 256)
	ctx := b.Context()
	if _, err := n1.Call(ctx, "n2", opEcho, body); err != nil {
		b.Fatal(err)
	}
	b.SetParallelism(128)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := n1.Call(ctx, "n2", opEcho, body); err != nil {
				b.Error(err)
			}
		}
	})
}
