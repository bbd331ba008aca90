package frame

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// link runs two connected ends until the test is over.
type link struct {
	near, far       *Conn
	nearErr, farErr chan error // what Run returned
}

// connect starts both ends over an in-memory pipe. The bubble ends when both have.
func connect(t *testing.T, near, far Options) *link {
	t.Helper()
	a, b := net.Pipe()
	l := &link{near: NewConn(a, near), far: NewConn(b, far), nearErr: make(chan error, 1), farErr: make(chan error, 1)}
	go func() { l.nearErr <- l.near.Run(t.Context()) }()
	go func() { l.farErr <- l.far.Run(t.Context()) }()
	t.Cleanup(func() {
		l.near.Close()
		l.far.Close()
	})
	synctest.Wait()
	return l
}

// serveRaw runs one end whose peer is the test itself.
func serveRaw(t *testing.T, o Options) (*Conn, net.Conn, <-chan error) {
	t.Helper()
	a, b := net.Pipe()
	c, ended := NewConn(a, o), make(chan error, 1)
	go func() { ended <- c.Run(t.Context()) }()
	t.Cleanup(func() {
		b.Close()
		c.Close()
	})
	synctest.Wait()
	return c, b, ended
}

func send(t *testing.T, nc net.Conn, h header, body string) {
	t.Helper()
	if _, err := nc.Write(h.append(nil, []byte(body))); err != nil {
		t.Fatal(err)
	}
}

func receive(t *testing.T, nc net.Conn) (header, string) {
	t.Helper()
	head := make([]byte, headerSize)
	if _, err := io.ReadFull(nc, head); err != nil {
		t.Fatal(err)
	}
	h, err := parseHeader(head, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	body := make([]byte, h.size)
	if _, err := io.ReadFull(nc, body); err != nil {
		t.Fatal(err)
	}
	return h, string(body)
}

func echo(_ context.Context, op uint16, body []byte) (uint8, []byte) {
	return uint8(op), bytes.Clone(body)
}

// A gate is a handler whose calls wait to be let through.
type gate struct {
	open              chan struct{}
	entered, running  atomic.Int32
	most, interrupted atomic.Int32
}

func newGate() *gate { return &gate{open: make(chan struct{})} }

func (g *gate) ServeFrame(ctx context.Context, _ uint16, body []byte) (uint8, []byte) {
	g.entered.Add(1)
	if now := g.running.Add(1); now > g.most.Load() {
		g.most.Store(now)
	}
	defer g.running.Add(-1)
	select {
	case <-g.open:
	case <-ctx.Done():
		g.interrupted.Add(1)
	}
	return 0, bytes.Clone(body)
}

// callAll starts n calls and returns their errors, one per call as it ends.
func callAll(ctx context.Context, c *Conn, n int) <-chan error {
	errs := make(chan error, n)
	for range n {
		go func() {
			_, _, err := c.Call(ctx, 1, []byte("body"))
			errs <- err
		}()
	}
	synctest.Wait()
	return errs
}

func wantAll(t *testing.T, errs <-chan error, n int, want error) {
	t.Helper()
	for range n {
		if err := <-errs; !errors.Is(err, want) {
			t.Errorf("call ended with %v, want %v", err, want)
		}
	}
}

func TestAnswersCarryStatusAndBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := connect(t, Options{}, Options{Handler: HandlerFunc(echo)})
		for _, body := range []string{"", "hello", string(make([]byte, 1<<20))} {
			status, answer, err := l.near.Call(t.Context(), 7, []byte(body))
			if err != nil || status != 7 || string(answer) != body {
				t.Fatalf("Call of %d bytes = %d, %d bytes, %v", len(body), status, len(answer), err)
			}
		}
	})
}

func TestAnswersArriveOutOfOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := [3]chan struct{}{make(chan struct{}), make(chan struct{}), make(chan struct{})}
		l := connect(t, Options{}, Options{Handler: HandlerFunc(func(_ context.Context, op uint16, body []byte) (uint8, []byte) {
			<-release[op]
			return echo(t.Context(), op, body)
		})})
		answers := make(chan string)
		for op, body := range []string{"first", "second", "third"} {
			go func() {
				status, answer, err := l.near.Call(t.Context(), uint16(op), []byte(body))
				if err != nil || status != uint8(op) {
					t.Errorf("call %d = %d, %v", op, status, err)
				}
				answers <- string(answer)
			}()
			synctest.Wait()
		}
		for _, op := range []int{2, 0, 1} {
			close(release[op])
			if got, want := <-answers, []string{"first", "second", "third"}[op]; got != want {
				t.Errorf("answer %q, want %q", got, want)
			}
		}
	})
}

func TestBothEndsCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l *link
		back := HandlerFunc(func(ctx context.Context, op uint16, body []byte) (uint8, []byte) {
			status, answer, err := l.far.Call(ctx, op, append([]byte("back "), body...))
			if err != nil {
				t.Error(err)
			}
			return status, answer
		})
		l = connect(t, Options{Handler: HandlerFunc(echo)}, Options{Handler: back})
		_, answer, err := l.near.Call(t.Context(), 1, []byte("and forth"))
		if err != nil || string(answer) != "back and forth" {
			t.Fatalf("Call = %q, %v", answer, err)
		}
	})
}

func TestCancelReachesTheHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		l := connect(t, Options{MaxInFlight: 1}, Options{Handler: g, MaxInFlight: 1})
		gone := errors.New("the user went away")
		ctx, cancel := context.WithCancelCause(t.Context())
		errs := callAll(ctx, l.near, 1)
		cancel(gone)
		err := <-errs
		if !errors.Is(err, gone) || errors.Is(err, ErrNotRun) {
			t.Errorf("cancelled call ended with %v", err)
		}
		synctest.Wait()
		if n := g.interrupted.Load(); n != 1 {
			t.Errorf("%d handlers saw the cancellation, want 1", n)
		}
		close(g.open)
		if _, answer, err := l.near.Call(t.Context(), 1, []byte("next")); err != nil || string(answer) != "next" {
			t.Errorf("the call after it = %q, %v", answer, err)
		}
	})
}

func TestEveryCallIsAnsweredOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		_, nc, _ := serveRaw(t, Options{Handler: g})
		send(t, nc, header{id: 1}, "cancelled")
		send(t, nc, header{id: 1, flags: flagCancel}, "")
		if h, body := receive(t, nc); h.id != 1 || h.flags != flagAnswer|flagReason || reason(h.status) != reasonCancelled || body != "" {
			t.Errorf("answer to a cancelled call: %+v %q", h, body)
		}
		send(t, nc, header{id: 1, flags: flagCancel}, "") // too late, ignored
		close(g.open)
		send(t, nc, header{id: 2}, "kept")
		if h, body := receive(t, nc); h.id != 2 || body != "kept" {
			t.Errorf("answer %+v %q, want that of call 2", h, body)
		}
	})
}

// A caller that gives up while the handler does not listen must not make room for
// one call more than the peer takes.
func TestAbandonedCallKeepsItsSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leave := make(chan struct{})
		stubborn := HandlerFunc(func(context.Context, uint16, []byte) (uint8, []byte) {
			<-leave
			return 0, nil
		})
		l := connect(t, Options{MaxInFlight: 1}, Options{Handler: stubborn, MaxInFlight: 1})
		ctx, cancel := context.WithCancel(t.Context())
		first := callAll(ctx, l.near, 1)
		cancel()
		wantAll(t, first, 1, context.Canceled)
		second := callAll(t.Context(), l.near, 1)
		close(leave)
		wantAll(t, second, 1, nil)
	})
}

func TestUnaskedAnswerEndsTheStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, nc, ended := serveRaw(t, Options{})
		send(t, nc, header{id: 1, flags: flagAnswer}, "")
		if err := <-ended; !errors.Is(err, ErrProtocol) {
			t.Errorf("Run = %v", err)
		}
	})
}

func TestCancelledBeforeItsTurnIsNotRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		l := connect(t, Options{}, Options{Handler: g, MaxConcurrent: 1})
		first := callAll(t.Context(), l.near, 1)
		ctx, cancel := context.WithCancel(t.Context())
		second := callAll(ctx, l.near, 1)
		cancel()
		wantAll(t, second, 1, context.Canceled)
		synctest.Wait()
		close(g.open)
		wantAll(t, first, 1, nil)
		synctest.Wait()
		if n := g.entered.Load(); n != 1 {
			t.Errorf("%d calls reached the handler, want 1", n)
		}
	})
}

func TestEndedContextIsNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		l := connect(t, Options{}, Options{Handler: g})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, _, err := l.near.Call(ctx, 1, nil); !errors.Is(err, ErrNotRun) || !errors.Is(err, context.Canceled) {
			t.Errorf("Call = %v", err)
		}
		synctest.Wait()
		if g.entered.Load() != 0 {
			t.Error("the call was sent")
		}
	})
}

func TestOversizedFrameEndsTheStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := connect(t, Options{}, Options{Handler: HandlerFunc(echo), MaxBody: 100})
		_, _, err := l.near.Call(t.Context(), 1, make([]byte, 101))
		if !errors.Is(err, ErrPeerGone) || errors.Is(err, ErrNotRun) {
			t.Errorf("Call = %v, want ErrPeerGone", err)
		}
		if err := <-l.farErr; !errors.Is(err, ErrTooLarge) {
			t.Errorf("Run = %v, want ErrTooLarge", err)
		}
	})
}

func TestOversizedCallIsRefusedBeforeItIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := connect(t, Options{MaxBody: 100}, Options{Handler: HandlerFunc(echo)})
		_, _, err := l.near.Call(t.Context(), 1, make([]byte, 101))
		if !errors.Is(err, ErrTooLarge) || !errors.Is(err, ErrNotRun) {
			t.Errorf("Call = %v", err)
		}
		if _, _, err := l.near.Call(t.Context(), 1, make([]byte, 100)); err != nil {
			t.Errorf("a call at the limit: %v", err)
		}
	})
}

func TestOversizedAnswerIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		grow := HandlerFunc(func(context.Context, uint16, []byte) (uint8, []byte) { return 0, make([]byte, 101) })
		l := connect(t, Options{}, Options{Handler: grow, MaxBody: 100})
		_, _, err := l.near.Call(t.Context(), 1, nil)
		if !errors.Is(err, ErrAnswerTooLarge) || errors.Is(err, ErrNotRun) {
			t.Errorf("Call = %v", err)
		}
		if l.near.Err() != nil {
			t.Error("the connection ended")
		}
	})
}

func TestPeerGoneFailsAllCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, nc, ended := serveRaw(t, Options{})
		errs := callAll(t.Context(), c, 100)
		go io.Copy(io.Discard, nc)
		synctest.Wait()
		nc.Close()
		wantAll(t, errs, 100, ErrPeerGone)
		if err := <-ended; !errors.Is(err, ErrPeerGone) {
			t.Errorf("Run = %v", err)
		}
		if _, _, err := c.Call(t.Context(), 1, nil); !errors.Is(err, ErrPeerGone) || !errors.Is(err, ErrNotRun) {
			t.Errorf("a call afterwards: %v", err)
		}
	})
}

func TestTornFrameIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, nc, ended := serveRaw(t, Options{Handler: HandlerFunc(echo)})
		whole := header{id: 1}.append(nil, []byte("body"))
		if _, err := nc.Write(whole[:len(whole)-1]); err != nil {
			t.Fatal(err)
		}
		nc.Close()
		err := <-ended
		if !errors.Is(err, ErrPeerGone) || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("Run = %v", err)
		}
	})
}

func TestProtocolBreachEndsTheStream(t *testing.T) {
	short := binary.BigEndian.AppendUint32(nil, restSize-1)
	for name, frames := range map[string][]byte{
		"length below the header": append(short, make([]byte, restSize)...),
		"unknown flags":           header{flags: 1 << 7}.append(nil, nil),
		"cancel and answer":       header{flags: flagCancel | flagAnswer}.append(nil, nil),
		"cancel with a body":      header{flags: flagCancel, size: 1}.append(nil, []byte("x")),
		"id used twice":           header{id: 5}.append(header{id: 5}.append(nil, nil), nil),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, nc, ended := serveRaw(t, Options{Handler: newGate()})
				if _, err := nc.Write(frames); err != nil {
					t.Fatal(err)
				}
				if err := <-ended; !errors.Is(err, ErrProtocol) {
					t.Errorf("Run = %v, want ErrProtocol", err)
				}
			})
		})
	}
}

func TestCallersWaitAtMaxInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		l := connect(t, Options{MaxInFlight: 3}, Options{Handler: g})
		errs := callAll(t.Context(), l.near, 10)
		if n := g.entered.Load(); n != 3 {
			t.Errorf("%d calls in flight, want 3", n)
		}
		ctx, cancel := context.WithCancel(t.Context())
		waiting := callAll(ctx, l.near, 1)
		cancel()
		wantAll(t, waiting, 1, ErrNotRun)
		close(g.open)
		wantAll(t, errs, 10, nil)
	})
}

func TestCallsBeyondMaxInFlightAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		l := connect(t, Options{}, Options{Handler: g, MaxInFlight: 3})
		errs := callAll(t.Context(), l.near, 10)
		wantAll(t, errs, 7, ErrBusy)
		close(g.open)
		wantAll(t, errs, 3, nil)
		wantAll(t, callAll(t.Context(), l.near, 3), 3, nil)
	})
}

// A caller at the limit sends its next call when it sees an answer, which must
// find room.
func TestEqualLimitsNeverRefuse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := Options{MaxInFlight: 4, Handler: HandlerFunc(echo)}
		l := connect(t, o, o)
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				for range 500 {
					if _, _, err := l.near.Call(t.Context(), 1, nil); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
	})
}

func TestBodiesBeyondMaxBufferedAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		l := connect(t, Options{}, Options{Handler: g, MaxBody: 1000, MaxBuffered: 2500})
		errs := make(chan error, 3)
		for range 3 {
			go func() {
				_, _, err := l.near.Call(t.Context(), 1, make([]byte, 1000))
				errs <- err
			}()
		}
		wantAll(t, errs, 1, ErrBusy)
		close(g.open)
		wantAll(t, errs, 2, nil)
	})
}

func TestMaxConcurrentHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		l := connect(t, Options{}, Options{Handler: g, MaxConcurrent: 5})
		errs := callAll(t.Context(), l.near, 50)
		if n := g.running.Load(); n != 5 {
			t.Errorf("%d handlers run, want 5", n)
		}
		close(g.open)
		wantAll(t, errs, 50, nil)
		if n := g.most.Load(); n > 5 {
			t.Errorf("%d handlers ran at once, want at most 5", n)
		}
	})
}

func TestBlockedHandlersDoNotStopOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		l := connect(t, Options{}, Options{Handler: HandlerFunc(func(ctx context.Context, op uint16, body []byte) (uint8, []byte) {
			if op == 1 {
				return g.ServeFrame(ctx, op, body)
			}
			return echo(ctx, op, body)
		})})
		blocked := callAll(t.Context(), l.near, 900)
		for range 100 {
			if _, _, err := l.near.Call(t.Context(), 2, nil); err != nil {
				t.Fatal(err)
			}
		}
		close(g.open)
		wantAll(t, blocked, 900, nil)
	})
}

func TestIdleWorkersGoHome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		l := connect(t, Options{}, Options{Handler: g})
		errs := callAll(t.Context(), l.near, 1000)
		close(g.open)
		wantAll(t, errs, 1000, nil)
		synctest.Wait()
		s := &l.far.requests
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.workers > idleWorkers || s.busy != 0 || s.held != 0 || len(s.running) != 0 {
			t.Errorf("%d workers, %d busy, %d bytes held, %d running after the burst", s.workers, s.busy, s.held, len(s.running))
		}
	})
}

// A peer sends calls for as long as we read and never reads an answer.
func TestSlowReaderCannotGrowMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const body, inFlight, concurrent = 1000, 20, 5
		o := Options{
			Handler: HandlerFunc(echo), MaxBody: body, MaxBuffered: 10 * body,
			MaxInFlight: inFlight, MaxConcurrent: concurrent, WriteTimeout: time.Minute, IdleTimeout: time.Hour,
		}
		c, nc, ended := serveRaw(t, o)
		var sent atomic.Int64
		go func() {
			for id := uint64(0); ; id++ {
				if _, err := nc.Write(header{id: id}.append(nil, make([]byte, body))); err != nil {
					return
				}
				sent.Add(1)
			}
		}()
		synctest.Wait()
		c.out.mu.Lock()
		buffered := len(c.out.buf)
		c.out.mu.Unlock()
		c.requests.mu.Lock()
		held, workers := c.requests.held, c.requests.workers
		c.requests.mu.Unlock()
		if buffered > o.MaxBuffered || held > o.MaxBuffered || workers > concurrent {
			t.Errorf("%d bytes of answers and %d of calls are held by %d workers", buffered, held, workers)
		}
		// A refusal is the smallest answer: one buffer of them queued, one in the
		// write, then what waits for a handler, for room, and what was read ahead.
		most := int64(2*o.MaxBuffered/headerSize + inFlight + concurrent + readBuffer/body + 2)
		if n := sent.Load(); n == 0 || n > most {
			t.Errorf("%d calls were taken from a peer that reads nothing, want 1 to %d", n, most)
		}
		begin := time.Now()
		if err := <-ended; !errors.Is(err, ErrStalled) {
			t.Errorf("Run = %v, want ErrStalled", err)
		}
		if d := time.Since(begin); d > time.Minute {
			t.Errorf("it took %v", d)
		}
	})
}

func TestSenderWaitsForRoomWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _, _ := serveRaw(t, Options{MaxBody: 100, MaxBuffered: 200})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		errs := make(chan error, 20)
		for range 20 {
			go func() {
				_, _, err := c.Call(ctx, 1, make([]byte, 100))
				errs <- err
			}()
		}
		notRun := 0
		for range 20 {
			err := <-errs
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Call = %v", err)
			}
			if errors.Is(err, ErrNotRun) {
				notRun++
			}
		}
		if notRun == 0 || notRun == 20 {
			t.Errorf("%d of 20 calls say that they were not sent", notRun)
		}
	})
}

func TestUnsentCallFreesItsSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, nc, _ := serveRaw(t, Options{MaxBody: 100, MaxBuffered: 100, MaxInFlight: 3})
		first := callAll(t.Context(), c, 1)  // in the write
		second := callAll(t.Context(), c, 1) // in the buffer
		for range 10 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			if _, _, err := c.Call(ctx, 1, make([]byte, 100)); !errors.Is(err, ErrNotRun) {
				t.Errorf("Call = %v", err)
			}
			cancel()
		}
		if n := len(c.calls.slots); n != 2 {
			t.Errorf("%d slots are taken, want 2", n)
		}
		for range 2 {
			h, _ := receive(t, nc)
			send(t, nc, h.answer(), "")
		}
		wantAll(t, first, 1, nil)
		wantAll(t, second, 1, nil)
	})
}

func TestCloseWaitsForHandlers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		left, leave := atomic.Bool{}, make(chan struct{})
		l := connect(t, Options{}, Options{Handler: HandlerFunc(func(ctx context.Context, _ uint16, _ []byte) (uint8, []byte) {
			<-ctx.Done()
			<-leave
			left.Store(true)
			return 0, nil
		})})
		errs := callAll(t.Context(), l.near, 1)
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			l.far.Close()
			if !left.Load() {
				t.Error("Close returned before the handler")
			}
		}()
		synctest.Wait()
		close(leave)
		<-closed
		if err := <-l.farErr; err != nil {
			t.Errorf("Run = %v after Close", err)
		}
		wantAll(t, errs, 1, ErrPeerGone)
	})
}

func TestCloseFailsOwnCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := connect(t, Options{}, Options{Handler: newGate()})
		errs := callAll(t.Context(), l.near, 10)
		l.near.Close()
		wantAll(t, errs, 10, ErrClosed)
		if err := l.near.Err(); !errors.Is(err, ErrClosed) {
			t.Errorf("Err = %v", err)
		}
	})
}

func TestRunEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		defer b.Close()
		stop := errors.New("the node stops")
		ctx, cancel := context.WithCancelCause(t.Context())
		c, ended := NewConn(a, Options{}), make(chan error, 1)
		go func() { ended <- c.Run(ctx) }()
		synctest.Wait()
		cancel(stop)
		if err := <-ended; !errors.Is(err, stop) {
			t.Errorf("Run = %v", err)
		}
	})
}

func TestShutdownAnswersWhatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		l := connect(t, Options{}, Options{Handler: g})
		errs := callAll(t.Context(), l.near, 10)
		down := make(chan error, 1)
		go func() { down <- l.far.Shutdown(t.Context()) }()
		synctest.Wait()
		if _, _, err := l.near.Call(t.Context(), 1, nil); !errors.Is(err, ErrDraining) || !errors.Is(err, ErrNotRun) {
			t.Errorf("a call during shutdown = %v", err)
		}
		close(g.open)
		wantAll(t, errs, 10, nil)
		if err := <-down; err != nil {
			t.Errorf("Shutdown = %v", err)
		}
		if err := <-l.farErr; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
}

func TestShutdownGivesUpWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		l := connect(t, Options{}, Options{Handler: g})
		errs := callAll(t.Context(), l.near, 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := l.far.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown = %v", err)
		}
		wantAll(t, errs, 1, ErrPeerGone)
		if g.interrupted.Load() != 1 {
			t.Error("the handler was not told")
		}
	})
}

func TestQuietConnectionStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := connect(t, Options{}, Options{Handler: HandlerFunc(echo)})
		time.Sleep(24 * time.Hour)
		if _, _, err := l.near.Call(t.Context(), 1, nil); err != nil {
			t.Errorf("Call after a quiet day = %v", err)
		}
	})
}

func TestSilentPeerIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, nc, ended := serveRaw(t, Options{IdleTimeout: time.Minute})
		go io.Copy(io.Discard, nc) // takes everything, says nothing
		errs := callAll(t.Context(), c, 3)
		begin := time.Now()
		wantAll(t, errs, 3, ErrSilent)
		if d := time.Since(begin); d > time.Minute || d < 45*time.Second {
			t.Errorf("given up after %v, want about 1m", d)
		}
		if err := <-ended; !errors.Is(err, ErrSilent) {
			t.Errorf("Run = %v", err)
		}
	})
}

func TestPanicOfAHandlerIsContained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told atomic.Value
		l := connect(t, Options{}, Options{
			Handler: HandlerFunc(func(_ context.Context, op uint16, body []byte) (uint8, []byte) {
				return 0, body[op:]
			}),
			Panicked: func(_ uint16, v any, stack []byte) {
				if len(stack) == 0 {
					t.Error("no stack")
				}
				told.Store(v)
			},
		})
		_, _, err := l.near.Call(t.Context(), 9, nil)
		if !errors.Is(err, ErrHandler) || errors.Is(err, ErrNotRun) {
			t.Errorf("Call = %v", err)
		}
		if told.Load() == nil {
			t.Error("Panicked was not called")
		}
		if _, _, err := l.near.Call(t.Context(), 0, nil); err != nil {
			t.Errorf("the next call = %v", err)
		}
	})
}

func TestClientOnlyRefusesCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := connect(t, Options{}, Options{})
		if _, _, err := l.near.Call(t.Context(), 1, nil); !errors.Is(err, ErrNoHandler) || !errors.Is(err, ErrNotRun) {
			t.Errorf("Call = %v", err)
		}
	})
}

func TestCallsAcrossManyGoroutinesGetTheirOwnAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := Options{Handler: HandlerFunc(echo), MaxInFlight: 32}
		l := connect(t, o, o)
		var wg sync.WaitGroup
		for i := range 64 {
			wg.Go(func() {
				c := []*Conn{l.near, l.far}[i%2]
				for j := range 100 {
					ctx, cancel := context.WithCancel(t.Context())
					if j%10 == i%10 {
						go cancel()
					}
					want := binary.BigEndian.AppendUint64(nil, uint64(i<<32|j))
					_, got, err := c.Call(ctx, 1, want)
					cancel()
					if err == nil && !bytes.Equal(got, want) || err != nil && !errors.Is(err, context.Canceled) {
						t.Errorf("call %d/%d = %x, %v", i, j, got, err)
					}
				}
			})
		}
		wg.Wait()
	})
}

func TestCallTimeoutEndsTheContextAndTheHandlerAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		patient := HandlerFunc(func(ctx context.Context, _ uint16, _ []byte) (uint8, []byte) {
			<-ctx.Done()
			return 7, []byte(ctx.Err().Error())
		})
		l := connect(t, Options{}, Options{Handler: patient, MaxConcurrent: 1, CallTimeout: time.Second})
		began := time.Now()
		var calls sync.WaitGroup
		for range 2 { // the second is out of time before its turn
			calls.Go(func() {
				status, answer, err := l.near.Call(t.Context(), 1, nil)
				if status != 7 || string(answer) != context.DeadlineExceeded.Error() || err != nil {
					t.Errorf("call = %d %q, %v", status, answer, err)
				}
			})
		}
		calls.Wait()
		if d := time.Since(began); d != time.Second {
			t.Errorf("answered after %v, want 1s", d)
		}
	})
}
