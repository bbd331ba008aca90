package raftnode

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

// Free space of the data directory's file system, in percent.
const (
	lowPercent      = 5  // below it only deletes and administration are taken
	criticalPercent = 2  // below it leadership goes elsewhere and the ballast is given up
	ballastPercent  = 10 // above it the ballast is put back

	diskInterval = time.Second // between looks
)

type diskLevel int32

const (
	diskOK diskLevel = iota
	diskLow
	diskCritical
)

// disk watches the free space of the data directory.
type disk struct {
	fs      vfs.FS
	dir     string
	ballast int64 // bytes; 0: none
	free    func() (free, total uint64, err error)
	now     atomic.Int32
}

func (d *disk) level() diskLevel { return diskLevel(d.now.Load()) }

// look measures once and returns the level before and after. An unknown size is
// no reason to refuse anything.
func (d *disk) look() (before, after diskLevel, percent float64, err error) {
	before = d.level()
	free, total, err := d.free()
	if err != nil || total == 0 {
		return before, before, 100, err
	}
	percent = 100 * float64(free) / float64(total)
	switch {
	case percent <= criticalPercent:
		after = diskCritical
	case percent <= lowPercent:
		after = diskLow
	}
	d.now.Store(int32(after))
	return before, after, percent, nil
}

// watchDisk follows the free space and acts on it until ctx ends. A node with a
// full disk or a wrong state does not keep the leadership.
func (n *Node) watchDisk(ctx context.Context) {
	for {
		before, after, percent, err := n.disk.look()
		if err != nil {
			n.log.Warn("free disk space is unknown", "error", err)
		}
		n.metrics.diskFree.Set(percent / 100)
		if before != after {
			n.diskChanged(after, percent)
		}
		if (after == diskCritical || n.health.diverged() != nil) && n.leads() != nil && n.otherVoters() > 0 {
			if err := n.giveLeadership(ctx, ""); err != nil && ctx.Err() == nil {
				n.log.Warn("leadership could not be given away", "error", err)
			}
		}
		if err := n.disk.balance(after, percent); err != nil {
			n.log.Warn("ballast", "error", err)
		}
		if sleep(ctx, diskInterval) != nil {
			return
		}
	}
}

func (n *Node) diskChanged(level diskLevel, percent float64) {
	switch level {
	case diskOK:
		n.alarms.clear(AlarmDisk)
		n.log.Info("the disk has room again", "free_percent", percent)
	case diskLow:
		n.alarms.raise(AlarmDisk, "%.1f %% of the disk is free: only deletes and administration are taken", percent)
	case diskCritical:
		n.alarms.raise(AlarmDisk, "%.1f %% of the disk is free: leadership goes elsewhere and the ballast file is given up; make room", percent)
	}
}

// balance gives the ballast file up when the disk is full, so that there is room
// to recover, and puts it back when there is plenty.
func (d *disk) balance(level diskLevel, percent float64) error {
	if d.ballast == 0 {
		return nil
	}
	path := d.fs.PathJoin(d.dir, ballastFile)
	if level == diskCritical {
		return removeIfExists(d.fs, path)
	}
	if percent < ballastPercent {
		return nil
	}
	if _, err := d.fs.Stat(path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return d.fill(path)
}

// fill writes the ballast. Its blocks are written, not only reserved: a sparse
// file would free nothing.
func (d *disk) fill(path string) error {
	f, err := d.fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = io.CopyN(f, zeros{}, d.ballast)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(fmt.Errorf("%s: %w", path, err), removeIfExists(d.fs, path))
	}
	return nil
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// admit reports why a command is not taken now, before anything of it is
// appended or sent.
func (n *Node) admit(c fsm.Command) error {
	if err := n.serving(); err != nil {
		return err
	}
	if c == nil {
		return fault.New(fault.Invalid, "the request has no command")
	}
	if n.health.readOnly.Load() {
		return fault.New(fault.Unavailable, "the cluster is read-only: the digests of its nodes differ and no majority agrees").
			WithHint("compare `mcpraft status` of all nodes, then recover from a backup or from the node that is right")
	}
	if n.disk.level() != diskOK && growsState(c) {
		return fault.New(fault.Overloaded, "the disk of this node is almost full: only deletes and administration are taken").
			WithHint("make room on the disk of node %s", n.cfg.Node).After(10 * time.Second)
	}
	return behind(n.raft().CommitIndex(), n.fsm.Meta().Index, n.stalled.Load())
}

// maxApplyLag is how many committed entries may wait for the state machine. Raft
// itself stops, with its elections, when 128 batches of 64 wait.
const maxApplyLag = 512

// behind refuses while the state machine does not follow the log.
func behind(commit, applied uint64, stalled bool) error {
	if commit > applied+maxApplyLag {
		return fault.New(fault.Overloaded, "%d committed entries wait to be applied, the limit is %d", commit-applied, maxApplyLag).After(retryOverloaded)
	}
	if stalled {
		return fault.New(fault.Overloaded, "the state machine waits for its disk").After(retryOverloaded)
	}
	return nil
}

// growsState reports whether a command needs room: everything but deletes and
// administration.
func growsState(c fsm.Command) bool {
	switch c := c.(type) {
	case *fsm.RegisterEntry, *fsm.CreateSession, *fsm.UpdateSession, *fsm.TouchSessions, *fsm.BindSession, *fsm.PutCalls, *fsm.PutUpstream:
		return true
	case *fsm.MoveSession:
		return c.To == record.Active || c.To == record.Suspended
	default:
		return false
	}
}
