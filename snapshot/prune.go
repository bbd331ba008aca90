package snapshot

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/mcpraft/mcpraft/internal/failpoint"
	"github.com/mcpraft/mcpraft/internal/fault"
)

// leftoverAge is how old files without a manifest must be to be pruned: a backup
// that is being taken has none yet.
const leftoverAge = 24 * time.Hour

// A PrunePlan is what Prune would do. Making one changes nothing.
type PrunePlan struct {
	Verdicts  []Verdict // of all backups, the oldest first
	Leftovers []string  // ids of backups that were never finished, or not wholly deleted
}

// Expired is the ids of the backups that go.
func (p PrunePlan) Expired() []string {
	var ids []string
	for _, v := range p.Verdicts {
		if len(v.Keep) == 0 {
			ids = append(ids, v.Backup.ID)
		}
	}
	return ids
}

// PlanPrune decides what a retention leaves of the backups in the destination; see
// Retention.Plan for zone and needed.
func (b Backups) PlanPrune(ctx context.Context, r Retention, zone *time.Location, needed func(Backup) bool) (PrunePlan, error) {
	if err := r.Validate(); err != nil {
		return PrunePlan{}, err
	}
	// Files first: a backup that is finished between the two lists has a manifest in
	// the second.
	files, err := b.newestFiles(ctx)
	if err != nil {
		return PrunePlan{}, err
	}
	backups, err := b.List(ctx)
	if err != nil {
		return PrunePlan{}, err
	}
	now := time.Now()
	plan := PrunePlan{Verdicts: r.Plan(backups, now, zone, needed)}
	for id, newest := range files {
		known := slices.ContainsFunc(backups, func(x Backup) bool { return x.ID == id })
		if !known && now.Sub(newest) > leftoverAge {
			plan.Leftovers = append(plan.Leftovers, id)
		}
	}
	slices.Sort(plan.Leftovers)
	return plan, nil
}

// newestFiles is, for each backup that has files, when the newest was stored.
func (b Backups) newestFiles(ctx context.Context) (map[string]time.Time, error) {
	prefix := folder(b.Cluster, states)
	newest := map[string]time.Time{}
	for info, err := range b.Store.List(ctx, prefix, "") {
		if err != nil {
			return nil, err
		}
		id, _, _ := strings.Cut(strings.TrimPrefix(info.Name, prefix), "/")
		if _, ok := parseID(id); ok && info.Modified.After(newest[id]) {
			newest[id] = info.Modified
		}
	}
	return newest, nil
}

// Prune deletes what plan says, backup by backup, and stops at the first error:
// what is done stays done, and the next plan goes on. A backup that was put on hold
// since the plan was made stays. The ids of what was deleted are returned.
func (b Backups) Prune(ctx context.Context, plan PrunePlan) (deleted []string, err error) {
	for _, id := range append(plan.Expired(), plan.Leftovers...) {
		hold, err := optional[Hold](ctx, b, holds, id)
		if err != nil {
			return deleted, err
		}
		if hold != nil {
			continue
		}
		if err := b.remove(ctx, id); err != nil {
			return deleted, err
		}
		deleted = append(deleted, id)
	}
	return deleted, nil
}

// remove deletes a backup: the manifest first, so that one which is half deleted is
// no backup.
func (b Backups) remove(ctx context.Context, id string) error {
	if err := ValidID(id); err != nil {
		return err
	}
	if err := b.Store.Delete(ctx, b.object(manifests, id)); err != nil {
		return cannotDelete(id, err)
	}
	if err := failpoint.Eval("snapshot/prune"); err != nil {
		return err
	}
	for info, err := range b.Store.List(ctx, b.file(id, ""), "") {
		if err == nil {
			err = b.Store.Delete(ctx, info.Name)
		}
		if err != nil {
			return cannotDelete(id, err)
		}
	}
	return b.Store.Delete(ctx, b.object(checks, id))
}

func cannotDelete(id string, err error) error {
	if fault.Of(err) != fault.Forbidden {
		return err
	}
	return fault.New(fault.Forbidden, "backup %s cannot be deleted: %v", id, err).
		WithHint("grant s3:DeleteObject, or let the bucket's own lifecycle rules delete and set no retention here")
}
