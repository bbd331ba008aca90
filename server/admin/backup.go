package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/blob"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/adminapi"
	"github.com/mcpraft/mcpraft/server/archive"
	"github.com/mcpraft/mcpraft/snapshot"
)

// Backups are the backups of this cluster in the destination of this node. Its
// methods are called from any number of goroutines; told may be called by any.
type Backups interface {
	Run(ctx context.Context, reason string, told func(bytes int64)) (snapshot.Manifest, error)
	List(ctx context.Context) ([]snapshot.Backup, error)
	Show(ctx context.Context, id string) (snapshot.Backup, error)
	Verify(ctx context.Context, id string, level snapshot.Level, told func(bytes int64)) (*snapshot.Check, error)
	Prune(ctx context.Context, dryRun bool) (archive.Pruning, error)
	Hold(ctx context.Context, id string, h snapshot.Hold) error
	Release(ctx context.Context, id string) error
	Probe(ctx context.Context) ([]blob.Step, error)
}

const maxReason = 256 // bytes

// workRoutes are the routes for work, by method and path.
func (a *API) workRoutes() []struct {
	method, path string
	bind         func(x *exchange, from *args) (job, error)
} {
	return []struct {
		method, path string
		bind         func(x *exchange, from *args) (job, error)
	}{
		{http.MethodPost, adminapi.BackupsPath, a.runBackup},
		{http.MethodGet, adminapi.BackupsPath, a.listBackups},
		{http.MethodGet, adminapi.BackupStatusPath, a.backupStatus},
		{http.MethodPost, adminapi.BackupPrunePath, a.pruneBackups},
		{http.MethodPost, adminapi.BackupProbePath, a.probeDestination},
		{http.MethodGet, adminapi.BackupPath, a.showBackup},
		{http.MethodPost, adminapi.BackupCheckPath, a.verifyBackup},
		{http.MethodPut, adminapi.BackupHoldPath, a.holdBackup},
		{http.MethodDelete, adminapi.BackupHoldPath, a.releaseBackup},
		{http.MethodGet, adminapi.PITRPath, a.showPITR},
		{http.MethodPost, adminapi.PITRTimelinePath, a.pitrTimeline},
		{http.MethodGet, adminapi.PITRGapsPath, a.pitrGaps},
		{http.MethodPost, adminapi.PITRVerifyPath, a.verifyPITR},
		{http.MethodPost, adminapi.PITRFlushPath, a.flushPITR},
		{http.MethodGet, adminapi.PITRLabelsPath, a.listLabels},
		{http.MethodPost, adminapi.PITRLabelsPath, a.labelPITR},
		{http.MethodDelete, adminapi.PITRLabelPath, a.removeLabel},
	}
}

func (a *API) runBackup(_ *exchange, from *args) (job, error) {
	var spec adminapi.BackupRunSpec
	from.json(&spec)
	return func(ctx context.Context, done func(int64)) (any, error) {
		m, err := a.c.Backups.Run(ctx, spec.Reason, done)
		return backupOf(snapshot.Backup{Manifest: m}), err
	}, validReason(spec.Reason)
}

func (a *API) listBackups(*exchange, *args) (job, error) {
	return func(ctx context.Context, _ func(int64)) (any, error) {
		list, err := a.c.Backups.List(ctx)
		page := adminapi.Page[adminapi.Backup]{Items: []adminapi.Backup{}}
		for _, b := range list {
			page.Items = append(page.Items, backupOf(b))
		}
		return page, err
	}, nil
}

func (a *API) backupStatus(*exchange, *args) (job, error) {
	return func(ctx context.Context, _ func(int64)) (any, error) {
		s, err := a.c.Archive.Status(ctx)
		if err != nil {
			return nil, err
		}
		return adminapi.BackupStatus{
			PITR: pitrOf(s), Verified: verifiedOf(s.Archive.Listed), Drilled: verifiedOf(s.Archive.Drilled),
			NextBackup: nextOf(s.Schedule.Backup), NextVerify: nextOf(s.Schedule.Verify),
		}, nil
	}, nil
}

func verifiedOf(v *record.Verification) *adminapi.BackupVerified {
	if v == nil {
		return nil
	}
	return &adminapi.BackupVerified{ID: v.Backup, Level: v.Depth.String(), At: at(v.At), TookMS: v.TookMS}
}

// nextOf is the next of t; empty for none.
func nextOf(t archive.Times) string {
	next := t.Next(time.Now())
	if next.IsZero() {
		return ""
	}
	return next.Format(time.RFC3339)
}

func (a *API) showBackup(_ *exchange, from *args) (job, error) {
	return func(ctx context.Context, _ func(int64)) (any, error) { return a.shown(ctx, from.path("id")) }, nil
}

func (a *API) shown(ctx context.Context, id string) (adminapi.Backup, error) {
	b, err := a.c.Backups.Show(ctx, id)
	return backupOf(b), err
}

func (a *API) verifyBackup(_ *exchange, from *args) (job, error) {
	id, spec := from.path("id"), adminapi.BackupCheckSpec{Level: string(snapshot.LevelDecode)}
	from.json(&spec)
	level, err := snapshot.ParseLevel(spec.Level)
	return func(ctx context.Context, done func(int64)) (any, error) {
		check, err := a.c.Backups.Verify(ctx, id, level, done)
		if err != nil {
			return nil, err
		}
		c := checkOf(check)
		c.ID = id
		return c, nil
	}, err
}

func (a *API) pruneBackups(_ *exchange, from *args) (job, error) {
	var spec adminapi.BackupPruneSpec
	from.json(&spec)
	return func(ctx context.Context, _ func(int64)) (any, error) {
		done, err := a.c.Backups.Prune(ctx, spec.DryRun)
		p := adminapi.BackupPruning{
			DryRun: spec.DryRun, Verdicts: []adminapi.BackupVerdict{}, Leftovers: append([]string{}, done.Leftovers...), Deleted: append([]string{}, done.Deleted...),
			Segments: len(done.Segments), SegmentBytes: done.Bytes(), Labels: len(done.Labels),
		}
		for _, v := range done.Verdicts {
			p.Verdicts = append(p.Verdicts, adminapi.BackupVerdict{ID: v.Backup.ID, Keep: append([]string{}, v.Keep...)})
		}
		return p, err
	}, nil
}

func (a *API) holdBackup(x *exchange, from *args) (job, error) {
	id := from.path("id")
	var spec adminapi.BackupHoldSpec
	from.json(&spec)
	hold := snapshot.Hold{Reason: spec.Reason, By: x.caller.String(), Since: time.Now().UTC().Truncate(time.Second)}
	return func(ctx context.Context, _ func(int64)) (any, error) {
		if err := a.c.Backups.Hold(ctx, id, hold); err != nil {
			return nil, err
		}
		return a.shown(ctx, id)
	}, validReason(spec.Reason)
}

func (a *API) releaseBackup(_ *exchange, from *args) (job, error) {
	id := from.path("id")
	return func(ctx context.Context, _ func(int64)) (any, error) {
		if err := a.c.Backups.Release(ctx, id); err != nil {
			return nil, err
		}
		return a.shown(ctx, id)
	}, nil
}

// probeDestination answers with what was found also when that is a problem: the
// steps tell which permission is missing.
func (a *API) probeDestination(*exchange, *args) (job, error) {
	return func(ctx context.Context, _ func(int64)) (any, error) {
		steps, err := a.c.Backups.Probe(ctx)
		if err != nil && len(steps) == 0 {
			return nil, err
		}
		probe := adminapi.BackupProbe{Steps: []adminapi.BackupStep{}}
		for _, s := range steps {
			probe.Steps = append(probe.Steps, adminapi.BackupStep{Name: s.Name, Permission: s.Permission, Problem: textOf(s.Err)})
		}
		if err != nil {
			probe.Problem, probe.Hint = fault.As(err).Message, fault.As(err).Hint
		}
		return probe, nil
	}, nil
}

func validReason(reason string) error {
	if reason == "" {
		return nil
	}
	return record.ValidText("reason", reason, maxReason)
}

func textOf(err error) string {
	if err == nil {
		return ""
	}
	return fault.As(err).Message
}

func backupOf(b snapshot.Backup) adminapi.Backup {
	shown := adminapi.Backup{
		ID: b.ID, Created: b.Created.Format(time.RFC3339), Creator: b.Creator, Reason: b.Reason,
		Index: b.State.Index, Size: b.Size, StoredBytes: b.StoredBytes(), Cipher: b.Cipher, Compression: b.Compression, Damage: textOf(b.Damage),
	}
	if b.Damage == nil {
		shown.Timeline, shown.At, shown.Digest = b.State.Timeline.String(), b.State.At.Format(time.RFC3339), b.State.Digest.String()
	}
	for _, id := range b.Keys {
		shown.Keys = append(shown.Keys, id.String())
	}
	if b.Hold != nil {
		shown.Hold = &adminapi.BackupHold{Reason: b.Hold.Reason, By: b.Hold.By, Since: b.Hold.Since.Format(time.RFC3339)}
	}
	if b.Checked != nil {
		shown.Checked = new(checkOf(b.Checked))
	}
	return shown
}

func checkOf(c *snapshot.Check) adminapi.BackupCheck {
	return adminapi.BackupCheck{Level: string(c.Level), At: c.At.Format(time.RFC3339), TookMS: c.TookMS, Bytes: c.Bytes, Problem: c.Problem}
}
