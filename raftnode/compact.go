package raftnode

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/raft"

	"github.com/mcpraft/mcpraft/internal/failpoint"
)

const compactInterval = time.Second // between looks at how much was applied

// compact drives snapshots: when enough entries or bytes were applied since the
// last one, the state is made durable and raft cuts its log behind it, but for
// TrailingLogs entries. The log's guard never cuts what the archive lacks.
func (n *Node) compact(ctx context.Context) {
	for sleep(ctx, compactInterval) == nil {
		if n.machine.entries.Load() < n.cfg.SnapshotEntries && n.machine.bytes.Load() < n.cfg.SnapshotBytes {
			continue
		}
		n.machine.entries.Store(0)
		n.machine.bytes.Store(0)
		if err := n.snapshot(ctx); err != nil && ctx.Err() == nil {
			n.log.Warn("snapshot", "error", err)
		}
	}
}

func (n *Node) snapshot(ctx context.Context) error {
	if err := failpoint.Eval("raftnode/snapshot"); err != nil {
		return err
	}
	err := n.await1(ctx, n.raft().Snapshot())
	if errors.Is(err, raft.ErrNothingNewToSnapshot) {
		return nil
	}
	if err == nil {
		n.metrics.snapshots.Inc()
	}
	return err
}

// cutFloor is the newest entry that may be cut off the log. The entry that the
// durable state stands at stays, so that the next start can compare the two.
func (n *Node) cutFloor() uint64 {
	floor := n.fsm.DurableIndex()
	if floor > 0 {
		floor--
	}
	if n.cfg.ArchiveFloor != nil {
		floor = min(floor, n.cfg.ArchiveFloor())
	}
	return floor
}
