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
	replayBatch    = 64 // entries applied at once
	buildingSuffix = ".building"
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
	if meta.ClusterID.IsZero() {
		return nil, fault.New(fault.Invalid, "the state in %s belongs to no cluster yet", s.State)
	}
	p := &Plan{
		survivor: s,
		Cluster:  meta.ClusterName, ClusterID: meta.ClusterID,
		From: meta.Timeline, To: nextTimeline(meta.Timeline),
		State: Position{meta.Term, meta.Index}, LogTime: meta.LogTime, LastTime: meta.LogTime,
	}
	p.Last = p.State
	if s.Log.Compare(p.Last) > 0 {
		p.Last = s.Log
	}
	return p, p.count(ctx)
}

// count looks at the entries to be replayed.
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

// Run does what p says. A failure or a crash leaves nothing under Target.Dir.
func (p *Plan) Run(ctx context.Context, t Target) (Result, error) {
	fs := p.survivor.FS
	if fs == nil {
		fs = vfs.Default
	}
	if _, err := fs.Stat(t.Dir); err == nil {
		return Result{}, fault.New(fault.Conflict, "%s exists already", t.Dir).WithHint("name a directory that does not exist")
	}
	building := t.Dir + buildingSuffix
	if err := fs.RemoveAll(building); err != nil {
		return Result{}, err
	}
	if err := p.seed(fs, building, t.Configuration); err != nil {
		return Result{}, err
	}
	r, err := p.replay(ctx, fs, building)
	if err != nil {
		return Result{}, err
	}
	if err := fs.Rename(building, t.Dir); err != nil {
		return Result{}, err
	}
	r.Dir = t.Dir
	return r, syncDir(fs, fs.PathDir(t.Dir))
}

// seed copies the survivor's state under the new timeline and membership.
func (p *Plan) seed(fs vfs.FS, dir string, configuration []byte) (err error) {
	m, err := fsm.Open(p.survivor.State, fsm.Options{FS: fs})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	snap, err := m.Snapshot()
	if err != nil {
		return err
	}
	defer snap.Close()
	meta := snap.Meta()
	meta.Timeline = p.To
	meta.Configuration, meta.ConfigurationIndex = configuration, meta.Index
	r, w := io.Pipe()
	sent := make(chan struct{})
	go func() { // waited for below
		defer close(sent)
		_, err := snap.WriteTo(w)
		w.CloseWithError(err) // nil means EOF
	}()
	err = fsm.Seed(dir, fsm.Options{FS: fs}, meta, r)
	_ = r.CloseWithError(err) // ends the writer; has no error
	<-sent
	return err
}

// replay applies the tail to the copy.
func (p *Plan) replay(ctx context.Context, fs vfs.FS, dir string) (_ Result, err error) {
	m, err := fsm.Open(dir, fsm.Options{FS: fs})
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	var r Result
	var batch []fsm.Entry
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		results, err := m.Apply(batch)
		for _, result := range results {
			for _, outcome := range result {
				if outcome.Kind != 0 {
					r.Rejected++
				}
			}
		}
		batch = batch[:0]
		return err
	}
	for e, err := range p.tail(ctx) {
		if err != nil {
			return Result{}, err
		}
		batch = append(batch, fsm.Entry{Index: e.Index, Term: e.Term, Data: e.Data})
		if len(batch) == replayBatch {
			if err := flush(); err != nil {
				return Result{}, err
			}
		}
	}
	if err := flush(); err != nil {
		return Result{}, err
	}
	if mismatch := m.Mismatch(); mismatch != nil {
		return Result{}, fault.New(fault.Integrity, "the replayed state is not right: %v", mismatch).WithHint("recover from another survivor, or from a backup")
	}
	if err := m.Sync(); err != nil {
		return Result{}, err
	}
	meta := m.Meta()
	r.State, r.Timeline, r.Digest = Position{meta.Term, meta.Index}, meta.Timeline, meta.Digest
	return r, nil
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
