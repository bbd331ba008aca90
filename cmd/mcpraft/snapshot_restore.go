package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/seal"
	"github.com/mcpraft/mcpraft/raftnode"
	"github.com/mcpraft/mcpraft/snapshot"
	"github.com/mcpraft/mcpraft/snapshot/recovery"
)

// A restoring says what becomes of a snapshot.
type restoring struct {
	configFlags
	keys   keyFlags
	into   string
	node   string
	dryRun bool
	yes    bool
}

// A restored cluster is what a restore does or would do.
type restoredCluster struct {
	DryRun    bool   `json:"dry_run"`
	File      string `json:"file"`
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
		Use:   "restore FILE",
		Short: "Begin a cluster from a snapshot file",
		Long: `Begin a cluster from a snapshot file: make the data directory of its first node. No
node is needed, and none must run: the others join it with empty directories.

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
  mcpraft snapshot restore nightly.snapshot --into /var/lib/mcpraft --node node-1 --key-file backup.keys --yes`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := r.complete(a); err != nil {
				return err
			}
			done, err := a.restore(cmd.Context(), args[0], &r)
			if err != nil {
				return err
			}
			if err := a.show(done, done.draw); err != nil {
				return err
			}
			if !r.dryRun {
				a.note("start node %s; then move the data directories of the other nodes away and start them", r.node)
			}
			return nil
		},
	}
	r.configFlags.add(cmd)
	r.keys.add(cmd, "`FILE` with a key that opens the snapshot; may be given again")
	f := cmd.Flags()
	f.StringVar(&r.into, "into", "", "data `DIRECTORY` to make; empty: node.data_dir of the configuration")
	f.StringVar(&r.node, "node", "", "`NAME` of the node that it is for; empty: node.name of the configuration")
	f.BoolVar(&r.dryRun, "dry-run", false, "verify the file, show what would happen and change nothing")
	f.BoolVar(&r.yes, "yes", false, "do not ask")
	_ = cmd.MarkFlagDirname("into")
	return cmd
}

// complete takes from the configuration what the flags do not say.
func (r *restoring) complete(a *app) error {
	if r.into == "" || r.node == "" {
		loaded, err := r.load(a)
		if err != nil {
			return err
		}
		if r.into == "" {
			r.into = loaded.Config.Node.DataDir
		}
		if r.node == "" {
			r.node = loaded.Config.Node.Name
		}
	}
	var err error
	if r.into, err = filepath.Abs(r.into); err != nil {
		return err
	}
	return record.ValidNode(r.node)
}

// restore verifies, asks and restores.
func (a *app) restore(ctx context.Context, path string, r *restoring) (restoredCluster, error) {
	place := raftnode.OfflineConfig{Dir: r.into}
	if err := raftnode.CanFound(place); err != nil {
		return restoredCluster{}, err
	}
	ring, err := r.keys.ring()
	if err != nil {
		return restoredCluster{}, err
	}
	d, err := snapshot.VerifyFile(path, snapshot.LevelFiles, ring, nil)
	if err != nil {
		return restoredCluster{}, err
	}
	result := restoredCluster{
		DryRun: r.dryRun, File: path, DataDir: r.into, Node: r.node,
		Cluster: d.State.ClusterName, ClusterID: d.State.Cluster.String(), From: d.State.Timeline.String(),
		Index: d.State.Index, LogTime: logTime(d.State.LogTime), Sessions: d.State.Counts["sessions"],
	}
	if r.dryRun {
		return result, nil
	}
	what := fmt.Sprintf("begin cluster %s anew on node %s, as it was at %s", result.Cluster, r.node, result.LogTime)
	if err := a.confirm(what, result.Cluster, r.yes); err != nil {
		return restoredCluster{}, err
	}
	done, err := a.restoreState(ctx, path, ring, place, r.node)
	if err != nil {
		return restoredCluster{}, err
	}
	result.To, result.Sessions, result.Digest = done.Timeline.String(), done.Sessions, done.Digest.String()
	return result, nil
}

// restoreState makes the data directory. What an attempt that was cut short has
// left beside it is no use to anybody.
func (a *app) restoreState(ctx context.Context, path string, ring seal.Ring, place raftnode.OfflineConfig, node string) (_ recovery.Restored, err error) {
	if err := os.MkdirAll(filepath.Dir(place.Dir), 0o750); err != nil {
		return recovery.Restored{}, err
	}
	state, disk := place.Dir+".recovered", raftnode.NewDisk()
	if err := os.RemoveAll(state); err != nil {
		return recovery.Restored{}, err
	}
	var done recovery.Restored
	_, err = a.copyOf(path, ring, "restored", func(c recovery.Copy) error {
		target := recovery.Target{Dir: state, Configuration: raftnode.SoleVoter(node, disk)}
		done, err = recovery.Restore(ctx, c, target, record.LogTimeAt(time.Now()))
		return err
	})
	if err != nil {
		return recovery.Restored{}, err
	}
	_, err = raftnode.Found(place, raftnode.Founding{State: done.Dir, Node: node, Disk: disk})
	return done, err
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
