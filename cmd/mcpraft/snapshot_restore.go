package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/seal"
	"github.com/mcpraft/mcpraft/snapshot"
	"github.com/mcpraft/mcpraft/snapshot/recovery"
)

// A restoring says what becomes of a snapshot.
type restoring struct {
	destination destinationFlags
	keys        keyFlags
	place       foundingPlace
	backup      string // id, of the destination
	latest      bool
	dryRun      bool
	yes         bool
}

// A restored cluster is what a restore does or would do.
type restoredCluster struct {
	DryRun    bool   `json:"dry_run"`
	File      string `json:"file,omitempty"`
	Backup    string `json:"backup,omitempty"` // one of the two
	DataDir   string `json:"data_dir"`
	Node      string `json:"node"`
	Cluster   string `json:"cluster"`
	ClusterID string `json:"cluster_id"`
	From      string `json:"from_timeline"`
	To        string `json:"to_timeline,omitempty"` // absent in a dry run
	Index     uint64 `json:"index"`                 // of the snapshot
	LogTime   string `json:"log_time"`              // of its newest write, RFC 3339: what came later is not in it
	Sessions  uint64 `json:"sessions"`              // that live on
	Digest    string `json:"digest,omitempty"`      // of the restored state; absent in a dry run
}

func newSnapshotRestoreCommand(a *app) *cobra.Command {
	var r restoring
	cmd := &cobra.Command{
		Use:   "restore [FILE]",
		Short: "Begin a cluster from a snapshot file or a backup",
		Long: `Begin a cluster from a snapshot file, or from a backup in the destination that the
configuration names: make the data directory of its first node. No node is needed, and
none must run: the others join it with empty directories.

The cluster is the same, its history is a new one (a new timeline): what was written
after the snapshot is gone, and indexes of the former timeline mean nothing. Every
live session begins its TTL anew; one that was opened after the snapshot is unknown,
and its client is told so (404) and opens another. API tokens are those of the moment
of the snapshot: one that was revoked after it is valid again.

Name and directory come from the configuration of the node, or from --node and
--into. A directory that holds anything is refused. At a terminal you are asked for
the name of the cluster; elsewhere --yes is needed.`,
		Example: `  mcpraft snapshot restore nightly.snapshot --config /etc/mcpraft/mcpraft.yaml --dry-run
  mcpraft snapshot restore nightly.snapshot --config /etc/mcpraft/mcpraft.yaml
  mcpraft snapshot restore nightly.snapshot --into /var/lib/mcpraft --node node-1 --key-file backup.keys --yes
  mcpraft snapshot restore --latest-backup --config /etc/mcpraft/mcpraft.yaml`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := ""
			if len(args) > 0 {
				path = args[0]
			}
			if err := r.oneSource(path); err != nil {
				return err
			}
			if err := r.place.complete(a, &r.destination.configFlags); err != nil {
				return err
			}
			done, err := a.restore(cmd.Context(), path, &r)
			if err != nil {
				return err
			}
			if err := a.show(done, done.draw); err != nil {
				return err
			}
			if !r.dryRun {
				a.note("start node %s; then move the data directories of the other nodes away and start them", r.place.node)
			}
			return nil
		},
	}
	r.destination.add(cmd)
	r.place.add(cmd)
	r.keys.add(cmd, "`FILE` with a key that opens the snapshot; may be given again")
	f := cmd.Flags()
	f.StringVar(&r.backup, "backup", "", "`ID` of the backup to restore, of backup.destination of the configuration")
	f.BoolVar(&r.latest, "latest-backup", false, "restore the newest good backup")
	f.BoolVar(&r.dryRun, "dry-run", false, "verify the file, show what would happen and change nothing")
	f.BoolVar(&r.yes, "yes", false, "do not ask")
	return cmd
}

// oneSource reports whether exactly one thing is to be restored.
func (r *restoring) oneSource(path string) error {
	n := 0
	for _, given := range []bool{path != "", r.backup != "", r.latest} {
		if given {
			n++
		}
	}
	if n != 1 {
		return fault.New(fault.Invalid, "say what to restore: a file, --backup ID or --latest-backup, and only one of them")
	}
	return nil
}

// restore verifies, asks and restores. path is empty for a backup.
func (a *app) restore(ctx context.Context, path string, r *restoring) (restoredCluster, error) {
	if err := r.place.check(); err != nil {
		return restoredCluster{}, err
	}
	source, err := a.sourceOf(ctx, path, r)
	if err != nil {
		return restoredCluster{}, err
	}
	state := source.state
	result := restoredCluster{
		DryRun: r.dryRun, File: path, Backup: source.backup, DataDir: r.place.into, Node: r.place.node,
		Cluster: state.ClusterName, ClusterID: state.Cluster.String(), From: state.Timeline.String(),
		Index: state.Index, LogTime: logTime(state.LogTime), Sessions: state.Counts["sessions"],
	}
	if r.dryRun {
		return result, nil
	}
	what := fmt.Sprintf("begin cluster %s anew on node %s, as it was at %s", result.Cluster, r.place.node, result.LogTime)
	if err := a.confirm(what, result.Cluster, r.yes); err != nil {
		return restoredCluster{}, err
	}
	done, err := r.place.found(func(target recovery.Target) (done recovery.Restored, err error) {
		err = source.open(func(c recovery.Copy) error {
			done, err = recovery.Restore(ctx, c, target, record.LogTimeAt(time.Now()))
			return err
		})
		return done, err
	})
	if err != nil {
		return restoredCluster{}, err
	}
	result.To, result.Sessions, result.Digest = done.Timeline.String(), done.Sessions, done.Digest.String()
	return result, nil
}

// A restoreSource is a state to be restored: what is known of it, and its stream.
type restoreSource struct {
	state  snapshot.State
	backup string // its id; "" if it is a file
	open   func(use func(recovery.Copy) error) error
}

// sourceOf is the snapshot file at path, every byte of which is verified here, or a
// backup, which is verified while it is restored.
func (a *app) sourceOf(ctx context.Context, path string, r *restoring) (restoreSource, error) {
	if path == "" {
		return a.backupSource(ctx, r)
	}
	ring, err := r.keys.ring()
	if err != nil {
		return restoreSource{}, err
	}
	d, err := snapshot.VerifyFile(path, snapshot.LevelFiles, ring, nil)
	if err != nil {
		return restoreSource{}, err
	}
	return restoreSource{state: d.State, open: func(use func(recovery.Copy) error) error {
		_, err := a.copyOf(path, ring, "restored", use)
		return err
	}}, nil
}

func (a *app) backupSource(ctx context.Context, r *restoring) (restoreSource, error) {
	h, err := r.destination.history(ctx, a)
	if err != nil {
		return restoreSource{}, err
	}
	b, err := chooseBackup(h, r.backup)
	if err != nil {
		return restoreSource{}, err
	}
	return restoreSource{state: b.State, backup: b.ID, open: func(use func(recovery.Copy) error) (err error) {
		stream, err := h.Open(ctx, b.Manifest)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, stream.Close()) }()
		p := a.progress("restored")
		defer p.end()
		return use(recovery.Copy{State: b.State, Stream: io.TeeReader(stream, p)})
	}}, nil
}

// chooseBackup is the backup of that id; "" is the newest that is good.
func chooseBackup(h *recovery.History, id string) (snapshot.Backup, error) {
	for _, b := range slices.Backward(h.List) {
		if b.ID == id || id == "" && b.Good() {
			return b, b.Damage
		}
	}
	if id == "" {
		return snapshot.Backup{}, fault.New(fault.NotFound, "%s has no good backup of cluster %s", h.Store, h.Cluster)
	}
	return snapshot.Backup{}, fault.New(fault.NotFound, "%s has no backup %s of cluster %s", h.Store, id, h.Cluster).
		WithHint("mcpraft backup ls, on a running node, shows them; --latest-backup takes the newest")
}

// copyOf opens a snapshot file for use, and tells how far the reading is. It
// returns how many bytes of the state were read.
func (a *app) copyOf(path string, ring seal.Ring, doing string, use func(recovery.Copy) error) (read int64, err error) {
	f, err := snapshot.OpenFile(path)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	stream, err := f.Reader(ring)
	if err != nil {
		return 0, err
	}
	p := a.progress(doing)
	defer p.end()
	err = use(recovery.Copy{State: f.State, Stream: io.TeeReader(stream, p)})
	if fault.Of(err) == fault.Integrity {
		err = fault.New(fault.Integrity, "snapshot file %s: %v", path, err)
	}
	return p.n, err
}

// drillFile restores a snapshot file into a scratch directory below parent.
func (a *app) drillFile(ctx context.Context, path, parent string, ring seal.Ring) (index uint64, read int64, err error) {
	if index, _, err = a.verifyFile(path, snapshot.LevelFiles, ring); err != nil {
		return 0, 0, err
	}
	scratch, err := os.MkdirTemp(parent, "mcpraft-drill-")
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	read, err = a.copyOf(path, ring, "restored", func(c recovery.Copy) error {
		return recovery.Drill(ctx, c, filepath.Join(scratch, "state"))
	})
	return index, read, err
}

func (r restoredCluster) draw(p *page) {
	to := r.From + " stays behind, a new one begins"
	if r.To != "" {
		to = r.From + " becomes " + r.To
	}
	pairs := [][2]string{
		{"cluster", r.Cluster + ", id " + r.ClusterID},
		{"node", r.Node + ", the only voter"},
		{"data", r.DataDir},
		{"timeline", to},
		{"as of", fmt.Sprintf("index %d, written %s", r.Index, r.LogTime)},
		{"sessions", fmt.Sprintf("%d live ones, whose time begins anew", r.Sessions)},
	}
	if r.DryRun {
		p.line("would do this, and has changed nothing:")
		p.fields(pairs...)
		return
	}
	p.fields(append(pairs, [2]string{"digest", r.Digest})...)
}
