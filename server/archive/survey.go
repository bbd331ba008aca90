package archive

import (
	"context"
	"fmt"
	"slices"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/raftnode"
	"github.com/mcpraft/mcpraft/snapshot"
	"github.com/mcpraft/mcpraft/wal"
)

// A Survey is what the destination holds of the cluster's history, read from names
// and manifests, and what the cluster says should be there.
type Survey struct {
	Cluster  record.ID
	Timeline record.Timeline // that the cluster is on
	Now      record.LogTime  // of its newest entry
	Archive  record.Archive
	Chains   []wal.Chain       // by timeline
	Backups  []snapshot.Backup // the oldest first, damaged ones too
	Labels   []wal.Label       // by timeline and index
}

// Survey looks at the destination. The cluster is asked first, then segments are
// listed, then backups: what the cluster relies on must be in the lists.
func (b *Backups) Survey(ctx context.Context) (*Survey, error) {
	backups, err := b.backups(ctx)
	if err != nil {
		return nil, err
	}
	s := &Survey{Cluster: backups.Cluster}
	if s.Archive, err = b.archive(ctx, s); err != nil { // first: what it names must be in the lists
		return nil, err
	}
	refs, err := wal.List(ctx, b.c.Store, s.Cluster)
	if err != nil {
		return nil, err
	}
	s.Chains = wal.Chains(refs)
	if s.Labels, err = wal.Labels(ctx, b.c.Store, s.Cluster); err != nil {
		return nil, err
	}
	s.Backups, err = backups.List(ctx)
	return s, err
}

// archive is what the cluster says of its archive.
func (b *Backups) archive(ctx context.Context, s *Survey) (record.Archive, error) {
	view, _, err := b.c.Replica.Read(ctx, raftnode.ReadOptions{Mode: raftnode.Any})
	if err != nil {
		return record.Archive{}, err
	}
	defer view.Close()
	s.Timeline, s.Now = view.Meta().Timeline, view.Meta().LogTime
	return view.Archive()
}

// Chain is the chain of a timeline; one without segments if there is none.
func (s *Survey) Chain(t record.Timeline) wal.Chain {
	i := slices.IndexFunc(s.Chains, func(c wal.Chain) bool { return c.Timeline == t })
	if i < 0 {
		return wal.Chain{Timeline: t}
	}
	return s.Chains[i]
}

// Timelines are those of which there is anything, in their order.
func (s *Survey) Timelines() []record.Timeline {
	var list []record.Timeline
	for _, c := range s.Chains {
		list = append(list, c.Timeline)
	}
	for _, b := range s.Backups {
		if t := b.State.Timeline; b.Damage == nil && !slices.Contains(list, t) {
			list = append(list, t)
		}
	}
	slices.SortFunc(list, wal.CompareTimelines)
	return list
}

// Bases are the good backups of a timeline.
func (s *Survey) Bases(t record.Timeline) []wal.Base {
	var bases []wal.Base
	for _, b := range s.Backups {
		if b.Good() && b.State.Timeline == t {
			bases = append(bases, wal.Base{Index: b.State.Index, LogTime: b.State.LogTime})
		}
	}
	return bases
}

// Stretches are what can be restored, by timeline and index.
func (s *Survey) Stretches() []wal.Stretch {
	var list []wal.Stretch
	for _, t := range s.Timelines() {
		stretches := s.Chain(t).Stretches(s.Bases(t))
		for i := range stretches {
			// The cluster knows the end of its own archive better than a name does.
			if stretches[i].Last == s.Archive.Last && t == s.Archive.Timeline {
				stretches[i].Until = max(stretches[i].Until, s.Archive.LastTime)
			}
		}
		list = append(list, stretches...)
	}
	return list
}

// A Gap is a part of a timeline that cannot be restored though it lies between parts
// that were archived.
type Gap struct {
	wal.Gap
	Timeline record.Timeline
	Tip      bool // segments at the end are missing that the cluster relies on
	Baseless bool // everything is there but a backup to start from
}

// Reason is one word: recorded, missing, tip or no_backup.
func (g Gap) Reason() string {
	switch {
	case g.Baseless:
		return "no_backup"
	case g.Tip:
		return "tip"
	case g.Recorded:
		return "recorded"
	}
	return "missing"
}

func (g Gap) String() string {
	indexes := fmt.Sprintf("indexes %d to %d", g.First, g.Last)
	if g.First > g.Last {
		indexes = fmt.Sprintf("behind index %d", g.Last)
	}
	switch g.Reason() {
	case "no_backup":
		return indexes + ": archived, and there is no backup to start from"
	case "tip":
		return indexes + ": the cluster has archived them, and they are not in the destination"
	case "recorded":
		return indexes + ": lost before they could be archived; a later backup holds their outcome"
	}
	return indexes + ": segments are missing that were there"
}

// Gaps are what is missing. What was pruned at the front of a timeline is not, as long
// as a backup stands where the segments begin.
func (s *Survey) Gaps() []Gap {
	var list []Gap
	for _, t := range s.Timelines() {
		c, bases := s.Chain(t), s.Bases(t)
		for i, run := range c.Runs {
			based := slices.ContainsFunc(bases, func(b wal.Base) bool { return run.Follows(b.Index) })
			if !based {
				list = append(list, Gap{Gap: wal.Gap{First: run.First(), Last: run.Last(), After: run[0].Sequence - 1, Before: run[len(run)-1].Sequence + 1}, Timeline: t, Baseless: true})
			}
			if i == 0 {
				continue // in front of it lies what was pruned, or what never was
			}
			for _, g := range c.Gaps {
				if g.Before == run[0].Sequence {
					list = append(list, Gap{Gap: g, Timeline: t})
				}
			}
		}
	}
	if tip, ok := s.missingTip(); ok {
		list = append(list, tip)
	}
	slices.SortStableFunc(list, func(a, b Gap) int { return wal.CompareTimelines(a.Timeline, b.Timeline) })
	return list
}

// missingTip is what the cluster has archived at its end and is not there.
func (s *Survey) missingTip() (Gap, bool) {
	a := s.Archive
	gap := Gap{Gap: wal.Gap{First: a.First, Last: a.Last, Before: a.Sequence + 1}, Timeline: a.Timeline, Tip: true}
	runs := s.Chain(a.Timeline).Runs
	if n := len(runs); n > 0 {
		end := runs[n-1][len(runs[n-1])-1]
		if end.Sequence >= a.Sequence {
			return Gap{}, false
		}
		gap.First, gap.After = end.Last+1, end.Sequence
	}
	return gap, a.Sequence > 0
}
