package front

import (
	"testing"
	"time"
)

func TestARateIsThatOfTheLastTenWholeSeconds(t *testing.T) {
	var r rate
	begun := time.Unix(1_800_000_000, 0)
	for second := range 40 {
		for range second {
			r.mark(begun.Add(time.Duration(second) * time.Second))
		}
	}
	// 29 to 38; the second that has just begun does not count.
	if got, want := r.recent(begun.Add(39*time.Second+time.Millisecond)), uint64((29+38)*10/2); got != want {
		t.Errorf("recent = %d, want %d", got, want)
	}
	if got := r.recent(begun.Add(49 * time.Second)); got != 39 {
		t.Errorf("ten seconds later: %d, want 39", got)
	}
	if got := r.recent(begun.Add(time.Hour)); got != 0 {
		t.Errorf("an hour later: %d", got)
	}
}
