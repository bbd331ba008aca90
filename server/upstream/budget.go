package upstream

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
)

const (
	// MaxMessage is the most bytes that one message of an upstream may have.
	MaxMessage = 16 << 20

	// maxRefusal is how much is read of the body of an HTTP error.
	maxRefusal = 1 << 20

	// firstRead is what an answer of unknown length costs to begin with.
	firstRead = 4 << 10

	// grain is how much is drawn from the budget at a time while a stream is
	// read.
	grain = 64 << 10

	// budgetWait is how long a message waits for its share of the budget.
	budgetWait = 5 * time.Second
)

// A Budget bounds the bytes of all messages in flight on a node, those of others
// too. golang.org/x/sync/semaphore.Weighted is one.
type Budget interface {
	Acquire(ctx context.Context, bytes int64) error
	Release(bytes int64)
}

var errBudget = errors.New("no room in the budget")

// A meter draws on the budget for one reader of messages, and gives back at the
// end of each message.
type meter struct {
	budget Budget
	held   int64
}

// draw takes n more bytes, at once if it can.
func (m *meter) draw(ctx context.Context, n int64) error {
	if b, ok := m.budget.(interface{ TryAcquire(bytes int64) bool }); !ok || !b.TryAcquire(n) {
		wait, cancel := context.WithTimeoutCause(ctx, budgetWait, errBudget)
		defer cancel()
		err := m.budget.Acquire(wait, n)
		if err != nil && context.Cause(wait) == errBudget {
			return fault.New(fault.Overloaded, "the messages in flight on this node take all the memory set aside for them").After(time.Second)
		}
		if err != nil {
			return err
		}
	}
	m.held += n
	return nil
}

func (m *meter) giveBack() {
	if m.held > 0 {
		m.budget.Release(m.held)
		m.held = 0
	}
}

// A meteredReader draws on the budget for what is read through it. Its user
// calls settle when a message has been handed on.
type meteredReader struct {
	ctx   context.Context
	from  io.Reader
	meter *meter
	taken int64 // since settle
}

func (r *meteredReader) Read(p []byte) (int, error) {
	n, err := r.from.Read(p[:min(len(p), grain)])
	r.taken += int64(n)
	if short := r.taken - r.meter.held; short > 0 {
		if failed := r.meter.draw(r.ctx, (short+grain-1)/grain*grain); failed != nil {
			return 0, failed
		}
	}
	return n, err
}

func (r *meteredReader) settle() {
	r.taken = 0
	r.meter.giveBack()
}

// readAll reads from to its end behind what first already holds: at most limit
// bytes, drawn from the budget. Length is what the sender announced, -1 if
// nothing; it decides how much is set aside, never how much is believed.
func readAll(ctx context.Context, m *meter, first []byte, from io.Reader, length, limit int64) ([]byte, error) {
	if length > limit {
		return nil, tooLarge(length, limit)
	}
	data := first
	for {
		if len(data) == cap(data) {
			grown, err := grow(ctx, m, data, length, limit)
			if err != nil {
				return nil, err
			}
			data = grown
		}
		n, err := from.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		if int64(len(data)) > limit {
			return nil, tooLarge(-1, limit)
		}
		if err == io.EOF {
			return data, nil
		}
		if err != nil {
			return data, err
		}
	}
}

// grow makes a larger copy of data, of twice its size or, once a good part of
// what was announced is here, of all that was announced.
func grow(ctx context.Context, m *meter, data []byte, length, limit int64) ([]byte, error) {
	size := max(2*int64(cap(data)), firstRead)
	if length > size && length <= 4*size {
		size = length + 1
	}
	size = min(size, limit+1)
	if size <= int64(cap(data)) {
		return nil, tooLarge(-1, limit)
	}
	if err := m.draw(ctx, size-int64(cap(data))); err != nil {
		return nil, err
	}
	grown := make([]byte, len(data), size)
	copy(grown, data)
	return grown, nil
}

// A tooLargeError is a message above its limit.
type tooLargeError struct {
	length int64 // announced, -1 if unknown
	limit  int64
}

func tooLarge(length, limit int64) error { return &tooLargeError{length, limit} }

func (e *tooLargeError) Error() string {
	return "a message above the limit"
}
