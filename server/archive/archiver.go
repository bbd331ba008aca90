package archive

import (
	"context"
	"fmt"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode"
)

const (
	// Pauses after a failure. The cap is what a destination that comes back after
	// hours costs before the archive goes on.
	minPause = time.Second
	maxPause = time.Minute

	// alarmAfter is for how long the archive may fail before it is an alarm; a
	// flush interval that is longer counts instead.
	alarmAfter = 30 * time.Second
)

// Run archives the log while this node leads: it cuts the entries behind the
// archived index into segments, stores each, reads it back, and has the cluster take
// it up. Whatever fails is tried again, with growing pauses; the log itself is the
// only thing that waits, so a dead destination costs no memory, and a new leader
// goes on where the cluster says that the archive stands. Run returns when ctx ends.
func (a *Archiver) Run(ctx context.Context, term raftnode.Term) error {
	defer a.c.Alarms.Clear(raftnode.AlarmArchive)
	r := run{Archiver: a, term: uint64(term)}
	for pause := minPause; ctx.Err() == nil; {
		err := r.step(ctx)
		switch {
		case ctx.Err() != nil:
		case err == nil:
			pause = minPause
			r.succeeded()
		default:
			r.failed(err)
			sleep(ctx, pause)
			pause = min(2*pause, maxPause)
		}
	}
	return nil
}

// run is the archiver in one term.
type run struct {
	*Archiver
	term    uint64
	sealed  *sealed   // on its way to the destination; nil: none
	missing time.Time // since when entries are looked for that this node does not have; zero: it has what it needs
	failing time.Time // since when nothing succeeds; zero: all is well
}

// step archives one segment, or goes on with the one that did not get through.
func (r *run) step(ctx context.Context) error {
	if r.sealed == nil {
		p, err := r.gather(ctx)
		if p == nil || err != nil {
			return err
		}
		if r.sealed, err = r.seal(p); err != nil {
			return err
		}
	}
	done, err := r.deliver(ctx, r.sealed)
	if done {
		r.sealed = nil
	}
	return err
}

func (r *run) succeeded() {
	if r.failing.IsZero() {
		return
	}
	r.log.Info("the log is archived again", "failed_for", time.Since(r.failing).Round(time.Second).String())
	r.failing = time.Time{}
	r.c.Alarms.Clear(raftnode.AlarmArchive)
}

func (r *run) failed(err error) {
	now := time.Now()
	if r.failing.IsZero() {
		r.failing = now
	}
	r.metrics.failures.WithLabelValues(fault.Of(err).String()).Inc()
	r.log.Warn("the log is not archived", "since", r.failing, "error", err)
	if now.Sub(r.failing) < max(alarmAfter, r.pitr.Flush) {
		return
	}
	r.c.Alarms.Raise(raftnode.AlarmArchive, fmt.Sprintf("the log is not archived since %s: %s; it takes %d MiB of the %d MiB that may wait",
		r.failing.UTC().Format(time.RFC3339), fault.As(err).Message, r.c.Log.LogBytes()>>20, r.pitr.SpoolBytes>>20))
}

// sleep waits for d, or for the end of ctx.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
