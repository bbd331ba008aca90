package bridge

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/mcp"
)

const (
	maxRequests = 1024             // of the client at once; more are refused
	maxAnswer   = 16 << 20         // bytes of one message of the gateway
	patience    = 20 * time.Second // for a node that takes a request, or goes on with a stream
	firstWait   = 100 * time.Millisecond
	longestWait = 2 * time.Second
	silence     = 45 * time.Second // on a stream, which says something every 15 s
	lastAnswers = 5 * time.Second  // for calls in flight when the input has ended
	endTimeout  = 2 * time.Second  // for the end of the session
)

// Config is what a Bridge is made of.
type Config struct {
	// Find gives the URLs of the endpoint, in the order in which they are tried. It
	// is called before the first request, and again when none of them answers.
	Find   func(ctx context.Context) ([]string, error)
	Token  string
	TLS    *tls.Config  // nil: the system's
	Logger *slog.Logger // never on the output; nil means discard
}

// A Bridge carries the messages of one client. Run may be called once.
type Bridge struct {
	c   Config
	log *slog.Logger
	out lines

	places places
	legacy legacy
	modern modern

	mu       sync.Mutex
	requests map[mcp.ID]*request // of the client, in flight
	group    sync.WaitGroup      // of goroutines that carry them
}

// New makes a Bridge. Nothing is sent before Run.
func New(c Config) *Bridge {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	b := &Bridge{c: c, log: c.Logger, requests: make(map[mcp.ID]*request)}
	b.legacy.bridge, b.modern.bridge = b, b
	b.places.find, b.places.token, b.places.roots = c.Find, c.Token, c.TLS
	return b
}

// Run carries messages, one per line, until in ends or ctx does; then it ends the
// session. When in has ended, calls in flight may still be answered for 5 s. Run
// waits for all that it started, but for a read of in that does not return: that
// goroutine ends with the process.
//
// The error is that of reading or writing; the end of in and of ctx are none.
func (b *Bridge) Run(ctx context.Context, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	b.out = lines{w: out, failed: cancel}
	read := make(chan []byte)
	ended := make(chan error, 1)
	go func() { ended <- readLines(ctx, in, read) }()
	err := b.serve(ctx, read, ended)
	if err == nil && ctx.Err() == nil {
		b.awaitAnswers(ctx)
	}
	if broken, ok := errors.AsType[*writeError](context.Cause(ctx)); ok {
		err = broken
	}
	cancel(nil)
	b.group.Wait()
	b.end()
	return err
}

// serve takes lines until there are no more.
func (b *Bridge) serve(ctx context.Context, read <-chan []byte, ended <-chan error) error {
	for {
		select {
		case line := <-read:
			b.take(ctx, line)
		case err := <-ended:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

// readLines gives the lines of in that are not empty.
func readLines(ctx context.Context, in io.Reader, read chan<- []byte) error {
	r := bufio.NewReaderSize(in, 64<<10)
	for {
		line, err := readLine(r)
		if line = bytes.TrimSpace(line); len(line) > 0 {
			select {
			case read <- line:
			case <-ctx.Done():
				return nil
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// readLine is the next line. Of one that is longer than a message may be, the
// beginning: it is refused as too large by who reads it.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if room := mcp.Inbound.Bytes + 1 - len(line); room > 0 {
			line = append(line, part[:min(len(part), room)]...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

// take does with a line of the client what it asks for. Requests are carried by
// goroutines of their own; everything else in the order in which it came.
func (b *Bridge) take(ctx context.Context, line []byte) {
	m, err := mcp.Parse(line, mcp.Inbound)
	if err != nil {
		var id mcp.ID
		if e, ok := errors.AsType[*mcp.Error](err); ok {
			id = e.ID
		}
		b.out.send(mcp.Failed(id, mcp.FromFault(err, "")))
		return
	}
	switch {
	case m.Kind() == mcp.KindRequest:
		b.begin(ctx, m)
	case m.Method() == mcp.Cancelled && b.cancel(m):
	default:
		b.legacy.post(ctx, m)
	}
}

// A request is one of the client's that is in flight.
type request struct {
	modern    bool
	listens   bool // it lasts as long as the client likes
	cancel    context.CancelFunc
	cancelled bool // the client wants no answer; guarded by Bridge.mu
}

// begin carries a request. The answer is written when it is there.
func (b *Bridge) begin(ctx context.Context, m *mcp.Message) {
	ctx, cancel := context.WithCancel(ctx)
	r := &request{modern: mcp.Meta(m.Params(), mcp.MetaProtocolVersion) != nil, listens: m.Method() == mcp.SubscriptionsListen, cancel: cancel}
	if err := b.enter(m.ID(), r); err != nil {
		cancel()
		b.out.send(mcp.Failed(m.ID(), mcp.FromFault(err, "")))
		return
	}
	b.group.Go(func() {
		defer cancel()
		carry := b.legacy.carry
		if r.modern {
			carry = b.modern.carry
		}
		answer, err := carry(ctx, m)
		if b.leave(m.ID(), r) {
			return
		}
		if err != nil {
			answer = mcp.Failed(m.ID(), wireError(err))
		}
		b.out.send(answer)
	})
}

func (b *Bridge) enter(id mcp.ID, r *request) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.requests) >= maxRequests {
		return fault.New(fault.Overloaded, "%d requests are in flight already", maxRequests)
	}
	if _, exists := b.requests[id]; exists {
		return &mcp.Error{Code: mcp.CodeInvalidRequest, Message: "a request with this id is in flight already"}
	}
	b.requests[id] = r
	return nil
}

// leave forgets a request, and reports whether the client wants no answer to it.
func (b *Bridge) leave(id mcp.ID, r *request) (cancelled bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.requests, id)
	return r.cancelled
}

// cancel notes that the client wants no answer to a request. It reports whether
// that is all there is to do: the gateway learns of the end of a modern request by
// the end of its connection, of a legacy one by the notification.
func (b *Bridge) cancel(m *mcp.Message) (done bool) {
	id, ok := mcp.ParseID(mcp.Field(m.Params(), "requestId"))
	if !ok {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	r, ok := b.requests[id]
	if !ok {
		return false
	}
	r.cancelled = true
	if r.modern {
		r.cancel()
	}
	return r.modern
}

// awaitAnswers gives the calls in flight some time, when nothing more is asked.
func (b *Bridge) awaitAnswers(ctx context.Context) {
	late := time.NewTimer(lastAnswers)
	defer late.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for b.calls() > 0 {
		select {
		case <-tick.C:
		case <-late.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// calls is how many requests in flight will end by themselves.
func (b *Bridge) calls() (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.requests {
		if !r.listens && !r.cancelled {
			n++
		}
	}
	return n
}

// end ends the session, and the connections.
func (b *Bridge) end() {
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	b.legacy.end(ctx)
	b.places.close()
}

// wireError is err for the client: what the gateway said as it said it.
func wireError(err error) *mcp.Error {
	if r := refusalOf(err); r != nil && r.Answer != nil {
		return r.Answer
	}
	return mcp.FromFault(err, "")
}

// lines is the output: one message a line.
type lines struct {
	mu     sync.Mutex
	w      io.Writer
	failed context.CancelCauseFunc
}

// A writeError is the end of the output.
type writeError struct{ cause error }

func (e *writeError) Error() string { return "writing: " + e.cause.Error() }
func (e *writeError) Unwrap() error { return e.cause }

// send writes a message. Line ends in it stand between its members: they are
// blanks.
func (l *lines) send(m *mcp.Message) {
	text := append(bytes.Clone(m.Bytes()), '\n')
	for i, c := range text[:len(text)-1] {
		if c == '\n' || c == '\r' {
			text[i] = ' '
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := l.w.Write(text); err != nil {
		l.failed(&writeError{err})
	}
}
