package archive

import (
	"context"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode"
)

const (
	basePoll  = 5 * time.Second // between looks whether a backup is missing
	baseCheck = time.Hour       // between looks whether it is still there
)

// Rebase takes a backup, while this node leads, whenever the archive has none to
// start from: when it begins, behind a gap, on a new timeline, and when somebody took
// the backup, or the destination, away. Without one nothing of the log that follows
// can be restored.
func (a *Archiver) Rebase(ctx context.Context, _ raftnode.Term) error {
	defer a.c.Alarms.Clear(raftnode.AlarmGap)
	var looked time.Time // when the backup was seen
	for ctx.Err() == nil {
		reason, err := a.baseless(ctx, &looked)
		if err != nil {
			return err
		}
		if reason == "" {
			a.c.Alarms.Clear(raftnode.AlarmGap)
		} else {
			a.log.Info("taking a backup for the archive of the log", "reason", reason)
			if _, err := a.Backups.Run(ctx, reason, nil); err != nil {
				return err
			}
		}
		sleep(ctx, basePoll)
	}
	return nil
}

// baseless says why a backup is missing, or nothing.
func (a *Archiver) baseless(ctx context.Context, looked *time.Time) (reason string, err error) {
	at, err := a.place(ctx)
	switch {
	case err != nil || at.Sequence == 0:
		return "", err
	case !at.Based() && at.Gaps > 0:
		return "gap", nil
	case !at.Based():
		return "first", nil
	case time.Since(*looked) < baseCheck:
		return "", nil
	}
	_, err = a.Show(ctx, at.Backup.ID)
	if fault.Of(err) == fault.NotFound {
		return "lost", nil
	}
	if err == nil {
		*looked = time.Now()
	}
	return "", err
}
