package logstore

import "time"

// A countdown is a deadline that counts the time in which this process runs: one
// that was stopped, or whose machine was frozen, has not waited for its disk
// meanwhile. It comes in parts, of which each is counted once, however late.
type countdown struct {
	timer *time.Timer // for one part
	part  time.Duration
	parts int // left
}

const countdownParts = 10

func newCountdown(limit time.Duration) *countdown {
	part := limit / countdownParts
	return &countdown{timer: time.NewTimer(part), part: part, parts: countdownParts}
}

// over is called when the timer has fired, and reports whether all time has passed.
func (c *countdown) over() bool {
	if c.parts--; c.parts > 0 {
		c.timer.Reset(c.part)
		return false
	}
	return true
}
