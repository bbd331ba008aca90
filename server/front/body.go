package front

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// A body grows from the first of these to what was declared, or beyond it by
// doubling: memory is taken for what was sent, not for what was promised.
const firstRead = 32 << 10

// A body is what was read of a request, and its share of the budget.
type body struct {
	data   []byte
	budget Budget
	held   int64
}

// release gives the share back. The data may still be in use; it is then on its
// way out.
func (b *body) release() {
	if b.held > 0 {
		b.budget.Release(b.held)
		b.held = 0
	}
}

// checkSize refuses a body that says it is too large.
func checkSize(r *http.Request) error {
	if r.ContentLength > MaxBody {
		return tooLarge().WithDetail("found", "declared")
	}
	return nil
}

func tooLarge() *fault.Error {
	return fault.New(fault.TooLarge, "the body has more than %d bytes", MaxBody).
		WithHint("send less in one message; large contents belong into resources")
}

// limitBody gives the body of r bodyTimeout to arrive, also one that nobody will
// read: net/http reads it before it writes a refusal.
func limitBody(r *http.Request, rc *http.ResponseController) {
	if r.ContentLength != 0 {
		_ = rc.SetReadDeadline(time.Now().Add(bodyTimeout)) // not every carrier of a test has one
	}
}

// read reads the body of r within the limit, the budget and the time of limitBody.
func (b *body) read(r *http.Request, rc *http.ResponseController) error {
	if r.ContentLength == 0 || r.Body == nil {
		return nil
	}
	size := r.ContentLength
	if size < 0 || size > firstRead {
		size = firstRead
	}
	if err := b.grow(r.Context(), int(size)); err != nil {
		return err
	}
	if err := b.fill(r); err != nil {
		return err
	}
	_ = rc.SetReadDeadline(time.Time{}) // what is read from here on is only the client leaving
	return nil
}

func (b *body) fill(r *http.Request) error {
	for {
		if len(b.data) == cap(b.data) {
			if len(b.data) > MaxBody {
				return tooLarge()
			}
			if int64(len(b.data)) == r.ContentLength {
				break
			}
			if err := b.grow(r.Context(), b.next(r.ContentLength)); err != nil {
				return err
			}
		}
		n, err := r.Body.Read(b.data[len(b.data):cap(b.data)])
		b.data = b.data[:len(b.data)+n]
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fault.New(fault.Invalid, "the body ended after %d bytes, or came too slowly: %w", len(b.data), err).
				WithHint("a body must be complete within %v", bodyTimeout)
		}
	}
	if len(b.data) > MaxBody {
		return tooLarge()
	}
	return nil
}

// next is the capacity after the present one: twice as much, but no more than
// what was declared, nor than the limit and the byte that shows it passed.
func (b *body) next(declared int64) int {
	size := min(2*cap(b.data), MaxBody+1)
	if declared > 0 {
		size = min(size, int(declared))
	}
	return size
}

// grow makes room for size bytes once the budget has them.
func (b *body) grow(ctx context.Context, size int) error {
	more := int64(size - cap(b.data))
	if !b.budget.TryAcquire(more) {
		waiting, cancel := context.WithTimeout(ctx, budgetTimeout)
		defer cancel()
		if err := b.budget.Acquire(waiting, more); err != nil {
			return fault.New(fault.Overloaded, "this node holds as many bytes of messages as it may").
				WithHint("try again in a moment, or another node").After(time.Second)
		}
	}
	b.held += more
	data := make([]byte, len(b.data), size)
	copy(data, b.data)
	b.data = data
	return nil
}

// checkType refuses what is clearly something else than JSON. Clients leave the
// media type out, or send one of the many names that JSON has had.
func checkType(h http.Header) error {
	if encoding := h.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return fault.New(fault.UnsupportedFormat, "the body is encoded as %q", encoding).
			WithHint("send it as it is: messages are small")
	}
	value := h.Get("Content-Type")
	media, _, _ := strings.Cut(value, ";")
	media = strings.ToLower(strings.TrimSpace(media))
	if media == "" || media == "text/plain" || media == "application/octet-stream" || strings.Contains(media, "json") {
		return nil
	}
	return fault.New(fault.UnsupportedFormat, "the body is of type %q", value).
		WithHint("send one JSON-RPC message with Content-Type: application/json")
}
