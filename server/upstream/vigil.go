package upstream

import (
	"context"
	"sync/atomic"
	"time"
)

// quietFor is how long a stream that was resumed may bring no event before it is
// resumed anew; each further silence may be twice as long. The protocol's reference
// server keeps what comes after a resumption and does not send it: only who asks
// again gets the answer.
const quietFor = 3 * time.Second

// A vigil ends a connection on which no event came for a while. The methods of a
// nil vigil do nothing.
type vigil struct {
	quiet  time.Duration
	cancel context.CancelFunc
	timer  *time.Timer
	fired  atomic.Bool
}

// newVigil gives the context for the connection; end must be called.
func newVigil(ctx context.Context, quiet time.Duration) (context.Context, *vigil) {
	ctx, cancel := context.WithCancel(ctx)
	return ctx, &vigil{quiet: quiet, cancel: cancel}
}

// begin starts to watch, once the connection is there.
func (v *vigil) begin() {
	v.timer = time.AfterFunc(v.quiet, func() {
		v.fired.Store(true)
		v.cancel()
	})
}

// alive says that an event came.
func (v *vigil) alive() {
	if v != nil {
		v.timer.Reset(v.quiet)
	}
}

// expired reports whether the connection was ended for its silence.
func (v *vigil) expired() bool { return v != nil && v.fired.Load() }

func (v *vigil) end() {
	if v == nil {
		return
	}
	if v.timer != nil {
		v.timer.Stop()
	}
	v.cancel()
}
