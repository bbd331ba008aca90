package archive

import (
	"context"
	"fmt"
	"time"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode"
	"github.com/mcpraft/mcpraft/snapshot"
)

const (
	// scheduleLook is at most between looks whether something is due. They read this
	// replica only, and find a clock that jumped and a backup that somebody took.
	scheduleLook = time.Minute

	// Pauses after a failure. A backup reads the whole state, and a drill the whole
	// backup: the cap is what a broken destination costs.
	minSchedulePause = time.Minute
	maxSchedulePause = time.Hour
)

// A Schedule says when the leader takes backups, and when it verifies the newest one.
// The zero value does neither.
type Schedule struct {
	Backup Times
	After  snapshot.Level // how each backup is verified once it has arrived; "" means not
	Verify Times          // when the newest is verified besides
	Level  snapshot.Level // how; "" means LevelDrill
}

func (s Schedule) level() snapshot.Level {
	if s.Level == "" {
		return snapshot.LevelDrill
	}
	return s.Level
}

// BackUp takes a backup, while this node leads, when one is due: a time of the
// schedule lies behind the newest one that the cluster knows of, whoever took it.
// What was missed while there was no leader is so made up once, and a cluster without
// any backup takes one at once.
func (a *Archiver) BackUp(ctx context.Context, _ raftnode.Term) error {
	return a.keep(ctx, chore{name: "backup", alarm: raftnode.AlarmBackup, times: a.Backups.c.Schedule.Backup, do: a.backUpIfDue})
}

// Check verifies the newest backup, while this node leads, when that is due.
func (a *Archiver) Check(ctx context.Context, _ raftnode.Term) error {
	return a.keep(ctx, chore{name: "verify", alarm: raftnode.AlarmVerify, times: a.Backups.c.Schedule.Verify, do: a.verifyIfDue})
}

// A chore is what the schedule has done. It returns nil when nothing is due any more.
type chore struct {
	name  string
	alarm string
	times Times // when to look besides
	do    func(context.Context) error
}

// keep does c whenever it is due, until ctx ends. What fails is an alarm until it
// succeeds, and is tried again with growing pauses. That another works on the backups
// is no failure: they may be what is due.
func (a *Archiver) keep(ctx context.Context, c chore) error {
	defer a.c.Alarms.Clear(c.alarm)
	for pause := minSchedulePause; ctx.Err() == nil; {
		err := c.do(ctx)
		switch {
		case ctx.Err() != nil:
		case err == nil:
			pause = minSchedulePause
			a.c.Alarms.Clear(c.alarm)
			sleep(ctx, c.times.wait(scheduleLook))
		case fault.Of(err) == fault.Conflict:
			sleep(ctx, minSchedulePause)
		default:
			a.choreFailed(c, err, pause)
			sleep(ctx, pause)
			pause = min(2*pause, maxSchedulePause)
		}
	}
	return nil
}

func (a *Archiver) choreFailed(c chore, err error, pause time.Duration) {
	a.metrics.chores.WithLabelValues(c.name, fault.Of(err).String()).Inc()
	a.log.Error("the schedule of backups is not kept", "work", c.name, "again_in", pause.String(), "error", err)
	a.c.Alarms.Raise(c.alarm, fmt.Sprintf("%s on schedule failed: %s", c.name, fault.As(err).Message))
}

func (a *Archiver) backUpIfDue(ctx context.Context) error {
	at, err := a.place(ctx)
	if err != nil || !at.backupDue(a.Backups.c.Schedule, time.Now()) {
		return err
	}
	m, err := a.Backups.Run(ctx, "schedule", nil)
	if err == nil {
		a.log.Info("backup taken on schedule", "id", m.ID, "index", m.State.Index, "bytes", m.StoredBytes())
	}
	return err
}

func (p place) backupDue(s Schedule, now time.Time) bool {
	return s.Backup.missed(p.backedUp(), now)
}

// backedUp is when the newest backup arrived; zero: there is none.
func (p place) backedUp() time.Time {
	if p.Backup == nil {
		return time.Time{}
	}
	return p.Backup.Taken.Time()
}

// verified is when a backup last passed at that level; zero: none did.
func (p place) verified(l snapshot.Level) time.Time {
	if v := p.Verified(depths[l]); v != nil {
		return v.At.Time()
	}
	return time.Time{}
}

func (a *Archiver) verifyIfDue(ctx context.Context) error {
	at, err := a.place(ctx)
	if err != nil {
		return err
	}
	level := at.verifyDue(a.Backups.c.Schedule, time.Now())
	if level == "" {
		return nil
	}
	check, err := a.Backups.Verify(ctx, at.Backup.ID, level, nil)
	if err == nil {
		a.log.Info("backup verified on schedule", "id", at.Backup.ID, "level", string(level), "took", check.Took().String())
	}
	return err
}

// verifyDue is at which level the newest backup is to be verified now; "": it is not.
// What is due by the clock comes first: it is the deeper one as a rule, and then
// leaves nothing to the other.
func (p place) verifyDue(s Schedule, now time.Time) snapshot.Level {
	switch {
	case p.Backup == nil:
		return ""
	case s.Verify.missed(p.verified(s.level()), now):
		return s.level()
	case s.After != "" && p.verified(s.After).Before(p.backedUp()):
		return s.After
	}
	return ""
}

// depths are the levels as the cluster notes them.
var depths = map[snapshot.Level]record.Depth{
	snapshot.LevelFiles:  record.DepthFiles,
	snapshot.LevelDecode: record.DepthDecode,
	snapshot.LevelDrill:  record.DepthDrill,
}

// noteVerified tells the cluster of a verification that passed, so that every node
// knows how old the newest one is. One of a backup of an earlier timeline says nothing
// of this one.
func (b *Backups) noteVerified(ctx context.Context, m snapshot.Manifest, c *snapshot.Check) error {
	_, err := b.propose(ctx, 0, &fsm.NoteVerification{
		Timeline:     m.State.Timeline,
		Verification: record.Verification{Backup: m.ID, Depth: depths[c.Level], TookMS: uint64(c.TookMS)},
	})
	if fault.Of(err) == fault.Conflict {
		return nil
	}
	if err != nil {
		return fmt.Errorf("backup %s passed, and the cluster was not told: %w", m.ID, err)
	}
	return nil
}
