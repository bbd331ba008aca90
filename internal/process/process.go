package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/time/rate"
)

const (
	// StallLimit is how long a child may leave its input unread before it is
	// killed.
	StallLimit = 10 * time.Second

	eofGrace   = 500 * time.Millisecond // between the end of its input and SIGTERM
	termGrace  = 2 * time.Second        // between SIGTERM and SIGKILL
	drainLimit = time.Second            // for output that was written before the end
)

// ErrEnded says that a child has ended.
var ErrEnded = errors.New("the process has ended")

// A Process is one child. Any goroutine may use it; Read has one reader.
type Process struct {
	runner *Runner
	cmd    *exec.Cmd
	log    *Log
	limit  int64 // bytes resident; 0: none

	in, out, errs *os.File // our ends of its pipes

	turn     chan struct{} // holds a token: taken by who writes
	resident atomic.Int64
	why      atomic.Pointer[string] // why we ended it

	mu   sync.Mutex // guards over
	over bool       // its number may be another's

	begun chan error    // what starting it gave
	done  chan struct{} // closed when it and its group are gone
	err   error         // how it ended; set before done
}

// PID is its process id, which is also that of its group.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Resident is the memory that its group held when it was looked at last, in
// bytes; 0 if nobody has looked.
func (p *Process) Resident() int64 { return p.resident.Load() }

// Done is closed when the process and its group are gone.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err is how it ended, after Done.
func (p *Process) Err() error { return p.err }

// Read reads its output; io.EOF when it has ended.
func (p *Process) Read(b []byte) (int, error) {
	n, err := p.out.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		err = io.EOF // closed by us: that is the end, too
	}
	return n, err
}

// Send writes one line. Ctx bounds the wait for others that are writing; a line
// that was begun is written to its end, or the child is killed: half a line would
// spoil the next. The error is ErrEnded if nothing was written.
func (p *Process) Send(ctx context.Context, line []byte) error {
	select {
	case <-p.turn:
	case <-p.done:
		return ErrEnded
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", errNotBegun, context.Cause(ctx))
	}
	defer func() { p.turn <- struct{}{} }()
	framed := append(append(make([]byte, 0, len(line)+1), line...), '\n')
	for begun := false; len(framed) > 0; begun = true {
		_ = p.in.SetWriteDeadline(time.Now().Add(StallLimit))
		n, err := p.in.Write(framed[:min(len(framed), lineBuffer)])
		if n == 0 && err != nil && !begun && !errors.Is(err, os.ErrDeadlineExceeded) {
			return ErrEnded
		}
		if err != nil {
			p.Kill(fmt.Sprintf("it has not read its input for %v", StallLimit))
			return fmt.Errorf("writing to the process: %w", err)
		}
		framed = framed[n:]
	}
	return nil
}

var errNotBegun = errors.New("nothing was written")

// NotSent reports whether an error of Send proves that the child has not seen the
// line.
func NotSent(err error) bool { return errors.Is(err, ErrEnded) || errors.Is(err, errNotBegun) }

// Stop ends the child in order: its input ends, then SIGTERM, then SIGKILL, each
// to the whole group. It returns when the group is gone.
func (p *Process) Stop() {
	p.because("stopped")
	_ = p.in.Close()
	if p.within(eofGrace) {
		return
	}
	p.signal(syscall.SIGTERM)
	if p.within(termGrace) {
		return
	}
	p.Kill("it ignored SIGTERM")
	<-p.done
}

// Kill kills the group at once and does not wait.
func (p *Process) Kill(why string) {
	p.because(why)
	p.signal(syscall.SIGKILL)
}

// signal signals the group, if there is one.
func (p *Process) signal(s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.over {
		signalGroup(p.PID(), s)
	}
}

// last kills what is left of the group, while its number is still its own.
func (p *Process) last() {
	p.mu.Lock()
	defer p.mu.Unlock()
	signalGroup(p.PID(), syscall.SIGKILL)
	p.over = true
}

func (p *Process) because(why string) { p.why.CompareAndSwap(nil, &why) }

func (p *Process) within(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-p.done:
		return true
	case <-t.C:
		return false
	}
}

// live starts the child and waits for its end. The signal that the kernel sends
// when a parent dies is sent when the thread that started the child ends, so this
// goroutine keeps its thread.
func (p *Process) live(theirs []*os.File) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	for _, f := range theirs {
		f.Close()
	}
	if err != nil {
		p.closePipes()
		p.begun <- err
		return
	}
	p.runner.started(p)
	p.begun <- nil
	var readers sync.WaitGroup
	readers.Go(p.readErrors)
	await(p.cmd, p.last) // how it ended is in ProcessState
	deadline := time.Now().Add(drainLimit)
	_ = p.out.SetReadDeadline(deadline) // somebody who left the group may still hold the other end
	_ = p.errs.SetReadDeadline(deadline)
	readers.Wait()
	p.err = p.ending()
	p.log.Say("mcpraft: " + p.err.Error())
	p.runner.ended(p)
	_ = p.in.Close()
	close(p.done)
}

func (p *Process) ending() error {
	how := p.cmd.ProcessState.String()
	if why := p.why.Load(); why != nil {
		return fmt.Errorf("process %d ended (%s): %s", p.PID(), how, *why)
	}
	return fmt.Errorf("process %d ended: %s", p.PID(), how)
}

func (p *Process) closePipes() {
	for _, f := range []*os.File{p.in, p.out, p.errs} {
		f.Close()
	}
}

// readErrors copies stderr into the log, no faster than LogRate.
func (p *Process) readErrors() {
	pace := rate.NewLimiter(LogRate, LogRate)
	buffer := make([]byte, 16<<10)
	told := false
	for {
		n, err := p.errs.Read(buffer)
		_, _ = p.log.Write(buffer[:n])
		if err != nil {
			return
		}
		wait := pace.ReserveN(time.Now(), n).Delay()
		if wait > 0 && !told {
			told = true
			p.runner.flooded(p)
		}
		if wait > 0 && p.within(wait) {
			return
		}
	}
}

// Close gives up what is left of its output. It is called once, after the last
// Read.
func (p *Process) Close() {
	p.out.Close()
	p.errs.Close()
}
