package archive

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode"
)

const (
	flushPoll  = 50 * time.Millisecond // between looks whether it is archived
	flushAgain = 2 * time.Second       // between requests to the leader, which may have changed
)

// wanted is up to which index somebody waits for the archive.
type wanted struct {
	index atomic.Uint64
	wake  chan struct{} // capacity 1
}

// want asks for everything up to index.
func (w *wanted) want(index uint64) {
	for old := w.index.Load(); old < index && !w.index.CompareAndSwap(old, index); old = w.index.Load() {
	}
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Flush archives everything that was acknowledged before it was called, and returns
// when it can be restored. Any node may be asked; ctx bounds the wait.
func (a *Archiver) Flush(ctx context.Context) error {
	if err := a.archiving(); err != nil {
		return err
	}
	view, info, err := a.Backups.c.Replica.Read(ctx, raftnode.ReadOptions{Mode: raftnode.Linearizable})
	if err != nil {
		return err
	}
	view.Close()
	var asked time.Time
	for {
		at, err := a.place(ctx)
		if err != nil {
			return err
		}
		if at.Last >= info.Index {
			return nil
		}
		if time.Since(asked) > flushAgain {
			if err := a.askFlush(ctx, info.Index); err != nil {
				return err
			}
			asked = time.Now()
		}
		if sleep(ctx, flushPoll); ctx.Err() != nil {
			return fault.New(fault.Timeout, "the log is archived up to index %d, not yet up to %d", at.Last, info.Index).
				WithHint("`mcpraft pitr status` says what keeps it")
		}
	}
}

func (a *Archiver) askFlush(ctx context.Context, index uint64) error {
	leader, _, ok := a.c.Peers.Leader()
	if !ok {
		return nil // there will be one, and it will be asked
	}
	if leader == a.Backups.c.Node {
		a.wanted.want(index)
		return nil
	}
	_, err := call[empty](ctx, a, leader, opFlush, flushRequest{Index: index})
	if fault.Of(err).Retryable() {
		return nil
	}
	return err
}

func (a *Archiver) serveFlush(_ context.Context, q *flushRequest) (empty, error) {
	if err := a.archiving(); err != nil {
		return empty{}, err
	}
	a.wanted.want(q.Index)
	return empty{}, nil
}

// archiving reports why this node does not archive when it leads, or nil.
func (a *Archiver) archiving() error {
	if err := a.configured(); err != nil {
		return err
	}
	if !a.pitr.Enabled {
		return fault.New(fault.Precondition, "node %s does not archive the log", a.Backups.c.Node).
			WithHint("set pitr.enabled in the configuration of every node, and start them again")
	}
	return nil
}
