package recovery

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/blob"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/snapshot"
	"github.com/mcpraft/mcpraft/wal"
)

// A History is what a destination holds of one cluster: backups, segments of the
// log and labels, of all its timelines, as a look at the names and manifests found
// it. No segment is read for it. It is for any number of goroutines.
type History struct {
	snapshot.Backups
	List   []snapshot.Backup // the oldest first; damaged ones are among them
	Chains []wal.Chain       // by timeline
	Labels []wal.Label
}

// ReadHistory lists what b's destination holds of its cluster.
func ReadHistory(ctx context.Context, b snapshot.Backups) (*History, error) {
	h := &History{Backups: b}
	var err error
	if h.List, err = b.List(ctx); err != nil {
		return nil, err
	}
	refs, err := wal.List(ctx, b.Store, b.Cluster)
	if err != nil {
		return nil, err
	}
	h.Chains = wal.Chains(refs)
	h.Labels, err = wal.Labels(ctx, b.Store, b.Cluster)
	return h, err
}

// Clusters are the clusters that a destination holds anything of. It looks at one
// name of each.
func Clusters(ctx context.Context, s blob.Store) ([]record.ID, error) {
	const root = "v1/"
	var clusters []record.ID
	for after := ""; ; {
		name, err := firstName(ctx, s, root, after)
		if name == "" || err != nil {
			return clusters, err
		}
		text, _, _ := strings.Cut(strings.TrimPrefix(name, root), "/")
		if id, err := record.ParseID(text); err == nil {
			clusters = append(clusters, id)
		}
		after = root + text + "0" // "0" follows "/": behind everything of this cluster
	}
}

func firstName(ctx context.Context, s blob.Store, prefix, after string) (string, error) {
	for info, err := range s.List(ctx, prefix, after) {
		return info.Name, err
	}
	return "", nil
}

// Name is the name of the cluster, as the newest readable backup has it; "" if
// there is none.
func (h *History) Name() string {
	for _, b := range slices.Backward(h.List) {
		if b.Damage == nil {
			return b.State.ClusterName
		}
	}
	return ""
}

// chain is the segments of a timeline; it may have none.
func (h *History) chain(t record.Timeline) wal.Chain {
	for _, c := range h.Chains {
		if c.Timeline == t {
			return c
		}
	}
	return wal.Chain{Timeline: t}
}

// bases are the good backups of a timeline, the newest state first.
func (h *History) bases(t record.Timeline) []snapshot.Backup {
	var list []snapshot.Backup
	for _, b := range h.List {
		if b.Good() && b.State.Timeline == t {
			list = append(list, b)
		}
	}
	slices.SortStableFunc(list, func(a, b snapshot.Backup) int { return cmp.Compare(b.State.Index, a.State.Index) })
	return list
}

// Timelines are those that anything is known of, the oldest first.
func (h *History) Timelines() []record.Timeline {
	var list []record.Timeline
	for _, b := range h.List {
		if b.Damage == nil {
			list = append(list, b.State.Timeline)
		}
	}
	for _, c := range h.Chains {
		list = append(list, c.Timeline)
	}
	slices.SortFunc(list, func(a, b record.Timeline) int {
		return cmp.Or(cmp.Compare(a.Number, b.Number), cmp.Compare(a.Salt, b.Salt))
	})
	return slices.Compact(list)
}

// Window is what can be restored: every point in each stretch. The stretches are
// by timeline and index. Segments are taken at their names' word.
func (h *History) Window() []wal.Stretch {
	var window []wal.Stretch
	for _, t := range h.Timelines() {
		var bases []wal.Base
		for _, b := range h.bases(t) {
			bases = append(bases, wal.Base{Index: b.State.Index, LogTime: b.State.LogTime})
		}
		window = append(window, h.chain(t).Stretches(bases)...)
	}
	return window
}

// next is a timeline above all that the destination knows, so that no two
// recoveries share a name and the newest has the highest number.
func (h *History) next() record.Timeline {
	var highest record.Timeline
	if list := h.Timelines(); len(list) > 0 {
		highest = list[len(list)-1]
	}
	return nextTimeline(highest)
}

// Outside is the error for a target that cannot be restored: it says what can.
func (h *History) Outside(what string) error {
	window := h.Window()
	if len(window) == 0 {
		return fault.New(fault.NotFound, "%s cannot be restored: %s has no good backup of cluster %s", what, h.Store, h.Cluster)
	}
	var parts []string
	for _, s := range window[max(0, len(window)-maxStretches):] {
		parts = append(parts, describe(s))
	}
	return fault.New(fault.NotFound, "%s cannot be restored; what can: %s", what, strings.Join(parts, "; ")).
		WithHint("--latest takes the newest point")
}

// maxStretches bounds how much of a window an error tells; the newest are told.
const maxStretches = 5

func describe(s wal.Stretch) string {
	if s.First == s.Last {
		return fmt.Sprintf("index %d of timeline %s (%s)", s.First, s.Timeline, stamp(s.From))
	}
	return fmt.Sprintf("index %d to %d of timeline %s (%s to %s or later)", s.First, s.Last, s.Timeline, stamp(s.From), stamp(s.Until))
}

func stamp(t record.LogTime) string { return t.Time().Format("2006-01-02T15:04:05.000Z07:00") }
