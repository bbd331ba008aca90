package archive

import (
	"context"
	"slices"
	"time"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/blob"
	"github.com/mcpraft/mcpraft/internal/failpoint"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode"
	"github.com/mcpraft/mcpraft/snapshot"
	"github.com/mcpraft/mcpraft/wal"
)

// A Pruning is what Prune deletes, or would.
type Pruning struct {
	snapshot.PrunePlan
	PrunedArchive
	Deleted []string // ids of the backups that are deleted; none after a dry run
}

// Prune deletes what nobody needs any more: segments and labels of the log first, then
// the backups that neither the retention keeps nor a point that is promised to be
// restorable needs. With dryRun it only says what that would be.
func (b *Backups) Prune(ctx context.Context, dryRun bool) (p Pruning, err error) {
	if dryRun {
		backups, err := b.backups(ctx)
		if err != nil {
			return p, err
		}
		return b.planPrune(ctx, backups)
	}
	return p, b.alone(ctx, func(backups snapshot.Backups) error {
		if p, err = b.planPrune(ctx, backups); err != nil {
			return err
		}
		if err := b.remove(ctx, p.PrunedArchive); err != nil {
			return err
		}
		p.Deleted, err = backups.Prune(ctx, p.PrunePlan)
		return err
	})
}

// planPrune decides from one look at the destination.
func (b *Backups) planPrune(ctx context.Context, backups snapshot.Backups) (p Pruning, err error) {
	s, err := b.Survey(ctx)
	if err != nil {
		return p, err
	}
	since := record.LogTimeAt(time.Now().Add(-b.c.PITR.withDefaults().Retention))
	needed, gone := s.expired(since)
	p.PrunedArchive = gone
	p.PrunePlan, err = backups.PlanPrune(ctx, b.c.Retention, time.UTC, func(x snapshot.Backup) bool {
		return needed[baseName{x.State.Timeline, x.State.Index}]
	})
	return p, err
}

// A PrunedArchive is what of the archive of the log nobody needs any more.
type PrunedArchive struct {
	Segments []wal.Ref // the oldest first, timeline by timeline
	Labels   []wal.Label
}

// Bytes is what the segments take in the destination.
func (p PrunedArchive) Bytes() (n int64) {
	for _, r := range p.Segments {
		n += r.Size
	}
	return n
}

// expired says what may go if every point since then shall stay restorable, as far as
// it is, and which backups that needs. A timeline that the cluster has left ended at
// the latest when the one that it is on began.
func (s *Survey) expired(since record.LogTime) (needed map[baseName]bool, gone PrunedArchive) {
	needed = map[baseName]bool{}
	current := s.Chain(s.Timeline)
	for _, c := range s.Chains {
		left := c.Timeline != s.Timeline && len(current.Runs) > 0 && current.Runs[0][0].FirstTime < since
		if left {
			for _, run := range c.Runs {
				gone.Segments = append(gone.Segments, run...)
			}
			gone.Segments = append(gone.Segments, c.Orphans...)
			continue
		}
		bases, expired := c.Retain(s.Bases(c.Timeline), since)
		gone.Segments = append(gone.Segments, expired...)
		for _, b := range bases {
			needed[baseName{c.Timeline, b.Index}] = true
		}
	}
	for _, l := range s.Labels {
		if l.LogTime < since && !s.restorable(l) {
			gone.Labels = append(gone.Labels, l)
		}
	}
	return needed, gone
}

// A baseName is a backup as a chain needs it.
type baseName struct {
	timeline record.Timeline
	index    uint64
}

func (s *Survey) restorable(l wal.Label) bool {
	for _, stretch := range s.Chain(l.Timeline).Stretches(s.Bases(l.Timeline)) {
		if stretch.Covers(l.Index) {
			return true
		}
	}
	return false
}

// remove deletes what expired says, the oldest first: whatever is left at any time is
// a chain that only begins later.
func (b *Backups) remove(ctx context.Context, gone PrunedArchive) error {
	for _, r := range gone.Segments {
		if err := b.c.Store.Delete(ctx, r.Name()); err != nil {
			return cannotDelete(b.c.Store, r.String(), err)
		}
		if err := failpoint.Eval("archive/prune"); err != nil {
			return err
		}
	}
	for _, l := range gone.Labels {
		if err := b.c.Store.Delete(ctx, l.Object()); err != nil {
			return cannotDelete(b.c.Store, "label "+l.Name, err)
		}
	}
	return b.forget(ctx, gone.Labels)
}

func cannotDelete(s blob.Store, what string, err error) error {
	if fault.Of(err) != fault.Forbidden {
		return err
	}
	return fault.New(fault.Forbidden, "%s in %s cannot be deleted: %w", what, s, err).
		WithHint("grant the permission to delete (s3:DeleteObject), or prune by other means")
}

// forget removes labels from the state that lead nowhere any more.
func (b *Backups) forget(ctx context.Context, gone []wal.Label) error {
	names, err := b.known(ctx, gone)
	if err != nil {
		return err
	}
	for batch := range slices.Chunk(names, fsm.MaxBatchItems) {
		if _, err := b.propose(ctx, 0, &fsm.RemoveLabels{Names: batch}); err != nil {
			return err
		}
	}
	return nil
}

// known are the names of those labels that the state still has as they are.
func (b *Backups) known(ctx context.Context, gone []wal.Label) (names []string, err error) {
	view, _, err := b.c.Replica.Read(ctx, raftnode.ReadOptions{Mode: raftnode.Any})
	if err != nil {
		return nil, err
	}
	defer view.Close()
	for _, l := range gone {
		have, err := view.Label(l.Name)
		if err == nil && have.Timeline == l.Timeline && have.Index == l.Index {
			names = append(names, l.Name)
		} else if err != nil && fault.Of(err) != fault.NotFound {
			return nil, err
		}
	}
	return names, nil
}
