package logstore

import (
	"testing"
	"testing/synctest"
	"time"
)

// A process that was stopped for longer than the deadline, or whose machine was,
// has not waited for its disk all that time.
func TestTimeInWhichTheProcessIsFrozenIsNotTheDisks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 5 * time.Second
		left := newCountdown(limit)
		time.Sleep(time.Minute) // nobody looks at the timer
		woken := time.Now()
		for <-left.timer.C; !left.over(); <-left.timer.C {
		}
		if waited := time.Since(woken); waited < limit*4/5 {
			t.Errorf("after a minute in which it was frozen it waits %v for its disk, want nearly %v", waited, limit)
		}
	})
}
