package raftnode

import (
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode/logstore"
	"github.com/mcpraft/mcpraft/wal"
)

// adoptingSuffix names the directory that Adopt builds beside a data directory.
const adoptingSuffix = ".new"

// OfflineConfig says where the data of a stopped node is.
type OfflineConfig struct {
	Dir     string
	FS      vfs.FS                                  // nil means the disk
	ReadLog func(dir string) (LogReader, error)     // opens the log under dir for reading; nil means bbolt
	OpenLog func(dir string) (logstore.Base, error) // makes a new log under dir; nil means bbolt
	Now     func() time.Time                        // names the directory that is put aside; nil means time.Now
}

// A LogReader reads the log of a node that does not run.
type LogReader interface {
	Tail() (logstore.Tail, error)
	Entries(from uint64) iter.Seq2[raft.Log, error]
	Close() error
}

func (c OfflineConfig) withDefaults() OfflineConfig {
	if c.FS == nil {
		c.FS = vfs.Default
	}
	if c.ReadLog == nil {
		c.ReadLog = func(dir string) (LogReader, error) { return logstore.OpenReadOnly(filepath.Join(dir, logFile)) }
	}
	if c.OpenLog == nil {
		c.OpenLog = openBolt
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// Offline is the data directory of a stopped node, locked against a start. It is
// for one goroutine.
type Offline struct {
	c     OfflineConfig
	ident *identity
	log   LogReader
}

// OpenOffline opens the data directory of a node that does not run. It is a
// Conflict when the node runs, and NotFound when there is no node's data.
func OpenOffline(c OfflineConfig) (*Offline, error) {
	c = c.withDefaults()
	var rec identityRecord
	if err := readJSON(c.FS, c.FS.PathJoin(c.Dir, identityFile), &rec); errors.Is(err, os.ErrNotExist) {
		return nil, fault.New(fault.NotFound, "%s is not the data directory of a node: it has no %s", c.Dir, identityFile)
	} else if err != nil {
		return nil, err
	}
	ident, err := openIdentity(c.FS, c.Dir, rec.Node, rec.Cluster, c.Now())
	if err != nil {
		return nil, err
	}
	log, err := c.ReadLog(c.FS.PathJoin(c.Dir, logDir))
	if err != nil {
		return nil, errors.Join(err, ident.close())
	}
	return &Offline{c: c, ident: ident, log: log}, nil
}

// Close lets the node start again.
func (o *Offline) Close() error { return errors.Join(o.log.Close(), o.ident.close()) }

// OfflineIdentity is whose data it is.
type OfflineIdentity struct {
	Node, Cluster string
	Disk          record.ID
	ClusterID     record.ID
	Timeline      record.Timeline
}

// Identity is whose data it is.
func (o *Offline) Identity() OfflineIdentity {
	r := o.ident.get()
	return OfflineIdentity{Node: r.Node, Cluster: r.Cluster, Disk: r.Disk, ClusterID: r.ClusterID, Timeline: r.Timeline}
}

// StateDir is the directory of the state machine.
func (o *Offline) StateDir() string { return o.c.FS.PathJoin(o.c.Dir, stateDir) }

// Tail is where the log begins and ends.
func (o *Offline) Tail() (logstore.Tail, error) { return o.log.Tail() }

// Entries are the entries from index from on that change the state, committed or
// not: nobody is left to tell which are.
func (o *Offline) Entries(from uint64) iter.Seq2[wal.Entry, error] {
	return func(yield func(wal.Entry, error) bool) {
		for l, err := range o.log.Entries(from) {
			e, ok := walEntry(&l)
			if err == nil && !ok {
				continue
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// NewDisk draws the id of a new data directory.
func NewDisk() record.ID { return newID() }

// SoleVoter is the membership of a cluster of one, as the state machine keeps it.
func SoleVoter(node string, disk record.ID) []byte {
	id := serverID(node, disk)
	return raft.EncodeConfiguration(raft.Configuration{Servers: []raft.Server{
		{Suffrage: raft.Voter, ID: raft.ServerID(id), Address: raft.ServerAddress(id)},
	}})
}

// Adoption says what Adopt shall make of a recovered state.
type Adoption struct {
	State string    // directory of the state, complete; it is moved away
	Disk  record.ID // of the new data directory; its membership must be SoleVoter(node, Disk)
}

// Adopted is what Adopt did.
type Adopted struct {
	PutAside string // where the former data directory is now
	Timeline record.Timeline
	Index    uint64
	Term     uint64
}

// Adopt makes a recovered state the data directory of the node: a new disk id,
// an empty log, and the state's cluster and timeline. The former directory is
// kept under a name with the date. It builds everything beside the directory and
// changes over by two renames; a start between the two is refused and says what
// to do. o is closed.
func (o *Offline) Adopt(a Adoption) (Adopted, error) {
	fs, dir := o.c.FS, o.c.Dir
	meta, err := recoveredMeta(fs, a.State)
	if err != nil {
		return Adopted{}, err
	}
	rec := o.ident.get()
	if meta.ClusterID != rec.ClusterID || meta.Timeline == rec.Timeline || string(meta.Configuration) != string(SoleVoter(rec.Node, a.Disk)) {
		return Adopted{}, fault.New(fault.Invalid, "the state in %s is of cluster %s, timeline %s: it was not recovered for node %s on disk %s",
			a.State, meta.ClusterID.Short(), meta.Timeline, rec.Node, a.Disk.Short())
	}
	tail, err := o.Tail()
	if err != nil {
		return Adopted{}, err
	}
	rec.Disk, rec.Timeline, rec.Replica, rec.Created = a.Disk, meta.Timeline, false, o.c.Now().UTC()
	if err := o.build(dir+adoptingSuffix, a.State, rec, meta, max(tail.CurrentTerm, meta.Term)); err != nil {
		return Adopted{}, err
	}
	if err := o.Close(); err != nil {
		return Adopted{}, err
	}
	aside := dir + "." + o.c.Now().UTC().Format("20060102T150405Z")
	if err := fs.Rename(dir, aside); err != nil {
		return Adopted{}, err
	}
	if err := fs.Rename(dir+adoptingSuffix, dir); err != nil {
		return Adopted{}, err
	}
	return Adopted{PutAside: aside, Timeline: meta.Timeline, Index: meta.Index, Term: meta.Term}, syncDir(fs, fs.PathDir(dir))
}

// build makes the new data directory.
func (o *Offline) build(dir, state string, rec identityRecord, meta fsm.Meta, term uint64) error {
	fs := o.c.FS
	if err := fs.RemoveAll(dir); err != nil {
		return err
	}
	if err := makeDir(fs, dir); err != nil {
		return err
	}
	base, err := o.c.OpenLog(fs.PathJoin(dir, logDir))
	if err != nil {
		return err
	}
	if err := errors.Join(base.SetUint64(keyCurrentTerm, term), base.Close()); err != nil {
		return fmt.Errorf("new log: %w", err)
	}
	// The marker explains why the log does not hold the state's entry.
	if err := writeJSON(fs, dir, markerFile, marker{Index: meta.Index, Term: meta.Term}); err != nil {
		return err
	}
	if err := writeJSON(fs, dir, identityFile, rec); err != nil {
		return err
	}
	if err := fs.Rename(state, fs.PathJoin(dir, stateDir)); err != nil {
		return err
	}
	return syncDir(fs, dir)
}

// recoveredMeta opens a recovered state, which also verifies that it opens.
func recoveredMeta(fs vfs.FS, dir string) (fsm.Meta, error) {
	m, err := fsm.Open(dir, fsm.Options{FS: fs})
	if err != nil {
		return fsm.Meta{}, err
	}
	return m.Meta(), m.Close()
}
