package raftnode

import (
	"container/heap"
	"context"
	"sync"
)

// waits lets readers wait for the state machine to have applied an index. It
// counts what the machine applied, never what raft handed to it.
//
// Waiters sit in a heap by index, so that applying a batch wakes only those it
// satisfies: thousands of readers wait while thousands of batches go by.
type waits struct {
	mu      sync.Mutex
	applied uint64
	queue   waitQueue
	closed  error // not nil: nothing more will be applied
}

type waiter struct {
	index uint64
	at    int // position in the heap; -1 when out of it
	done  chan error
}

// wait returns when index is applied, ctx ends, or the machine stopped.
func (w *waits) wait(ctx context.Context, index uint64) error {
	w.mu.Lock()
	if w.applied >= index {
		w.mu.Unlock()
		return nil
	}
	if w.closed != nil {
		defer w.mu.Unlock()
		return w.closed
	}
	self := &waiter{index: index, done: make(chan error, 1)}
	heap.Push(&w.queue, self)
	w.mu.Unlock()

	select {
	case err := <-self.done:
		return err
	case <-ctx.Done():
		w.mu.Lock()
		if self.at >= 0 {
			heap.Remove(&w.queue, self.at)
		}
		w.mu.Unlock()
		return ctx.Err()
	}
}

// advance says that everything up to index is applied. A restored snapshot
// advances too: it holds all that was waited for up to its index.
func (w *waits) advance(index uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if index <= w.applied {
		return
	}
	w.applied = index
	for len(w.queue) > 0 && w.queue[0].index <= index {
		heap.Pop(&w.queue).(*waiter).done <- nil
	}
}

// close ends all waits, present and future, with err.
func (w *waits) close(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed != nil {
		return
	}
	w.closed = err
	for len(w.queue) > 0 {
		heap.Pop(&w.queue).(*waiter).done <- err
	}
}

// waitQueue is a heap.Interface by index.
type waitQueue []*waiter

func (q waitQueue) Len() int           { return len(q) }
func (q waitQueue) Less(i, j int) bool { return q[i].index < q[j].index }
func (q waitQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].at, q[j].at = i, j
}

func (q *waitQueue) Push(x any) {
	w := x.(*waiter)
	w.at = len(*q)
	*q = append(*q, w)
}

func (q *waitQueue) Pop() any {
	last := len(*q) - 1
	w := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	w.at = -1
	return w
}
