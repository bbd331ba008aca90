package main

import (
	"fmt"
	"time"
)

// How often progress is told: to a person in one line that changes, elsewhere in
// lines of a log.
const (
	progressAtTerminal = 200 * time.Millisecond
	progressElsewhere  = 10 * time.Second
)

// A progress tells how far long work on bytes is, on standard error. It is for one
// goroutine.
type progress struct {
	a        *app
	what     string // completes "so many bytes …"
	terminal bool
	began    time.Time
	told     time.Time
	n        int64
}

func (a *app) progress(what string) *progress {
	now := time.Now()
	return &progress{a: a, what: what, terminal: isTerminal(a.stderr), began: now, told: now}
}

// Write counts p.
func (p *progress) Write(b []byte) (int, error) {
	p.reach(p.n + int64(len(b)))
	return len(b), nil
}

// reach says that n bytes are done.
func (p *progress) reach(n int64) {
	p.n = n
	every := progressElsewhere
	if p.terminal {
		every = progressAtTerminal
	}
	if time.Since(p.told) < every {
		return
	}
	p.told = time.Now()
	if p.terminal {
		fmt.Fprintf(p.a.stderr, "\r\x1b[K%s %s, %v", sizeOf(p.n), p.what, time.Since(p.began).Round(time.Second))
		return
	}
	p.a.note("%s %s, %v", sizeOf(p.n), p.what, time.Since(p.began).Round(time.Second))
}

// end takes the line of a terminal away.
func (p *progress) end() {
	if p.terminal {
		fmt.Fprint(p.a.stderr, "\r\x1b[K")
	}
}

// sizeOf is a number of bytes for people.
func sizeOf(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, prefix := float64(n)/unit, 0
	for value >= unit && prefix < 3 {
		value /= unit
		prefix++
	}
	return fmt.Sprintf("%.1f %ciB", value, "KMGT"[prefix])
}
