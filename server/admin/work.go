package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/adminapi"
)

const (
	// beat is how often work that is not done says how far it is; it is far below
	// adminapi.StallTimeout.
	beat = 2 * time.Second
	// maxWork is how many requests for work run at once on a node.
	maxWork = 8
)

// A job is work that takes its time: a backup, a check. done is told how many bytes
// of the state are done.
type job func(ctx context.Context, done func(int64)) (any, error)

// workRoute makes a route of what binds its arguments and returns the job. The job
// ends when its client goes away.
func (a *API) workRoute(bind func(x *exchange, from *args) (job, error)) http.Handler {
	return a.serve(func(x *exchange, r *http.Request) error {
		from := newArgs(x, r)
		do, err := bind(x, from)
		if argsErr := from.done(); argsErr != nil {
			return argsErr
		}
		if err != nil {
			return err
		}
		select {
		case a.works <- struct{}{}:
			defer func() { <-a.works }()
		default:
			return fault.New(fault.Overloaded, "this node does %d such things already", maxWork).After(beat)
		}
		return a.work(x, r, do)
	})
}

// work runs a job and tells how far it is. A job that fails before anything was
// told is refused like any other request.
func (a *API) work(x *exchange, r *http.Request, do job) error {
	var done atomic.Int64
	var result any
	var failed error
	ended := make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		defer close(ended)
		result, failed = do(r.Context(), done.Store)
	})
	x.Header().Set("Content-Type", adminapi.WorkType)
	out := newSlow(x)
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := out.line(adminapi.WorkLine{Bytes: new(done.Load())}); err != nil {
				continue // nobody listens: r's context ends, and the job with it
			}
		case <-ended:
			if failed != nil && !x.answered {
				return failed
			}
			a.finish(x, r, out, result, failed)
			return nil
		}
	}
}

// finish writes the last line.
func (a *API) finish(x *exchange, r *http.Request, out *slow, result any, failed error) {
	var line adminapi.WorkLine
	if failed == nil {
		line.Result, failed = json.Marshal(result)
	}
	if failed != nil {
		e := fault.As(failed)
		a.logFailure(r.Method+" "+r.Pattern, x.requestID, e)
		line.Error = new(adminapi.ErrorOf(e, x.requestID))
	}
	_ = out.line(line) // an error here means that nobody listens
}

// line writes one line and sends it.
func (s *slow) line(l adminapi.WorkLine) error {
	text, err := json.Marshal(l)
	if err != nil {
		return err
	}
	if _, err := s.Write(append(text, '\n')); err != nil {
		return err
	}
	return s.rc.Flush()
}
