package server

import (
	"context"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"
)

// messageBytes bounds the bytes of all messages that a node holds at once, those of
// clients and those of upstreams.
const messageBytes = 512 << 20

// A messageBudget is what they are drawn from; see front.Budget and upstream.Budget.
type messageBudget struct {
	room *semaphore.Weighted
	used atomic.Int64
}

func newMessageBudget(r prometheus.Registerer) *messageBudget {
	b := &messageBudget{room: semaphore.NewWeighted(messageBytes)}
	r.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "mcpraft_message_bytes",
			Help: "Memory of the messages in flight, of clients and upstreams.",
		}, func() float64 { return float64(b.used.Load()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "mcpraft_message_bytes_limit",
			Help: "Bound of mcpraft_message_bytes; what would exceed it waits, then is refused.",
		}, func() float64 { return messageBytes }))
	return b
}

// TryAcquire takes n bytes if they are there.
func (b *messageBudget) TryAcquire(n int64) bool {
	ok := b.room.TryAcquire(n)
	if ok {
		b.used.Add(n)
	}
	return ok
}

// Acquire takes n bytes, waiting for them until ctx ends.
func (b *messageBudget) Acquire(ctx context.Context, n int64) error {
	err := b.room.Acquire(ctx, n)
	if err == nil {
		b.used.Add(n)
	}
	return err
}

// Release gives n bytes back.
func (b *messageBudget) Release(n int64) {
	b.used.Add(-n)
	b.room.Release(n)
}
