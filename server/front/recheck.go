package front

import (
	"context"
	"errors"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// recheckPause is how long Run rests between two looks at the open streams: what
// changes often costs no more than this often.
const recheckPause = 500 * time.Millisecond

var errRevoked = errors.New("the credentials were revoked")

// Recheck says that credentials which were good may be so no more: Run looks again
// at those of every open stream. It does not block, and any goroutine may call it.
//
// A request in flight is not cut; should it become a stream, its credentials are
// looked at then.
func (f *Front) Recheck() {
	f.epoch.Add(1)
	f.wake()
}

func (f *Front) wake() {
	select {
	case f.recheck <- struct{}{}:
	default:
	}
}

// Run ends the streams whose credentials were revoked, until ctx ends.
func (f *Front) Run(ctx context.Context) error {
	for {
		select {
		case <-f.recheck:
		case <-ctx.Done():
			return nil
		}
		f.cutRevoked(ctx)
		select {
		case <-time.After(recheckPause):
		case <-ctx.Done():
			return nil
		}
	}
}

// cutRevoked looks at each token once, however many streams it opened.
func (f *Front) cutRevoked(ctx context.Context) {
	good := make(map[string]bool)
	for _, v := range f.streams.list() {
		if ctx.Err() != nil {
			return
		}
		still, looked := good[v.token]
		if !looked {
			still = f.stillGood(ctx, v)
			good[v.token] = still
		}
		if !still {
			v.cancel(errRevoked)
		}
	}
}

// stillGood reports whether v's token is still that of its caller. What cannot be told at the
// moment stands.
func (f *Front) stillGood(ctx context.Context, v *visit) bool {
	caller, err := f.c.Authenticator.Authenticate(ctx, "", v.token)
	switch fault.Of(err) {
	case 0:
		return caller.Principal == v.request.Caller.Principal
	case fault.Unauthenticated, fault.Forbidden:
		return false
	}
	return true
}
