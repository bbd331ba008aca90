package frame

import (
	"errors"
	"fmt"
)

// Why a connection ended, or a call has no answer. Test with errors.Is.
var (
	ErrClosed   = errors.New("frame: the connection was closed here")
	ErrPeerGone = errors.New("frame: the peer ended the connection")
	ErrSilent   = errors.New("frame: nothing came from the peer within the idle timeout")
	ErrStalled  = errors.New("frame: the peer does not read")
	ErrProtocol = errors.New("frame: the peer breaks the protocol")
	ErrTooLarge = errors.New("frame: body above the limit")

	// ErrNotRun says that no handler has seen the call, so that it may be sent
	// again, here or elsewhere. Without it the outcome of a failed call is unknown.
	ErrNotRun = errors.New("frame: the call was not run")
)

// A reason is the status of an answer that no handler gave. Numbers are for
// ever: append, never reuse.
type reason uint8

const (
	reasonBusy     reason = 1 // not run: more in flight than the peer takes
	reasonDraining reason = 2 // not run: the peer is shutting this connection down
	reasonAnswer   reason = 3 // run: the answer is above the limit of a body
	reasonPanic    reason = 4 // run: the handler failed
	reasonNone     reason = 5 // not run: the peer serves no calls

	// The caller gave up. Only it can see this, and it does not look.
	reasonCancelled reason = 6
)

// Errors of a call that the peer's connection, not its handler, answered. All
// but the last two are ErrNotRun as well.
var (
	ErrBusy           = fmt.Errorf("%w: the peer has too much in flight", ErrNotRun)
	ErrDraining       = fmt.Errorf("%w: the peer is shutting down", ErrNotRun)
	ErrNoHandler      = fmt.Errorf("%w: the peer serves no calls", ErrNotRun)
	ErrAnswerTooLarge = errors.New("frame: the answer is above the limit of a body")
	ErrHandler        = errors.New("frame: the handler of the peer failed")
)

func (r reason) err() error {
	switch r {
	case reasonBusy:
		return ErrBusy
	case reasonDraining:
		return ErrDraining
	case reasonAnswer:
		return ErrAnswerTooLarge
	case reasonPanic:
		return ErrHandler
	case reasonNone:
		return ErrNoHandler
	default:
		return fmt.Errorf("%w: unexpected reason %d", ErrProtocol, r)
	}
}

// notRun marks err as one of a call that has not left this process.
func notRun(err error) error { return fmt.Errorf("%w: %w", ErrNotRun, err) }
