package raftnode

import (
	"math"
	"testing"
)

func TestABatchLeavesWhenItIsNotSmallerThanWhatIsUnderWay(t *testing.T) {
	rung := 0
	f := newFlights(2, func() { rung++ })
	want := func(least int) {
		t.Helper()
		if got := f.least(); got != least {
			t.Errorf("%d commands let a batch leave, want %d", got, least)
		}
	}
	want(1)
	f.begin(40)
	want(40)
	f.begin(50)
	want(math.MaxInt)
	f.end(40)
	want(50)
	f.end(50)
	want(1)
	if rung != 2 {
		t.Errorf("the end of two batches was told %d times", rung)
	}
}

func TestQueueTellsWhenEnoughWait(t *testing.T) {
	q := newQueue(100, 1<<20)
	push := func(n int) {
		t.Helper()
		for range n {
			if err := q.push(newPending(t.Context(), alice, []byte("x"))); err != nil {
				t.Fatal(err)
			}
		}
	}
	told := func() bool {
		select {
		case <-q.filled:
			return true
		default:
			return false
		}
	}
	if q.has(3) {
		t.Error("an empty queue has three")
	}
	if push(2); told() {
		t.Error("it was told of two")
	}
	if push(1); !told() || !q.has(3) {
		t.Error("it was not told of three")
	}
}
