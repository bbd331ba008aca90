package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/snapshot/recovery"
)

// A pointRestore says what becomes of an archive.
type pointRestore struct {
	destination destinationFlags
	place       foundingPlace
	until       recovery.Until
	time        string
	timeline    string
	stop        bool
	dryRun      bool
	yes         bool
}

// A restoredPoint is what a recovery to a point does or would do.
type restoredPoint struct {
	DryRun    bool           `json:"dry_run"`
	Target    string         `json:"target"`
	DataDir   string         `json:"data_dir"`
	Node      string         `json:"node"`
	Cluster   string         `json:"cluster"`
	ClusterID string         `json:"cluster_id"`
	From      string         `json:"from_timeline"`
	To        string         `json:"to_timeline"`
	Index     uint64         `json:"index"`    // of the last entry that is restored
	LogTime   string         `json:"log_time"` // of the newest change that is restored, RFC 3339
	Base      string         `json:"base"`     // id of the backup that it begins with
	Segments  int            `json:"segments"` // on top of it
	Bytes     int64          `json:"bytes"`    // stored, of both
	Undone    map[string]int `json:"undone"`   // commands behind the point, by name
	Since     string         `json:"undone_since,omitempty"`
	Damage    string         `json:"damage,omitempty"`  // that lies in front of the point, or ended the restore
	Entries   int            `json:"entries,omitempty"` // replayed; absent in a dry run, as all that follows
	Compared  int            `json:"compared,omitempty"`
	Sessions  uint64         `json:"sessions,omitempty"` // that live on
	Digest    string         `json:"digest,omitempty"`   // of the state at the point
	TookMS    int64          `json:"took_ms,omitempty"`
}

func newPITRRestoreCommand(a *app) *cobra.Command {
	var r pointRestore
	cmd := &cobra.Command{
		Use:   "restore",
		Short: "Begin a cluster as it was at a point in time",
		Long: `Begin a cluster as it was at a point in time, from the newest backup in front of it and
the archived log behind that, both in the destination that the configuration names.
It makes the data directory of the cluster's first node. No node is needed, and none
must run: the others join it with empty directories.

Every change is applied again by the code that applied it first, one by one, and the
digests that the cluster recorded on the way must match. --dry-run says what would be
restored and what would be undone, and changes nothing.

The cluster is the same, its history is a new one (a new timeline): indexes and index
tokens of the former one mean nothing. Every live session begins its TTL anew; one that
was opened after the point is unknown, and its client is told so (404) and opens
another. Tokens are those of that moment: revoke again what was revoked since.

A damaged segment in front of the point ends the restore with exit code 7; with
--stop-before-damage it restores up to the last change in front of it. At a terminal
you are asked for the name of the cluster; elsewhere --yes is needed.`,
		Example: `  mcpraft pitr restore --to-time 2026-05-12T14:02:09Z --config /etc/mcpraft/mcpraft.yaml --dry-run
  mcpraft pitr restore --to-time 2026-05-12T14:02:09Z --config /etc/mcpraft/mcpraft.yaml
  mcpraft pitr restore --to-label before-upgrade --config /etc/mcpraft/mcpraft.yaml
  mcpraft pitr restore --latest --into /tmp/look --config /etc/mcpraft/mcpraft.yaml --yes`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := r.complete(a); err != nil {
				return err
			}
			done, err := a.restorePoint(cmd.Context(), &r)
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
	f := cmd.Flags()
	f.StringVar(&r.time, "to-time", "", "restore what was written up to this `TIME`, RFC 3339, as in 2026-05-12T14:02:09Z")
	f.Uint64Var(&r.until.Index, "to-index", 0, "restore up to the entry of this `INDEX`, included")
	f.StringVar(&r.until.Label, "to-label", "", "restore up to this label (pitr label `NAME`)")
	f.BoolVar(&r.until.Latest, "latest", false, "restore everything that is archived")
	f.StringVar(&r.timeline, "timeline", "", "`TIMELINE` of the point, if several have it")
	f.BoolVar(&r.stop, "stop-before-damage", false, "restore up to the last change in front of a damaged segment, instead of nothing")
	f.BoolVar(&r.dryRun, "dry-run", false, "show what would happen and change nothing")
	f.BoolVar(&r.yes, "yes", false, "do not ask")
	return cmd
}

// complete reads the flags that are text, and takes from the configuration what they
// do not say.
func (r *pointRestore) complete(a *app) error {
	var err error
	if r.time != "" {
		if r.until.Time, err = time.Parse(time.RFC3339Nano, r.time); err != nil {
			return fault.New(fault.Invalid, "--to-time %q is not a time", r.time).WithHint("write it as 2026-05-12T14:02:09Z, or with an offset: 2026-05-12T16:02:09+02:00")
		}
	}
	if r.timeline != "" {
		if r.until.Timeline, err = record.ParseTimeline(r.timeline); err != nil {
			return fault.New(fault.Invalid, "--timeline: %v", err)
		}
	}
	if err := r.until.Validate(); err != nil {
		return err
	}
	return r.place.complete(a, &r.destination.configFlags)
}

// restorePoint plans, asks and restores.
func (a *app) restorePoint(ctx context.Context, r *pointRestore) (restoredPoint, error) {
	if err := r.place.check(); err != nil {
		return restoredPoint{}, err
	}
	h, err := r.destination.history(ctx, a)
	if err != nil {
		return restoredPoint{}, err
	}
	plan, err := h.Plan(ctx, r.until)
	if err != nil {
		return restoredPoint{}, err
	}
	result := pointOf(h, plan, r)
	if r.dryRun {
		return result, nil
	}
	what := fmt.Sprintf("begin cluster %s anew on node %s, as it was at %s", result.Cluster, r.place.node, result.LogTime)
	if err := a.confirm(what, result.Cluster, r.yes); err != nil {
		return restoredPoint{}, err
	}
	began := time.Now()
	var reached recovery.Reached
	if _, err = r.place.found(func(target recovery.Target) (recovery.Restored, error) {
		p := a.progress("replayed")
		defer p.end()
		reached, err = plan.Run(ctx, target, record.LogTimeAt(time.Now()), recovery.ReplayOptions{
			StopBeforeDamage: r.stop, Told: p.reach, Note: func(text string) { a.note("%s", text) },
		})
		return reached.Restored, err
	}); err != nil {
		return restoredPoint{}, err
	}
	result.To, result.LogTime = reached.Timeline.String(), logTime(reached.LogTime)
	result.Base, result.Entries, result.Compared, result.Sessions = reached.Base, reached.Entries, reached.Compared, reached.Sessions
	result.Digest, result.TookMS = reached.Reached.String(), time.Since(began).Milliseconds()
	if reached.Stopped != nil {
		result.Damage = reached.Stopped.Error()
	}
	return result, nil
}

func pointOf(h *recovery.History, plan *recovery.PointPlan, r *pointRestore) restoredPoint {
	result := restoredPoint{
		DryRun: r.dryRun, Target: r.until.String(), DataDir: r.place.into, Node: r.place.node,
		Cluster: plan.Cluster, ClusterID: h.Cluster.String(), From: plan.From.String(), To: plan.To.String(),
		Index: plan.Index, LogTime: logTime(plan.LogTime), Base: plan.Bases[0].ID, Segments: len(plan.Segments), Bytes: plan.Bytes,
		Undone: plan.Undone.Commands,
	}
	if plan.Undone.First > 0 {
		result.Since = logTime(plan.Undone.First)
	}
	if plan.Damage != nil {
		result.Damage = plan.Damage.Error()
	}
	return result
}

func (r restoredPoint) draw(p *page) {
	pairs := [][2]string{
		{"cluster", r.Cluster + ", id " + r.ClusterID},
		{"node", r.Node + ", the only voter"},
		{"data", r.DataDir},
		{"timeline", r.From + " becomes " + r.To},
		{"as of", fmt.Sprintf("index %d, written %s", r.Index, r.LogTime)},
		{"from", fmt.Sprintf("backup %s and %d segments, %s", r.Base, r.Segments, sizeOf(r.Bytes))},
		{"undone", r.undone()},
	}
	if r.Damage != "" {
		pairs = append(pairs, [2]string{"damage", r.Damage})
	}
	if r.DryRun {
		p.line("would do this, and has changed nothing:")
		p.fields(pairs...)
		return
	}
	p.fields(append(pairs,
		[2]string{"replayed", fmt.Sprintf("%d entries in %v; every digest recorded on the way was the same (%d of backups)", r.Entries, time.Duration(r.TookMS)*time.Millisecond, r.Compared)},
		[2]string{"sessions", fmt.Sprintf("%d live ones, whose time begins anew", r.Sessions)},
		[2]string{"digest", r.Digest},
	)...)
}

// undone says what lies behind the point, the most frequent first.
func (r restoredPoint) undone() string {
	if len(r.Undone) == 0 {
		return "nothing that the archive holds"
	}
	names := slices.SortedFunc(maps.Keys(r.Undone), func(a, b string) int { return r.Undone[b] - r.Undone[a] })
	var parts []string
	for _, name := range names {
		parts = append(parts, fmt.Sprintf("%d %s", r.Undone[name], name))
	}
	return strings.Join(parts, ", ") + ", from " + r.Since + " on"
}
