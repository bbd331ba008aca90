package archive

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"time"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode"
	"github.com/mcpraft/mcpraft/raftnode/peer"
	"github.com/mcpraft/mcpraft/wal"
)

// Defaults of PITR.
const (
	DefaultSegmentBytes  = 4 << 20
	DefaultFlush         = 10 * time.Second
	DefaultSpoolBytes    = 2 << 30
	DefaultRetention     = 7 * 24 * time.Hour
	DefaultPointInterval = 5 * time.Minute
)

// maxSegmentBytes bounds PITR.SegmentBytes: a segment is held in memory.
const maxSegmentBytes = 64 << 20

// PITR says how the log is archived, for point-in-time recovery. The zero value does
// not archive.
type PITR struct {
	Enabled      bool
	SegmentBytes int64         // a segment is cut when its entries have so many bytes; 0 means 4 MiB
	Flush        time.Duration // or when its oldest change is that old; 0 means 10 s

	// SpoolBytes is how large this node's log may become while it is not archived; 0
	// means 2 GiB. Beyond it the log is cut: what was not archived is lost for the
	// archive (not for the cluster), and a new backup closes the gap.
	SpoolBytes int64
	KeepSpool  bool // the log is not cut beyond SpoolBytes either; then the disk is the bound

	Retention     time.Duration // points that young stay restorable; 0 means 7 days
	PointInterval time.Duration // between the points that people are shown; 0 means 5 min
}

// Validate reports every mistake in p.
func (p PITR) Validate() error {
	var errs []error
	if p.SegmentBytes < 0 || p.SegmentBytes > maxSegmentBytes {
		errs = append(errs, fault.New(fault.Invalid, "a segment of %d bytes: want at most %d", p.SegmentBytes, maxSegmentBytes))
	}
	if p.Flush < 0 || p.SpoolBytes < 0 || p.Retention < 0 || p.PointInterval < 0 {
		errs = append(errs, fault.New(fault.Invalid, "a time or size of the archive is negative"))
	}
	return errors.Join(errs...)
}

func (p PITR) withDefaults() PITR {
	p.SegmentBytes = or(p.SegmentBytes, DefaultSegmentBytes)
	p.Flush = or(p.Flush, DefaultFlush)
	p.SpoolBytes = or(p.SpoolBytes, DefaultSpoolBytes)
	p.Retention = or(p.Retention, DefaultRetention)
	p.PointInterval = or(p.PointInterval, DefaultPointInterval)
	return p
}

func or[T int64 | time.Duration](v, d T) T {
	if v == 0 {
		return d
	}
	return v
}

// A Log is the log of this node, as far as it is applied; *raftnode.Node is one.
type Log interface {
	LogRange() (raftnode.LogRange, error)
	Entries(from, to uint64) iter.Seq2[wal.Entry, error]
	LogBytes() int64
}

// Peers are the other nodes; *raftnode.Node knows them.
type Peers interface {
	Handle(op uint16, h peer.Handler)
	Call(ctx context.Context, node string, op uint16, body []byte) ([]byte, error)
	Leader() (node, addr string, ok bool)
}

// Alarms are those of this node; *raftnode.Node has them.
type Alarms interface {
	Raise(name, message string)
	Clear(name string)
}

// ArchiverConfig is what an Archiver is made of, beside the Backups whose
// destination, protection and settings it shares.
type ArchiverConfig struct {
	Log     Log
	Peers   Peers
	Alarms  Alarms
	Metrics *Metrics     // nil means that nobody looks
	Logger  *slog.Logger // nil means discard
}

// An Archiver carries the log into the destination. Every node has one; Run and
// Rebase are duties of the leader, everything else may be called on any node, from
// any goroutine.
type Archiver struct {
	*Backups
	c       ArchiverConfig
	pitr    PITR
	log     *slog.Logger
	metrics *Metrics
	wanted  wanted
	scan    lagScan
}

// NewArchiver makes an Archiver and lets other nodes ask for the entries of this
// one's log. Until its duties run, nothing is archived.
func NewArchiver(b *Backups, c ArchiverConfig) *Archiver {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics(nil)
	}
	a := &Archiver{Backups: b, c: c, pitr: b.c.PITR.withDefaults(), log: c.Logger, metrics: c.Metrics}
	a.wanted.wake = make(chan struct{}, 1)
	handle(a, opEntries, a.serveEntries)
	handle(a, opFlush, a.serveFlush)
	return a
}

// A place is where the archive of the cluster stands.
type place struct {
	cluster record.ID
	record.Archive
}

// place reads it from this node's replica.
func (b *Backups) place(ctx context.Context) (place, error) {
	view, _, err := b.c.Replica.Read(ctx, raftnode.ReadOptions{Mode: raftnode.Any})
	if err != nil {
		return place{}, err
	}
	defer view.Close()
	return placeOf(view)
}

func placeOf(view *fsm.View) (place, error) {
	a, err := view.Archive()
	return place{cluster: view.Meta().ClusterID, Archive: a}, err
}
