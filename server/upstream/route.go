package upstream

import (
	"context"
	"errors"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/mcp"
)

// routeRetry is the pause before an operation is sent again that was not carried
// out because the process is being moved, or its node is lost.
const routeRetry = 100 * time.Millisecond

func (up *upstream) failover() time.Duration {
	if up.rec.FailoverTimeout > 0 {
		return milliseconds(up.rec.FailoverTimeout)
	}
	return DefaultFailover
}

// route has an operation carried out where the process of k is: by here, or over
// one hop by there. It is tried again, within the upstream's failover timeout, only
// where it is certain that nothing was done.
func route[T any](ctx context.Context, up *upstream, k key, here func() (T, error), there func(claim record.Claim) (T, error)) (T, error) {
	var none T
	var last error
	waiting, cancel := context.WithTimeout(ctx, up.failover())
	defer cancel()
	for {
		claim, err := up.ups.o.Children.Claims.Find(waiting, up.claim(k), up.rec.Command, up.mostChildren())
		if err != nil {
			return none, up.notRouted(ctx, err, last)
		}
		var done T
		if claim.Node == up.ups.o.Children.Self {
			done, err = here()
		} else {
			done, err = there(claim)
		}
		if !notDone(err) {
			return done, err
		}
		last = err
		if sleep(waiting, routeRetry) != nil {
			return none, up.notRouted(ctx, err, last)
		}
	}
}

// notDone reports whether err proves that an operation was not carried out because
// it met the wrong node, or none.
func notDone(err error) bool {
	f, ok := errors.AsType[*fault.Error](err)
	if !ok {
		return false
	}
	return f.Kind == fault.Fenced && f.Details[detailClaim] != "" || f.Kind == fault.Unreachable && f.Details[detailHop] != ""
}

// notRouted is why no node has carried an operation out.
func (up *upstream) notRouted(ctx context.Context, err, last error) error {
	if ctx.Err() != nil {
		return up.count(context.Cause(ctx))
	}
	if kind := fault.Of(err); last != nil && kind != fault.Overloaded && kind != fault.Unsupported {
		err = last
	}
	if notDone(err) || fault.Of(err) == fault.Timeout {
		f := fault.New(fault.Unavailable, "the process of upstream %q was not up again, here or elsewhere, within %v", up.rec.Alias, up.failover()).
			WithHint("mcpraft upstreams show %s", up.rec.Alias).WithDetail("upstream", up.rec.Alias).After(time.Second)
		f.Cause = err
		err = f
	}
	return up.count(err)
}

// holds reports why this node must not work for k, or nil.
func (up *upstream) holds(k key) error {
	name := up.claim(k)
	if _, ok := up.ups.o.Children.Claims.Held(name); !ok {
		return errNotHeld(name)
	}
	return nil
}

func (up *upstream) openChild(ctx context.Context, c *Caller) (Opened, error) {
	k := up.childKey(c)
	return route(ctx, up, k, func() (Opened, error) { return up.openHeld(ctx, k, c) },
		func(claim record.Claim) (Opened, error) { return up.ups.remote.open(ctx, up, claim, c) })
}

func (up *upstream) openHeld(ctx context.Context, k key, c *Caller) (Opened, error) {
	if err := up.holds(k); err != nil {
		return Opened{}, err
	}
	return up.openGated(ctx, c)
}

func (up *upstream) callChild(ctx context.Context, c *Caller, m *mcp.Message, sink Sink) (*mcp.Message, error) {
	k := up.childKey(c)
	return route(ctx, up, k, func() (*mcp.Message, error) { return up.callHeld(ctx, k, c, m, sink) },
		func(claim record.Claim) (*mcp.Message, error) { return up.ups.remote.call(ctx, up, claim, c, m, sink) })
}

func (up *upstream) callHeld(ctx context.Context, k key, c *Caller, m *mcp.Message, sink Sink) (*mcp.Message, error) {
	if err := up.holds(k); err != nil {
		return nil, err
	}
	if k.mode == modeShared && sink != nil {
		sink = deafSink{sink}
	}
	return up.callGated(ctx, c, m, sink)
}

// A deafSink is the sink of a caller who shares a process: what the process asks
// belongs to nobody.
type deafSink struct{ Sink }

func (deafSink) Ask(_ context.Context, m *mcp.Message) (*mcp.Message, error) {
	return mcp.Failed(m.ID(), &mcp.Error{Code: mcp.CodeMethodNotFound, Message: "no client is there to answer " + m.Method()}), nil
}

func (up *upstream) notifyChild(ctx context.Context, c *Caller, m *mcp.Message) error {
	k := up.childKey(c)
	if k.mode == modeShared {
		return nil // it would change what others have there
	}
	_, err := route(ctx, up, k, func() (struct{}, error) { return struct{}{}, up.notifyHeld(ctx, k, c, m) },
		func(claim record.Claim) (struct{}, error) {
			return struct{}{}, up.ups.remote.notify(ctx, up, claim, c, m)
		})
	return err
}

func (up *upstream) notifyHeld(ctx context.Context, k key, c *Caller, m *mcp.Message) error {
	if err := up.holds(k); err != nil {
		return err
	}
	return up.count(up.notify(ctx, c, m))
}

// endChild ends the process that a session has to itself, wherever it runs. If
// nobody can be reached, the node that runs it finds out by itself.
func (up *upstream) endChild(ctx context.Context, c *Caller) {
	k := up.childKey(c)
	if !k.own() {
		return
	}
	claims := up.ups.o.Children.Claims
	if _, held := claims.Held(up.claim(k)); held {
		up.endHeld(ctx, k)
		return
	}
	if err := up.ups.remote.end(ctx, up, c); err != nil {
		up.log.Debug("the process of an ended session goes on until it is found idle", "error", err)
	}
}

// endHeld ends the process of k and gives its claim up.
func (up *upstream) endHeld(ctx context.Context, k key) {
	up.mu.Lock()
	s := up.sessions[k]
	delete(up.sessions, k)
	up.mu.Unlock()
	if s != nil {
		s.drop()
	}
	up.ups.children.giveUp(ctx, up.claim(k))
}

// toChild listens to the process of the caller, here or elsewhere, until its
// stream ends.
func (l *listener) toChild(ctx context.Context, up *upstream) error {
	k := up.childKey(l.caller)
	_, err := route(ctx, up, k, func() (struct{}, error) { return struct{}{}, l.held(ctx, up, k) },
		func(claim record.Claim) (struct{}, error) { return struct{}{}, up.ups.remote.listen(ctx, up, claim, l) })
	return err
}

func (l *listener) held(ctx context.Context, up *upstream, k key) error {
	if err := up.holds(k); err != nil {
		return err
	}
	if k.mode == modeShared {
		l.watch.Ask = nil
	}
	return l.here(ctx, up)
}
