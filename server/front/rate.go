package front

import (
	"sync/atomic"
	"time"
)

// rateWindow is how many whole seconds RecentMessages looks back.
const rateWindow = 10

// A rate counts what happens in each of the last seconds. Any goroutine may use
// it; counting is one addition.
type rate struct {
	seconds [2 * rateWindow]atomic.Uint64 // the second in the upper half, what it counted in the lower
}

// mark counts one at now.
func (r *rate) mark(now time.Time) {
	second := uint64(uint32(now.Unix()))
	slot := &r.seconds[second%uint64(len(r.seconds))]
	for {
		have := slot.Load()
		want := second<<32 | 1
		if have>>32 == second {
			want = have + 1
		}
		if slot.CompareAndSwap(have, want) {
			return
		}
	}
}

// recent is what was counted in the last rateWindow whole seconds before now.
func (r *rate) recent(now time.Time) (n uint64) {
	second := uint64(uint32(now.Unix()))
	for past := uint64(1); past <= rateWindow; past++ {
		if have := r.seconds[(second-past)%uint64(len(r.seconds))].Load(); have>>32 == second-past {
			n += have & (1<<32 - 1)
		}
	}
	return n
}
