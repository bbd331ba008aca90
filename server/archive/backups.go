package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/blob"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/seal"
	"github.com/mcpraft/mcpraft/raftnode"
	"github.com/mcpraft/mcpraft/snapshot"
	"github.com/mcpraft/mcpraft/snapshot/recovery"
)

// A Replica is the state as this node reads and changes it; *raftnode.Node is one.
type Replica interface {
	Propose(ctx context.Context, r raftnode.Request) (raftnode.Receipt, error)
	Read(ctx context.Context, o raftnode.ReadOptions) (*fsm.View, raftnode.ReadInfo, error)
}

// Options say where backups go, how they are protected and which are kept.
type Options struct {
	Store     blob.Store // nil: no destination is configured, and every method says so
	Policy    seal.Policy
	Retention snapshot.Retention
	PITR      PITR
	Schedule  Schedule
}

// Config is what Backups are made of.
type Config struct {
	Options
	Replica Replica
	Actor   record.Principal // this node
	Node    string
	Process record.ID
	Creator string // node and version, for people
	Scratch string // directory in which drills restore; it is on the node's disk
}

// Backups take, check and delete the backups of this cluster. Its methods may be
// called from any goroutine; those that write to the destination run one at a time
// in the whole cluster, and a second one is a Conflict.
type Backups struct{ c Config }

// New makes Backups.
func New(c Config) *Backups { return &Backups{c} }

// A Progress is told how many bytes of the state are done. Nil tells nobody.
type Progress = func(bytes int64)

// Run takes a backup of the state, with every write that was acknowledged before.
func (b *Backups) Run(ctx context.Context, reason string, told Progress) (m snapshot.Manifest, err error) {
	err = b.alone(ctx, func(backups snapshot.Backups) error {
		view, _, err := b.c.Replica.Read(ctx, raftnode.ReadOptions{Mode: raftnode.Linearizable})
		if err != nil {
			return err
		}
		stream := fsm.SnapshotOf(view)
		defer stream.Close()
		state, err := recovery.StateOf(view)
		if err != nil {
			return err
		}
		if m, err = backups.Save(ctx, state, counting{stream, told}, snapshot.Origin{Creator: b.c.Creator, Reason: reason}); err != nil {
			return err
		}
		return b.note(ctx, m)
	})
	return m, err
}

// note tells the cluster of a backup, so that every node knows how old the newest
// one is.
func (b *Backups) note(ctx context.Context, m snapshot.Manifest) error {
	_, err := b.propose(ctx, 0, &fsm.NoteBackup{
		Timeline: m.State.Timeline,
		Backup:   record.Backup{ID: m.ID, Index: m.State.Index, LogTime: m.State.LogTime},
	})
	if err != nil {
		return fmt.Errorf("backup %s is stored, and the cluster was not told: %w", m.ID, err)
	}
	return nil
}

// counting is a stream that tells how far it is.
type counting struct {
	stream io.WriterTo
	told   Progress
}

func (c counting) WriteTo(w io.Writer) (int64, error) {
	return c.stream.WriteTo(&countingWriter{w: w, told: c.told})
}

type countingWriter struct {
	w    io.Writer
	told Progress
	n    int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	if c.n += int64(n); c.told != nil {
		c.told(c.n)
	}
	return n, err
}

// List is all backups, the oldest first.
func (b *Backups) List(ctx context.Context) ([]snapshot.Backup, error) {
	backups, err := b.backups(ctx)
	if err != nil {
		return nil, err
	}
	return backups.List(ctx)
}

// Show is the backup of that id.
func (b *Backups) Show(ctx context.Context, id string) (snapshot.Backup, error) {
	backups, err := b.backups(ctx)
	if err != nil {
		return snapshot.Backup{}, err
	}
	return backups.Show(ctx, id)
}

// Verify checks a backup, notes the result with it, and has the cluster know when it
// passed. Damage is an error of kind
// Integrity that names the object.
func (b *Backups) Verify(ctx context.Context, id string, level snapshot.Level, told Progress) (*snapshot.Check, error) {
	backup, err := b.Show(ctx, id)
	if err == nil {
		err = backup.Damage
	}
	if err != nil {
		return nil, err
	}
	backups, err := b.backups(ctx)
	if err != nil {
		return nil, err
	}
	check, err := b.verify(ctx, backups, backup.Manifest, level, told)
	if check == nil {
		return nil, err
	}
	check.Level = level
	if err = errors.Join(err, backups.Note(ctx, id, *check)); err == nil {
		err = b.noteVerified(ctx, backup.Manifest, check)
	}
	return check, err
}

// verify drills at the level of that name: it restores what a verification reads.
func (b *Backups) verify(ctx context.Context, backups snapshot.Backups, m snapshot.Manifest, level snapshot.Level, told Progress) (*snapshot.Check, error) {
	if level == snapshot.LevelFiles {
		return backups.Verify(ctx, m, level, nil)
	}
	return backups.Verify(ctx, m, snapshot.LevelDecode, func(r io.Reader) error {
		r = io.TeeReader(r, &countingWriter{w: io.Discard, told: told})
		if level == snapshot.LevelDecode {
			_, err := io.Copy(io.Discard, r)
			return err
		}
		return b.drill(ctx, recovery.Copy{State: m.State, Stream: r})
	})
}

func (b *Backups) drill(ctx context.Context, c recovery.Copy) (err error) {
	scratch, err := os.MkdirTemp(b.c.Scratch, "drill-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	return recovery.Drill(ctx, c, filepath.Join(scratch, "state"))
}

// Hold keeps a backup until Release.
func (b *Backups) Hold(ctx context.Context, id string, h snapshot.Hold) error {
	backups, err := b.backups(ctx)
	if err != nil {
		return err
	}
	return backups.Hold(ctx, id, h)
}

// Release ends a hold.
func (b *Backups) Release(ctx context.Context, id string) error {
	backups, err := b.backups(ctx)
	if err != nil {
		return err
	}
	return backups.Release(ctx, id)
}

// Probe tries everything that a destination must be able to do; see blob.Probe.
func (b *Backups) Probe(ctx context.Context) ([]blob.Step, error) {
	if err := b.configured(); err != nil {
		return nil, err
	}
	return blob.Probe(ctx, b.c.Store)
}

func (b *Backups) configured() error {
	if b.c.Store == nil {
		return fault.New(fault.Precondition, "node %s has no destination for backups", b.c.Node).
			WithHint("set backup.destination in its configuration, and start it again")
	}
	return nil
}

// backups are those of the cluster that this node belongs to.
func (b *Backups) backups(ctx context.Context) (snapshot.Backups, error) {
	if err := b.configured(); err != nil {
		return snapshot.Backups{}, err
	}
	view, _, err := b.c.Replica.Read(ctx, raftnode.ReadOptions{Mode: raftnode.Any})
	if err != nil {
		return snapshot.Backups{}, err
	}
	defer view.Close()
	return snapshot.Backups{Store: b.c.Store, Cluster: view.Meta().ClusterID, Policy: b.c.Policy}, nil
}
