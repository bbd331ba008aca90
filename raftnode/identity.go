package raftnode

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode/peer"
)

// Files of a data directory (docs/format/data-directory.md).
const (
	identityFile  = "node.json"
	lockFile      = "LOCK"
	markerFile    = "installed.json"
	divergedFile  = "diverged.json"
	ballastFile   = "ballast"
	logDir        = "log"
	logFile       = "raft.db"
	stateDir      = "fsm"
	spoolDir      = "spool"
	maxIdentity   = 64 << 10 // bytes of any of the JSON files
	identityMajor = 1
)

// identityRecord is node.json: whose data the directory holds. The disk id is
// random per directory, so that a wiped node can never vote as its old self.
type identityRecord struct {
	Format    int             `json:"format"`
	Node      string          `json:"node"`
	Disk      record.ID       `json:"disk"`
	Cluster   string          `json:"cluster"`
	ClusterID record.ID       `json:"cluster_id"` // zero until the node belongs to a cluster
	Timeline  record.Timeline `json:"timeline"`   // zero until then
	Replica   bool            `json:"replica"`    // demoted: not promoted again by itself
	Created   time.Time       `json:"created"`
}

// identity is who this node is. The file changes only when the node joins a
// cluster and when it is promoted or demoted by hand.
type identity struct {
	fs      vfs.FS
	dir     string
	process record.ID
	lock    io.Closer

	mu  sync.Mutex // guards rec and the file
	rec identityRecord
}

// openIdentity locks dir and reads or creates node.json. It refuses a directory
// of another node or another cluster by name.
func openIdentity(fs vfs.FS, dir, node, cluster string, now time.Time) (*identity, error) {
	if _, err := fs.Stat(dir); errors.Is(err, os.ErrNotExist) {
		if _, err := fs.Stat(dir + adoptingSuffix); err == nil {
			return nil, fault.New(fault.Conflict, "a recovery of %s did not finish", dir).
				WithHint("rename %s to %s, then start the node", dir+adoptingSuffix, dir)
		}
	}
	if err := makeDir(fs, dir); err != nil {
		return nil, fmt.Errorf("data directory %s: %w", dir, err)
	}
	lock, err := fs.Lock(fs.PathJoin(dir, lockFile))
	if err != nil {
		return nil, fault.New(fault.Conflict, "data directory %s is in use by another process: %w", dir, err).
			WithHint("stop the other process, or give this node a directory of its own")
	}
	id := &identity{fs: fs, dir: dir, process: newID(), lock: lock}
	if err := id.load(node, cluster, now); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return id, nil
}

func (id *identity) load(node, cluster string, now time.Time) error {
	err := readJSON(id.fs, id.fs.PathJoin(id.dir, identityFile), &id.rec)
	if errors.Is(err, os.ErrNotExist) {
		if _, err := id.fs.Stat(id.fs.PathJoin(id.dir, stateDir)); err == nil {
			return fault.New(fault.Integrity, "data directory %s holds state but no %s", id.dir, identityFile).
				WithHint("restore %s, or move the directory away: the node then joins again with an empty one", identityFile)
		}
		id.rec = identityRecord{Format: identityMajor, Node: node, Disk: newID(), Cluster: cluster, Created: now.UTC()}
		return id.save()
	}
	if err != nil {
		return err
	}
	switch {
	case id.rec.Format != identityMajor:
		return fault.New(fault.Unsupported, "%s has format %d, this binary reads %d", identityFile, id.rec.Format, identityMajor)
	case id.rec.Disk.IsZero():
		return fault.New(fault.Integrity, "%s has no disk id", identityFile)
	case id.rec.Node != node:
		return fault.New(fault.Conflict, "data directory %s belongs to node %q, this is node %q", id.dir, id.rec.Node, node).
			WithHint("correct the node's name or its data directory")
	case id.rec.Cluster != cluster:
		return fault.New(fault.Conflict, "data directory %s belongs to cluster %q, this node is configured for %q", id.dir, id.rec.Cluster, cluster).
			WithHint("correct the cluster's name or the data directory")
	}
	return nil
}

func (id *identity) save() error {
	return writeJSON(id.fs, id.dir, identityFile, &id.rec)
}

func (id *identity) get() identityRecord {
	id.mu.Lock()
	defer id.mu.Unlock()
	return id.rec
}

// serverID is raft's name of this node: "node/disk".
func (id *identity) serverID() string {
	rec := id.get()
	return serverID(rec.Node, rec.Disk)
}

func (id *identity) peer() peer.Identity {
	rec := id.get()
	return peer.Identity{
		Cluster: rec.Cluster, ClusterID: rec.ClusterID, Timeline: rec.Timeline,
		Node: rec.Node, Disk: rec.Disk, Process: id.process,
	}
}

// adopt makes this node one of the cluster, for good. A node that belongs to
// another cluster or timeline refuses.
func (id *identity) adopt(cluster record.ID, timeline record.Timeline) error {
	id.mu.Lock()
	defer id.mu.Unlock()
	if id.rec.ClusterID == cluster && id.rec.Timeline == timeline {
		return nil
	}
	if !id.rec.ClusterID.IsZero() {
		return foreignCluster(id.rec, cluster, timeline)
	}
	id.rec.ClusterID, id.rec.Timeline = cluster, timeline
	return id.save()
}

func (id *identity) setReplica(on bool) error {
	id.mu.Lock()
	defer id.mu.Unlock()
	if id.rec.Replica == on {
		return nil
	}
	id.rec.Replica = on
	return id.save()
}

func (id *identity) close() error { return id.lock.Close() }

// foreignCluster says that rec is not of the cluster and timeline named.
func foreignCluster(rec identityRecord, cluster record.ID, timeline record.Timeline) error {
	if rec.ClusterID == cluster {
		return fault.New(fault.Conflict, "node %s holds timeline %s of cluster %s, the cluster is on timeline %s", rec.Node, rec.Timeline, rec.Cluster, timeline).
			WithHint("the cluster was recovered to another history: move this node's data directory away, it then joins with an empty one")
	}
	return fault.New(fault.Conflict, "node %s belongs to cluster %s (%s), not to %s", rec.Node, rec.Cluster, rec.ClusterID.Short(), cluster.Short()).
		WithHint("correct join or the data directory; two clusters never merge")
}

func serverID(node string, disk record.ID) string { return node + "/" + disk.String() }

// splitServerID is the node and disk of a raft server id; ok is false for text
// that is none.
func splitServerID(s string) (node string, disk record.ID, ok bool) {
	node, text, ok := strings.Cut(s, "/")
	if !ok {
		return "", record.ID{}, false
	}
	disk, err := record.ParseID(text)
	return node, disk, err == nil
}

// newID draws a random id. crypto/rand never fails.
func newID() record.ID {
	var id record.ID
	_, _ = rand.Read(id[:])
	return id
}

// readJSON reads one of our own small files, strictly.
func readJSON(fs vfs.FS, path string, v any) error {
	f, err := fs.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxIdentity+1))
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if len(data) > maxIdentity {
		return fault.New(fault.Integrity, "%s is larger than %d bytes", path, maxIdentity)
	}
	dec := json.NewDecoder(strings.NewReader(string(data)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return fault.New(fault.Integrity, "%s does not decode: %w", path, err).
			WithHint("the file is damaged: restore it, or move the data directory away and let the node join again")
	}
	return nil
}

// writeJSON replaces name in dir so that a crash leaves the old or the new one.
func writeJSON(fs vfs.FS, dir, name string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	path, tmp := fs.PathJoin(dir, name), fs.PathJoin(dir, name+".tmp")
	if err := writeSynced(fs, tmp, append(data, '\n')); err != nil {
		return fmt.Errorf("%s: %w", tmp, err)
	}
	if err := fs.Rename(tmp, path); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return syncDir(fs, dir)
}

func writeSynced(fs vfs.FS, path string, data []byte) error {
	f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// makeDir makes a directory and its name durable.
func makeDir(fs vfs.FS, dir string) error {
	if err := fs.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	return syncDir(fs, fs.PathDir(dir))
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// removeIfExists removes path; that it is not there is no error.
func removeIfExists(fs vfs.FS, path string) error {
	if err := fs.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
