package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/raftnode"
	"github.com/mcpraft/mcpraft/snapshot/recovery"
)

// offlineFlags say whose data directory is meant.
type offlineFlags struct {
	configFlags
	dataDir string
}

func (f *offlineFlags) add(cmd *cobra.Command) {
	f.configFlags.add(cmd)
	cmd.Flags().StringVar(&f.dataDir, "data-dir", "", "data `DIRECTORY` of the node; empty: node.data_dir of the configuration")
	_ = cmd.MarkFlagDirname("data-dir")
}

// open locks the data directory against a start of the node.
func (f *offlineFlags) open(a *app) (*raftnode.Offline, string, error) {
	dir := f.dataDir
	if dir == "" {
		loaded, err := f.load(a)
		if err != nil {
			return nil, "", err
		}
		dir = loaded.Config.Node.DataDir
	}
	o, err := raftnode.OpenOffline(raftnode.OfflineConfig{Dir: dir})
	return o, dir, err
}

func newOfflineCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "offline",
		GroupID: groupRepair,
		Short:   "Inspect and repair the data of a stopped node",
		Long: `Inspect and repair the data of a stopped node. These commands lock the data
directory: they refuse to work on a node that runs, and the node cannot start
while they do.`,
		Example: `  mcpraft offline status --config /etc/mcpraft/mcpraft.yaml
  mcpraft offline force-new-cluster --data-dir /var/lib/mcpraft --dry-run`,
	}
	cmd.AddCommand(newOfflineStatusCommand(a), newForceNewClusterCommand(a))
	return cmd
}

// An offlinePosition is where a log or a state ends.
type offlinePosition struct {
	Term  uint64 `json:"term"`
	Index uint64 `json:"index"`
}

func (p offlinePosition) String() string {
	return "term " + strconv.FormatUint(p.Term, 10) + ", index " + strconv.FormatUint(p.Index, 10)
}

// An offlineStatus is whose data a directory holds and how far it goes.
type offlineStatus struct {
	DataDir   string          `json:"data_dir"`
	Node      string          `json:"node"`
	Disk      string          `json:"disk"`
	Cluster   string          `json:"cluster"`
	ClusterID string          `json:"cluster_id,omitempty"` // absent: the node belongs to no cluster yet
	Timeline  string          `json:"timeline,omitempty"`
	First     uint64          `json:"first_index"`  // of the log; 0: it is empty
	State     offlinePosition `json:"state"`        // that is applied
	Last      offlinePosition `json:"last"`         // of the log, or of the state if that goes further
	Term      uint64          `json:"current_term"` // newest that the node has seen
}

func newOfflineStatusCommand(a *app) *cobra.Command {
	var flags offlineFlags
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show whose data a directory holds and where its log ends",
		Long: `Show whose data a directory holds and where its log ends.

After a lost quorum, run it on every survivor: the one with the highest last
term, and among equal terms the highest last index, has every write that was
acknowledged. Recover from that one with "offline force-new-cluster".`,
		Example: `  mcpraft offline status --config /etc/mcpraft/mcpraft.yaml
  mcpraft offline status --data-dir /var/lib/mcpraft -o json | jq .last`,
		RunE: func(*cobra.Command, []string) (err error) {
			o, dir, err := flags.open(a)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, o.Close()) }()
			s, err := statusOf(o)
			if err != nil {
				return err
			}
			s.DataDir = dir
			return a.show(s, s.draw)
		},
	}
	flags.add(cmd)
	return cmd
}

func statusOf(o *raftnode.Offline) (offlineStatus, error) {
	tail, err := o.Tail()
	if err != nil {
		return offlineStatus{}, err
	}
	state, err := statePosition(o.StateDir())
	if err != nil {
		return offlineStatus{}, err
	}
	id, last := o.Identity(), recovery.Position{Term: tail.LastTerm, Index: tail.LastIndex}
	if state.Compare(last) > 0 {
		last = state
	}
	s := offlineStatus{
		Node: id.Node, Disk: id.Disk.String(), Cluster: id.Cluster,
		First: tail.FirstIndex, State: offlinePosition(state), Last: offlinePosition(last), Term: tail.CurrentTerm,
	}
	if !id.ClusterID.IsZero() {
		s.ClusterID, s.Timeline = id.ClusterID.String(), id.Timeline.String()
	}
	return s, nil
}

// statePosition is how far the state machine in dir is; zero when there is none.
func statePosition(dir string) (recovery.Position, error) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return recovery.Position{}, nil
	}
	m, err := fsm.Open(dir, fsm.Options{})
	if err != nil {
		return recovery.Position{}, err
	}
	meta := m.Meta()
	return recovery.Position{Term: meta.Term, Index: meta.Index}, m.Close()
}

func (s offlineStatus) draw(p *page) {
	cluster := s.Cluster + ", which this node has not joined yet"
	if s.ClusterID != "" {
		cluster = s.Cluster + ", id " + s.ClusterID + ", timeline " + s.Timeline
	}
	log := "empty"
	if s.First != 0 {
		log = fmt.Sprintf("begins at index %d", s.First)
	}
	p.fields(
		[2]string{"data", s.DataDir},
		[2]string{"node", s.Node + ", disk " + s.Disk},
		[2]string{"cluster", cluster},
		[2]string{"log", log},
		[2]string{"state", s.State.String()},
		[2]string{"last", s.Last.String()},
		[2]string{"term", strconv.FormatUint(s.Term, 10)},
	)
}

// A newCluster is what force-new-cluster does or would do.
type newCluster struct {
	DryRun    bool            `json:"dry_run"`
	DataDir   string          `json:"data_dir"`
	Node      string          `json:"node"`
	Cluster   string          `json:"cluster"`
	ClusterID string          `json:"cluster_id"`
	From      string          `json:"from_timeline"`
	To        string          `json:"to_timeline"`
	Last      offlinePosition `json:"last"`  // of this survivor, to compare with the others
	State     offlinePosition `json:"state"` // that is already applied
	Entries   int             `json:"entries"`
	Commands  int             `json:"commands"`            // in the entries, replayed on top of the state
	LastTime  string          `json:"last_time"`           // log time of the newest write, RFC 3339
	Digest    string          `json:"digest,omitempty"`    // of the recovered state; absent in a dry run
	PutAside  string          `json:"put_aside,omitempty"` // where the former data is; absent in a dry run
}

func newForceNewClusterCommand(a *app) *cobra.Command {
	var flags offlineFlags
	var dryRun, yes bool
	cmd := &cobra.Command{
		Use:   "force-new-cluster",
		Short: "Make a cluster of one from a survivor of a lost quorum",
		Long: `Make a cluster of one from a survivor, when more than half of the voters are gone
for good. Everything in this node's log comes back, on a new timeline; the former
data directory is kept under another name.

 1. Stop every survivor, and make sure that the lost nodes stay away.
 2. Run "offline status" on each; choose the one with the highest last term and,
    among equal terms, the highest last index. With another one, acknowledged
    writes are lost.
 3. Run this command there, with --dry-run first, then start that node.
 4. Move the data directories of the other nodes away and start them: they join
    with empty ones.

At a terminal you are asked for the name of the cluster; elsewhere --yes is needed.`,
		Example: `  mcpraft offline force-new-cluster --config /etc/mcpraft/mcpraft.yaml --dry-run
  mcpraft offline force-new-cluster --config /etc/mcpraft/mcpraft.yaml
  mcpraft offline force-new-cluster --data-dir /var/lib/mcpraft --yes -o json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, dir, err := flags.open(a)
			if err != nil {
				return err
			}
			result, err := a.forceNewCluster(cmd.Context(), o, dir, dryRun, yes)
			if err != nil {
				return err
			}
			if err := a.show(result, result.draw); err != nil {
				return err
			}
			if !dryRun {
				a.note("start this node; then move the data directories of the other nodes away and start them")
			}
			return nil
		},
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "show what would happen and change nothing")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

// forceNewCluster plans, asks and recovers. It closes o.
func (a *app) forceNewCluster(ctx context.Context, o *raftnode.Offline, dir string, dryRun, yes bool) (_ newCluster, err error) {
	adopted := false
	defer func() {
		if !adopted {
			err = errors.Join(err, o.Close())
		}
	}()
	plan, err := planNewCluster(ctx, o)
	if err != nil {
		return newCluster{}, err
	}
	result := newCluster{
		DryRun: dryRun, DataDir: dir, Node: o.Identity().Node,
		Cluster: plan.Cluster, ClusterID: plan.ClusterID.String(), From: plan.From.String(), To: plan.To.String(),
		Last: offlinePosition(plan.Last), State: offlinePosition(plan.State),
		Entries: plan.Entries, Commands: plan.Commands, LastTime: logTime(plan.LastTime),
	}
	if dryRun {
		return result, nil
	}
	what := fmt.Sprintf("make node %s a cluster of one, from a log that ends at %s", result.Node, result.Last)
	if err := a.confirm(what, plan.Cluster, yes); err != nil {
		return newCluster{}, err
	}
	// What an attempt that was cut short has left there is no use to anybody.
	recovered, disk := dir+".recovered", raftnode.NewDisk()
	if err := os.RemoveAll(recovered); err != nil {
		return newCluster{}, err
	}
	done, err := plan.Run(ctx, recovery.Target{Dir: recovered, Configuration: raftnode.SoleVoter(result.Node, disk)})
	if err != nil {
		return newCluster{}, err
	}
	adoption, err := o.Adopt(raftnode.Adoption{State: done.Dir, Disk: disk})
	if err != nil {
		return newCluster{}, err
	}
	adopted = true
	result.Digest, result.PutAside = done.Digest.String(), adoption.PutAside
	return result, carryOwnKeys(adoption.PutAside, dir)
}

func planNewCluster(ctx context.Context, o *raftnode.Offline) (*recovery.Plan, error) {
	tail, err := o.Tail()
	if err != nil {
		return nil, err
	}
	return recovery.NewPlan(ctx, recovery.Survivor{
		State:   o.StateDir(),
		Log:     recovery.Position{Term: tail.LastTerm, Index: tail.LastIndex},
		Entries: o.Entries,
	})
}

func logTime(t record.LogTime) string { return t.Time().Format(time.RFC3339) }

func (n newCluster) draw(p *page) {
	pairs := [][2]string{
		{"cluster", n.Cluster + ", id " + n.ClusterID},
		{"node", n.Node + ", the only voter"},
		{"timeline", n.From + " becomes " + n.To},
		{"last", n.Last.String() + ", written " + n.LastTime},
		{"state", n.State.String()},
		{"replay", fmt.Sprintf("%d entries with %d commands on top of it", n.Entries, n.Commands)},
	}
	if n.DryRun {
		p.line("would do this, and has changed nothing:")
		p.fields(pairs...)
		return
	}
	p.fields(append(pairs, [2]string{"digest", n.Digest}, [2]string{"former data", n.PutAside})...)
}
