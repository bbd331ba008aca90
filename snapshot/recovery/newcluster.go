package recovery

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/wal"
)

const (
	replayBatch     = 64 // entries applied at once
	replayingSuffix = ".replaying"
	buildingSuffix  = ".building"
)

// A Position is where a log ends. The survivor to recover from is the one with
// the highest.
type Position struct{ Term, Index uint64 }

// Compare orders positions as raft does: by term, then by index.
func (p Position) Compare(q Position) int {
	return cmp.Or(cmp.Compare(p.Term, q.Term), cmp.Compare(p.Index, q.Index))
}

func (p Position) String() string { return fmt.Sprintf("term %d, index %d", p.Term, p.Index) }

// A Survivor is what one stopped node holds.
type Survivor struct {
	State   string                                        // directory of its state machine
	FS      vfs.FS                                        // where it lies; nil means the disk
	Log     Position                                      // of the last entry of its log; zero when that is empty
	Entries func(from uint64) iter.Seq2[wal.Entry, error] // of its log, in order
}

// A Plan is what a recovery would do. Making one changes nothing but what any
// start of a node changes: the state's own write-ahead log is replayed.
type Plan struct {
	survivor Survivor

	Cluster   string
	ClusterID record.ID
	From      record.Timeline
	To        record.Timeline
	State     Position       // of the survivor's state
	Last      Position       // of the survivor's log, or of its state if that is further
	LogTime   record.LogTime // of the state
	Entries   int            // that will be replayed on top of the state
	Commands  int            // in them
	LastTime  record.LogTime // of the last of them; LogTime when there is none
}

// NewPlan reads the whole of the survivor and says what a recovery would do. An
// entry that does not decode is an error that names it.
func NewPlan(ctx context.Context, s Survivor) (_ *Plan, err error) {
	m, err := fsm.Open(s.State, fsm.Options{FS: s.FS})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	if mismatch := m.Mismatch(); mismatch != nil {
		return nil, fault.New(fault.Integrity, "the state of this survivor is not right: %v", mismatch).WithHint("recover from another survivor, or from a backup")
	}
	meta := m.Meta()
	p := &Plan{
		survivor: s,
		Cluster:  meta.ClusterName, ClusterID: meta.ClusterID, From: meta.Timeline,
		State: Position{meta.Term, meta.Index}, LogTime: meta.LogTime, LastTime: meta.LogTime,
	}
	p.Last = p.State
	if s.Log.Compare(p.Last) > 0 {
		p.Last = s.Log
	}
	if err := p.count(ctx); err != nil {
		return nil, err
	}
	if p.ClusterID.IsZero() {
		return nil, fault.New(fault.Invalid, "neither the state in %s nor the log behind it belongs to a cluster", s.State)
	}
	p.To = nextTimeline(p.From)
	return p, nil
}

// count looks at the entries to be replayed. A state that was never made durable
// is empty: then the cluster's identity is in one of them.
func (p *Plan) count(ctx context.Context) error {
	for e, err := range p.tail(ctx) {
		if err != nil {
			return err
		}
		envelope, err := fsm.DecodeEnvelope(e.Data)
		if err != nil {
			return fault.New(fault.Of(err), "entry %d of the log: %w", e.Index, err)
		}
		p.Entries++
		p.Commands += len(envelope.Proposals)
		for _, proposal := range envelope.Proposals {
			if c, ok := proposal.Command.(*fsm.InitCluster); ok && p.ClusterID.IsZero() {
				p.Cluster, p.ClusterID, p.From = c.Name, c.ID, c.Timeline
			}
		}
		p.LastTime = max(p.LastTime, e.LogTime)
	}
	return nil
}

// tail is the entries behind the state that carry commands. Memberships are left
// out: the new cluster has its own.
func (p *Plan) tail(ctx context.Context) iter.Seq2[wal.Entry, error] {
	return func(yield func(wal.Entry, error) bool) {
		last := p.State.Index
		for e, err := range p.survivor.Entries(last + 1) {
			if err == nil {
				err = ctx.Err()
			}
			if err == nil && e.Index <= last {
				err = fault.New(fault.Integrity, "entry %d of the log follows entry %d", e.Index, last)
			}
			if err != nil {
				yield(wal.Entry{}, err)
				return
			}
			last = e.Index
			if e.Kind == wal.Commands && !yield(e, nil) {
				return
			}
		}
	}
}

// A Target is where the recovered state goes.
type Target struct {
	Dir           string // must not exist; it appears when it is complete
	Configuration []byte // membership of the new cluster, opaque here
}

// A Result is what a recovery did.
type Result struct {
	Dir      string
	State    Position
	Timeline record.Timeline
	Digest   record.Digest
	Rejected int // commands that the state machine rejected, as it would have
}

// Run does what p says: it replays the tail on a copy of the state, and then
// writes what came of it under the new timeline and membership. A failure or a
// crash leaves nothing under Target.Dir.
func (p *Plan) Run(ctx context.Context, t Target) (_ Result, err error) {
	fs := p.survivor.FS
	if fs == nil {
		fs = vfs.Default
	}
	if _, err := fs.Stat(t.Dir); err == nil {
		return Result{}, fault.New(fault.Conflict, "%s exists already", t.Dir).WithHint("name a directory that does not exist")
	}
	replaying, building := t.Dir+replayingSuffix, t.Dir+buildingSuffix
	defer func() { err = errors.Join(err, fs.RemoveAll(replaying)) }()
	for _, dir := range []string{replaying, building} {
		if err := fs.RemoveAll(dir); err != nil {
			return Result{}, err
		}
	}
	asItIs := func(m fsm.Meta) fsm.Meta { return m }
	if err := copyState(fs, p.survivor.State, replaying, asItIs); err != nil {
		return Result{}, err
	}
	r, err := p.replay(ctx, fs, replaying)
	if err != nil {
		return Result{}, err
	}
	if err := copyState(fs, replaying, building, func(m fsm.Meta) fsm.Meta {
		m.Timeline, m.Configuration, m.ConfigurationIndex = p.To, t.Configuration, m.Index
		return m
	}); err != nil {
		return Result{}, err
	}
	if err := fs.Rename(building, t.Dir); err != nil {
		return Result{}, err
	}
	r.Dir, r.Timeline = t.Dir, p.To
	return r, syncDir(fs, fs.PathDir(t.Dir))
}

// copyState writes the state in one directory to another, with its meta changed.
func copyState(fs vfs.FS, from, to string, change func(fsm.Meta) fsm.Meta) (err error) {
	m, err := fsm.Open(from, fsm.Options{FS: fs})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	if m.Meta().Index == 0 {
		return nil // there is nothing to copy
	}
	snap, err := m.Snapshot()
	if err != nil {
		return err
	}
	defer snap.Close()
	r, w := io.Pipe()
	sent := make(chan struct{})
	go func() { // waited for below
		defer close(sent)
		_, err := snap.WriteTo(w)
		w.CloseWithError(err) // nil means EOF
	}()
	err = fsm.Seed(to, fsm.Options{FS: fs}, change(snap.Meta()), r)
	_ = r.CloseWithError(err) // ends the writer; has no error
	<-sent
	return err
}

// replay applies the tail to the copy in dir.
func (p *Plan) replay(ctx context.Context, fs vfs.FS, dir string) (_ Result, err error) {
	m, err := fsm.Open(dir, fsm.Options{FS: fs})
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	r := replayer{machine: m}
	for e, err := range p.tail(ctx) {
		if err == nil {
			err = r.add(e)
		}
		if err != nil {
			return Result{}, err
		}
	}
	if err := r.flush(); err != nil {
		return Result{}, err
	}
	meta := m.Meta()
	if mismatch := m.Mismatch(); mismatch != nil {
		return Result{}, fault.New(fault.Integrity, "the replayed state is not right: %v", mismatch).WithHint("recover from another survivor, or from a backup")
	}
	if meta.ClusterID != p.ClusterID {
		return Result{}, fault.New(fault.Integrity, "the replayed state is of cluster %s, not %s", meta.ClusterID, p.ClusterID)
	}
	return Result{State: Position{meta.Term, meta.Index}, Digest: meta.Digest, Rejected: r.rejected}, m.Sync()
}

// replayer applies entries in batches.
type replayer struct {
	machine  *fsm.Machine
	batch    []fsm.Entry
	rejected int
}

func (r *replayer) add(e wal.Entry) error {
	r.batch = append(r.batch, fsm.Entry{Index: e.Index, Term: e.Term, Data: e.Data})
	if len(r.batch) < replayBatch {
		return nil
	}
	return r.flush()
}

func (r *replayer) flush() error {
	if len(r.batch) == 0 {
		return nil
	}
	results, err := r.machine.Apply(r.batch)
	r.batch = r.batch[:0]
	for _, result := range results {
		for _, outcome := range result {
			if outcome.Kind != 0 {
				r.rejected++
			}
		}
	}
	return err
}

// nextTimeline follows t: a number higher, and a salt of its own, so that two
// recoveries of one cluster never share a name.
func nextTimeline(t record.Timeline) record.Timeline {
	var salt [4]byte
	_, _ = rand.Read(salt[:]) // never fails
	return record.Timeline{Number: t.Number + 1, Salt: binary.BigEndian.Uint32(salt[:])}
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
