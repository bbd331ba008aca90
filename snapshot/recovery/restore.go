package recovery

import (
	"context"
	"errors"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/snapshot"
)

// A Copy is a state that was kept off the nodes: what it says of itself, and the
// stream, which is read once.
type Copy struct {
	State  snapshot.State
	Stream io.Reader
	FS     vfs.FS // where it is restored; nil means the disk
}

// A Restored is what Restore did.
type Restored struct {
	Result
	From     record.Timeline
	Reached  record.Digest  // of the state as it was restored; Digest is of the new one, with the time of sessions
	LogTime  record.LogTime // of the newest write that was restored
	Sessions uint64         // that live on
}

// Restore makes the state of a new cluster out of a copy: it restores it into a
// machine, which verifies every byte, compares the digest with the one that was
// recorded, and lets every live session begin its TTL anew at now, so that none
// expires for the time that passed. Then it writes what came of it under a new
// timeline and the membership of t. A failure or a crash leaves nothing under
// t.Dir.
func Restore(ctx context.Context, c Copy, t Target, now record.LogTime) (Restored, error) {
	return build(ctx, c.fs(), t, c.State.Timeline, nextTimeline(c.State.Timeline), now, c.load)
}

// Drill does what a restore does, in the directory scratch, which must not exist
// and is removed in the end: it restores the copy, compares the digest with the
// recorded one, and reads all of it back from the disk. An error that means that
// the copy cannot be restored is of kind Integrity.
func Drill(ctx context.Context, c Copy, scratch string) (err error) {
	defer func() { err = errors.Join(err, c.fs().RemoveAll(scratch)) }()
	return c.load(scratch, func(m *fsm.Machine) error {
		report, err := m.Scrub(ctx, nil)
		if err == nil && report.Damaged() {
			err = fault.New(fault.Integrity, "what was restored reads back with the digest %v, not %v", report.Digest, report.Want).
				WithHint("the disk of the scratch directory returns other bytes than were written")
		}
		return err
	})
}

func (c Copy) fs() vfs.FS {
	if c.FS == nil {
		return vfs.Default
	}
	return c.FS
}

// load restores the copy into a new machine in dir and hands it to use, which runs
// only if the state is the one that was described.
func (c Copy) load(dir string, use func(*fsm.Machine) error) (err error) {
	if err := c.fs().RemoveAll(dir); err != nil {
		return err
	}
	m, err := fsm.Open(dir, fsm.Options{FS: c.fs()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	if err := m.Restore(c.Stream, fsm.Installed{Index: c.State.Index, Term: c.State.Term}); err != nil {
		return err
	}
	if err := c.compare(m.Meta()); err != nil {
		return err
	}
	return use(m)
}

// compare says what of a restored state is not as it was described.
func (c Copy) compare(m fsm.Meta) error {
	s := c.State
	switch {
	case m.ClusterID != s.Cluster || m.ClusterName != s.ClusterName:
		return fault.New(fault.Integrity, "the restored state is of cluster %s (%s), the description says %s (%s)", m.ClusterName, m.ClusterID, s.ClusterName, s.Cluster)
	case m.Timeline != s.Timeline:
		return fault.New(fault.Integrity, "the restored state is of timeline %s, the description says %s", m.Timeline, s.Timeline)
	case snapshot.Digest(m.Digest) != s.Digest:
		return fault.New(fault.Integrity, "the restored state has the digest %v, the description says %v", m.Digest, s.Digest)
	}
	return nil
}

// reviveSessions makes now the newest activity of every live session. It goes
// through the same commands as a client's activity would.
func reviveSessions(ctx context.Context, m *fsm.Machine, now record.LogTime) (revived uint64, err error) {
	view, err := m.View()
	if err != nil {
		return 0, err
	}
	defer view.Close()
	r := reviver{machine: m, now: max(now, m.Meta().LogTime)}
	for s, err := range view.Sessions(0, "") {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil && s.State.Live() {
			err = r.add(s.ID)
		}
		if err != nil {
			return 0, err
		}
	}
	return r.revived, r.flush()
}

// reviver touches sessions in batches, one command an entry.
type reviver struct {
	machine *fsm.Machine
	now     record.LogTime
	batch   []fsm.Touch
	revived uint64
}

func (r *reviver) add(id string) error {
	r.batch = append(r.batch, fsm.Touch{ID: id, LastActive: r.now})
	r.revived++
	if len(r.batch) < fsm.MaxBatchItems {
		return nil
	}
	return r.flush()
}

func (r *reviver) flush() error {
	if len(r.batch) == 0 {
		return nil
	}
	envelope := fsm.Envelope{Time: r.now, Proposals: []fsm.Proposal{{
		Actor:   record.Principal{Issuer: "mcpraft", Subject: "restore"},
		Command: &fsm.TouchSessions{Touches: r.batch},
	}}}
	data, err := envelope.Encode()
	if err != nil {
		return err
	}
	meta := r.machine.Meta()
	results, err := r.machine.Apply([]fsm.Entry{{Index: meta.Index + 1, Term: meta.Term, Data: data}})
	if err != nil {
		return err
	}
	r.batch = r.batch[:0]
	return results[0][0].Err()
}
