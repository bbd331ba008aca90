package raftnode

import (
	"context"
	"strconv"
	"sync"
	"time"
)

// signal wakes everyone who waits when something has changed.
type signal struct {
	mu sync.Mutex
	c  chan struct{}
}

// wait is closed at the next fire. Take it before looking at what may change.
func (s *signal) wait() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.c == nil {
		s.c = make(chan struct{})
	}
	return s.c
}

func (s *signal) fire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.c != nil {
		close(s.c)
		s.c = nil
	}
}

// sleep returns at the next fire after c was taken, after d, or when ctx ends.
func (s *signal) sleep(ctx context.Context, c <-chan struct{}, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-c:
	case <-t.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
