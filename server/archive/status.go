package archive

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/wal"
)

// A Status says what of the cluster's history would survive if every node were lost
// now.
type Status struct {
	PITR        PITR // with defaults filled in
	Destination string
	Archive     record.Archive // what the cluster says
	Lag         Lag
	Schedule    Schedule
	Survey      *Survey // what is in the destination; nil with Problem
	Problem     error   // the destination could not be looked at
}

// Status looks at this node and at the destination. That the destination does not
// answer is part of the answer, not an error.
func (a *Archiver) Status(ctx context.Context) (Status, error) {
	if err := a.configured(); err != nil {
		return Status{}, err
	}
	at, err := a.place(ctx)
	if err != nil {
		return Status{}, err
	}
	s := Status{PITR: a.pitr, Destination: a.Backups.c.Store.String(), Archive: at.Archive, Schedule: a.Backups.c.Schedule}
	if s.Lag, err = a.lag(at); err != nil {
		return Status{}, err
	}
	s.Survey, s.Problem = a.Survey(ctx)
	return s, nil
}

// A Point is something on a timeline that a person looks for when choosing where to go
// back to.
type Point struct {
	Timeline record.Timeline
	Index    uint64
	LogTime  record.LogTime // not before it, to the millisecond; 0: unknown
	Kind     PointKind
	Name     string // of a backup or label
	Last     uint64 // of a gap: its last index
}

// A PointKind says what is at a point.
type PointKind string

const (
	PointBackup PointKind = "backup"
	PointLabel  PointKind = "label"
	PointGap    PointKind = "gap"
	PointLog    PointKind = "log" // nothing special: a time to orient by
	PointTip    PointKind = "tip" // the newest point that can be restored
)

// Points lists what is on the timelines since then, in their order: backups, labels,
// gaps, the end of what can be restored, and every interval a point of the log.
func (s *Survey) Points(since time.Time, interval time.Duration) []Point {
	var list []Point
	for _, b := range s.Backups {
		if b.Good() {
			list = append(list, Point{Timeline: b.State.Timeline, Index: b.State.Index, LogTime: b.State.LogTime, Kind: PointBackup, Name: b.ID})
		}
	}
	for _, l := range s.Labels {
		list = append(list, Point{Timeline: l.Timeline, Index: l.Index, LogTime: l.LogTime, Kind: PointLabel, Name: l.Name})
	}
	stretches := s.Stretches()
	for _, stretch := range stretches {
		list = append(list, Point{Timeline: stretch.Timeline, Index: stretch.Last, LogTime: stretch.Until, Kind: PointTip})
	}
	for _, c := range s.Chains {
		list = append(list, logPoints(c, stretches, interval)...)
	}
	from := record.LogTimeAt(since)
	list = slices.DeleteFunc(list, func(p Point) bool { return p.LogTime < from })
	for _, g := range s.Gaps() {
		list = append(list, Point{Timeline: g.Timeline, Index: g.First, Last: g.Last, Kind: PointGap})
	}
	slices.SortStableFunc(list, func(a, b Point) int {
		return cmp.Or(wal.CompareTimelines(a.Timeline, b.Timeline), cmp.Compare(a.Index, b.Index), cmp.Compare(a.LogTime, b.LogTime))
	})
	return list
}

// logPoints are beginnings of segments that can be restored, at least an interval
// apart.
func logPoints(c wal.Chain, stretches []wal.Stretch, interval time.Duration) (list []Point) {
	var next record.LogTime
	for _, run := range c.Runs {
		for _, r := range run {
			restorable := slices.ContainsFunc(stretches, func(s wal.Stretch) bool { return s.Timeline == c.Timeline && s.Covers(r.First) })
			if r.FirstTime < next || !restorable {
				continue
			}
			list = append(list, Point{Timeline: c.Timeline, Index: r.First, LogTime: r.FirstTime, Kind: PointLog})
			next = r.FirstTime.Add(interval)
		}
	}
	return list
}
