package admin

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/seal"
	"github.com/mcpraft/mcpraft/server/adminapi"
	"github.com/mcpraft/mcpraft/snapshot"
	"github.com/mcpraft/mcpraft/snapshot/recovery"
)

// maxSaves is how many snapshots are sent at once: each keeps what is overwritten
// meanwhile on the disk.
const maxSaves = 2

// snapshot sends the state as a snapshot file. It takes as long as its reader, who
// may pause for adminapi.StallTimeout at most. After a failure the connection is
// cut, so that what arrived is never taken for all.
func (a *API) snapshot(x *exchange, r *http.Request) error {
	from := newArgs(x, r)
	options := from.read()
	policy, err := snapshotPolicy(from.text("compression"))
	if err := from.done(); err != nil {
		return err
	}
	if err != nil {
		return err
	}
	select {
	case a.saves <- struct{}{}:
		defer func() { <-a.saves }()
	default:
		return fault.New(fault.Overloaded, "this node sends %d snapshots already", maxSaves).
			WithHint("ask another node, or again later").After(time.Minute)
	}
	view, info, err := a.viewForSnapshot(r.Context(), options)
	if err != nil {
		return err
	}
	stream := fsm.SnapshotOf(view)
	defer stream.Close()
	state, err := recovery.StateOf(view)
	if err != nil {
		return err
	}
	info.SetHeader(x.Header())
	x.Header().Set("Content-Type", adminapi.SnapshotType)
	out := newSlow(x)
	if err := snapshot.WriteFile(out, policy, state, stream, a.origin("")); err != nil {
		if !x.answered {
			return err
		}
		a.cut(x, r, err)
	}
	return nil
}

// origin names this node as the one that takes a snapshot.
func (a *API) origin(reason string) snapshot.Origin {
	s := a.c.Observer.Status()
	return snapshot.Origin{Creator: s.Node + " mcpraft " + s.Version, Reason: reason}
}

func snapshotPolicy(compression string) (seal.Policy, error) {
	if compression == "" {
		return seal.Policy{Compression: seal.Zstd}, nil
	}
	c, err := seal.ParseCompression(compression)
	return seal.Policy{Compression: c}, err
}

// viewForSnapshot bounds the wait for the view, not what comes after.
func (a *API) viewForSnapshot(ctx context.Context, o adminapi.ReadOptions) (*fsm.View, adminapi.Info, error) {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	return a.view(ctx, o, adminapi.Linearizable)
}

// cut ends an answer that cannot be completed. The client sees that it ends early;
// the log tells why, unless the client went away.
func (a *API) cut(x *exchange, r *http.Request, err error) {
	if r.Context().Err() == nil {
		a.log.Warn("an answer was cut off", "route", strings.TrimSpace(r.Pattern), "request_id", x.requestID, "err", err)
	}
	panic(http.ErrAbortHandler)
}

// slow writes an answer that takes longer than the port's timeouts: each write has
// a deadline of its own.
type slow struct {
	x  *exchange
	rc *http.ResponseController
}

func newSlow(x *exchange) *slow {
	rc := http.NewResponseController(x.ResponseWriter)
	_ = rc.SetReadDeadline(time.Time{}) // the request has been read; a writer that knows no deadlines has none
	return &slow{x: x, rc: rc}
}

func (s *slow) Write(p []byte) (int, error) {
	_ = s.rc.SetWriteDeadline(time.Now().Add(adminapi.StallTimeout))
	if !s.x.answered {
		s.x.WriteHeader(http.StatusOK) // from here on a failure cannot be told, only shown
	}
	return s.x.Write(p)
}
