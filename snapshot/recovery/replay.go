package recovery

import (
	"context"
	"errors"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/failpoint"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/snapshot"
	"github.com/mcpraft/mcpraft/wal"
)

// ReplayOptions say how a plan is carried out.
type ReplayOptions struct {
	FS               vfs.FS            // nil means the disk
	StopBeforeDamage bool              // a damaged segment ends the recovery in front of it, instead of failing it
	Note             func(string)      // told what people should know on the way; nil: nobody
	Told             func(bytes int64) // told how many stored bytes were read; nil: nobody
}

// A Reached is what a recovery to a point did.
type Reached struct {
	Restored
	Base     string // id of the backup that it began with
	Entries  int    // replayed on top of it
	Compared int    // digests of other backups that the state went through, and had
	Stopped  error  // the damage in front of which it stopped, as asked; nil: it reached the point
}

// Run does what p says: it restores the base, replays the segments on top of it,
// compares every digest that was recorded on the way, lets live sessions begin
// their TTL anew at now, and writes what came of it under the new timeline and the
// membership of t. A base that is damaged is passed over for the one before it. A
// failure or a crash leaves nothing under t.Dir.
func (p *PointPlan) Run(ctx context.Context, t Target, now record.LogTime, o ReplayOptions) (Reached, error) {
	if p.Damage != nil && !o.StopBeforeDamage {
		return Reached{}, p.Damage
	}
	var reached Reached
	restored, err := build(ctx, o.fs(), t, p.From, p.To, now, func(dir string, use func(*fsm.Machine) error) error {
		return p.replay(ctx, dir, o, &reached, use)
	})
	reached.Restored = restored
	return reached, err
}

// Drill restores to the point in the directory scratch, which it removes in the end,
// and compares the digest with want. An error that means that the point cannot be
// restored is of kind Integrity.
func (p *PointPlan) Drill(ctx context.Context, scratch string, want snapshot.State, o ReplayOptions) (reached Reached, err error) {
	defer func() { err = errors.Join(err, o.fs().RemoveAll(scratch)) }()
	err = p.replay(ctx, scratch, o, &reached, func(m *fsm.Machine) error {
		if got := snapshot.Digest(m.Meta().Digest); got != want.Digest {
			return fault.New(fault.Integrity, "what was restored to index %d has the digest %v, the cluster had %v", p.Index, got, want.Digest)
		}
		return nil
	})
	return reached, err
}

func (o ReplayOptions) fs() vfs.FS { return Copy{FS: o.FS}.fs() }

func (o ReplayOptions) note(text string) {
	if o.Note != nil {
		o.Note(text)
	}
}

// replay makes the state in dir and hands it to use. Bases are tried from the newest
// on, until one is not damaged.
func (p *PointPlan) replay(ctx context.Context, dir string, o ReplayOptions, done *Reached, use func(*fsm.Machine) error) error {
	var damages []error
	for _, base := range p.Bases {
		loaded := false
		err := p.withBase(ctx, dir, base, o, func(m *fsm.Machine) error {
			loaded = true
			done.Base = base.ID
			if err := p.roll(ctx, m, base, o, done); err != nil {
				return err
			}
			return use(m)
		})
		if err == nil || loaded || fault.Of(err) != fault.Integrity {
			return err
		}
		damages = append(damages, err)
		o.note(err.Error() + "; trying the backup before it")
	}
	return errors.Join(damages...)
}

// withBase restores a backup into a machine in dir.
func (p *PointPlan) withBase(ctx context.Context, dir string, base snapshot.Backup, o ReplayOptions, use func(*fsm.Machine) error) error {
	state, err := p.history.Open(ctx, base.Manifest)
	if err != nil {
		return err
	}
	defer state.Close()
	err = Copy{State: base.State, Stream: state, FS: o.FS}.load(dir, use)
	if fault.Of(err) == fault.Integrity {
		err = fault.New(fault.Integrity, "backup %s: %v", base.ID, err)
	}
	return err
}

// roll applies the segments above the base, up to the point.
func (p *PointPlan) roll(ctx context.Context, m *fsm.Machine, base snapshot.Backup, o ReplayOptions, done *Reached) error {
	r := &roller{replayer: replayer{machine: m}, plan: p, points: p.checkpoints(), done: done}
	for len(r.points) > 0 && r.points[0].Index <= base.State.Index {
		r.points = r.points[1:]
	}
	read := base.StoredBytes()
	for _, segment := range p.above(base.State.Index) {
		err := p.eachEntry(ctx, segment, func(e wal.Entry) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return r.take(e)
		})
		if err == errReached {
			break
		}
		if fault.Of(err) == fault.Integrity && r.wrong == nil && o.StopBeforeDamage {
			done.Stopped = err
			break
		}
		if err != nil {
			return err
		}
		if read += segment.Size; o.Told != nil {
			o.Told(read)
		}
		if err := failpoint.Eval("recovery/segment"); err != nil {
			return err
		}
	}
	return r.end()
}

// errReached says that the point was reached.
var errReached = errors.New("recovery: the point is reached")

// A roller applies entries up to the point, and compares digests.
type roller struct {
	replayer
	plan   *PointPlan
	points []snapshot.State // to come
	done   *Reached
	wrong  error // the state, not the segment, is not right: nothing to stop in front of
}

func (r *roller) take(e wal.Entry) error {
	if e.Index <= r.machine.Meta().Index {
		return nil // the base holds it
	}
	if e.Index > r.plan.Index {
		return errReached
	}
	if e.Kind != wal.Commands {
		return nil // a membership; the new cluster has its own
	}
	if len(r.points) > 0 && e.Index > r.points[0].Index {
		if err := r.compare(e.Index - 1); err != nil {
			return err
		}
	}
	r.done.Entries++
	if err := r.add(e); err != nil {
		r.wrong = err
		return err
	}
	return nil
}

// compare applies what is waiting and compares the digest with those of backups of
// states up to index.
func (r *roller) compare(index uint64) error {
	if err := r.flush(); err != nil {
		r.wrong = err
		return err
	}
	for len(r.points) > 0 && r.points[0].Index <= index {
		want := r.points[0]
		r.points = r.points[1:]
		if got := snapshot.Digest(r.machine.Meta().Digest); got != want.Digest {
			r.wrong = fault.New(fault.Integrity, "the state replayed to index %d has the digest %v; a backup of that index says %v", want.Index, got, want.Digest).
				WithHint("recover to a point in front of it with --to-index, and keep the destination as it is: one of the two is wrong")
			return r.wrong
		}
		r.done.Compared++
	}
	return nil
}

// end applies what is waiting, and looks at what the log itself says of the digest.
func (r *roller) end() error {
	last := r.plan.Index
	if r.done.Stopped != nil {
		last = 0 // what was reached is not known to be more than it is
	}
	if err := r.compare(last); err != nil {
		return err
	}
	if mismatch := r.machine.Mismatch(); mismatch != nil {
		return fault.New(fault.Integrity, "the replayed state is not right: the %v", mismatch).
			WithHint("recover to a point in front of it with --to-index %d, and keep the destination as it is", mismatch.Index-1)
	}
	return nil
}

// build makes the state of a new cluster in t.Dir: load makes a machine in the
// directory that it is given and hands it on.
func build(ctx context.Context, fs vfs.FS, t Target, from, to record.Timeline, now record.LogTime, load func(dir string, use func(*fsm.Machine) error) error) (_ Restored, err error) {
	if _, err := fs.Stat(t.Dir); err == nil {
		return Restored{}, fault.New(fault.Conflict, "%s exists already", t.Dir).WithHint("name a directory that does not exist")
	}
	restoring, building := t.Dir+replayingSuffix, t.Dir+buildingSuffix
	defer func() { err = errors.Join(err, fs.RemoveAll(restoring)) }()
	if err := fs.RemoveAll(building); err != nil {
		return Restored{}, err
	}
	result := Restored{From: from, Result: Result{Dir: t.Dir, Timeline: to}}
	err = load(restoring, func(m *fsm.Machine) error {
		result.Reached = m.Meta().Digest
		result.LogTime = m.Meta().LogTime
		if result.Sessions, err = reviveSessions(ctx, m, now); err != nil {
			return err
		}
		meta := m.Meta()
		result.State, result.Digest = Position{meta.Term, meta.Index}, meta.Digest
		return m.Sync()
	})
	if err != nil {
		return Restored{}, err
	}
	if err := copyState(fs, restoring, building, func(m fsm.Meta) fsm.Meta {
		m.Timeline, m.Configuration, m.ConfigurationIndex = to, t.Configuration, m.Index
		return m
	}); err != nil {
		return Restored{}, err
	}
	if err := failpoint.Eval("recovery/rename"); err != nil {
		return Restored{}, err
	}
	if err := fs.Rename(building, t.Dir); err != nil {
		return Restored{}, err
	}
	return result, syncDir(fs, fs.PathDir(t.Dir))
}
