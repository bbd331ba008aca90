package admin

import (
	"context"
	"time"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode"
	"github.com/mcpraft/mcpraft/server/adminapi"
	"github.com/mcpraft/mcpraft/server/archive"
)

// Archive is the archive of the log in the destination of this node. Its methods are
// called from any number of goroutines.
type Archive interface {
	Status(ctx context.Context) (archive.Status, error)
	Flush(ctx context.Context) error
	VerifySegments(ctx context.Context, told func(bytes int64)) (archive.Verification, error)
}

const (
	defaultTimeline = 24 * time.Hour
	maxFlush        = 2 * time.Minute
)

func (a *API) showPITR(*exchange, *args) (job, error) {
	return func(ctx context.Context, _ func(int64)) (any, error) { return a.pitr(ctx) }, nil
}

func (a *API) pitr(ctx context.Context) (adminapi.PITR, error) {
	s, err := a.c.Archive.Status(ctx)
	if err != nil {
		return adminapi.PITR{}, err
	}
	return pitrOf(s), nil
}

func pitrOf(s archive.Status) adminapi.PITR {
	shown := adminapi.PITR{
		Enabled: s.PITR.Enabled, Destination: s.Destination, Problem: textOf(s.Problem), Timeline: s.Archive.Timeline.String(),
		ArchivedIndex: s.Archive.Last, ArchivedAt: at(s.Archive.LastTime), LastSuccess: at(s.Archive.Advanced), Segment: s.Archive.Sequence,
		LagEntries: s.Lag.Entries, LagSeconds: s.Lag.Age(time.Now()).Seconds(), LogBytes: s.Lag.Bytes, LogMaxBytes: s.PITR.SpoolBytes,
		Restorable: []adminapi.PITRStretch{}, Gaps: []adminapi.PITRGap{},
	}
	if b := s.Archive.Backup; b != nil {
		shown.Backup, shown.BackupAt = b.ID, at(b.Taken)
	}
	if s.Survey == nil {
		return shown
	}
	for _, x := range s.Survey.Stretches() {
		shown.Restorable = append(shown.Restorable, adminapi.PITRStretch{
			Timeline: x.Timeline.String(), First: x.First, Last: x.Last, From: at(x.From), Until: at(x.Until),
		})
	}
	shown.Gaps = gapsOf(s.Survey.Gaps())
	return shown
}

// at is a log time for people; empty for none.
func at(t record.LogTime) string {
	if t == 0 {
		return ""
	}
	return t.Time().Format(time.RFC3339)
}

// survey is a Status whose destination answered.
func (a *API) survey(ctx context.Context) (archive.Status, error) {
	s, err := a.c.Archive.Status(ctx)
	if err == nil {
		err = s.Problem
	}
	return s, err
}

func (a *API) pitrTimeline(_ *exchange, from *args) (job, error) {
	var spec adminapi.PITRTimelineSpec
	from.json(&spec)
	since := spec.Since.Duration()
	if since == 0 {
		since = defaultTimeline
	}
	if since < 0 {
		return nil, fault.New(fault.Invalid, "since %v is negative", since)
	}
	return func(ctx context.Context, _ func(int64)) (any, error) {
		s, err := a.survey(ctx)
		if err != nil {
			return nil, err
		}
		page := adminapi.Page[adminapi.PITRPoint]{Items: []adminapi.PITRPoint{}}
		for _, p := range s.Survey.Points(time.Now().Add(-since), s.PITR.PointInterval) {
			page.Items = append(page.Items, adminapi.PITRPoint{
				At: at(p.LogTime), Timeline: p.Timeline.String(), Index: p.Index, Kind: string(p.Kind), Name: p.Name, Last: p.Last,
			})
		}
		return page, nil
	}, nil
}

func (a *API) pitrGaps(*exchange, *args) (job, error) {
	return func(ctx context.Context, _ func(int64)) (any, error) {
		s, err := a.survey(ctx)
		if err != nil {
			return nil, err
		}
		return adminapi.Page[adminapi.PITRGap]{Items: gapsOf(s.Survey.Gaps())}, nil
	}, nil
}

func gapsOf(gaps []archive.Gap) []adminapi.PITRGap {
	list := []adminapi.PITRGap{}
	for _, g := range gaps {
		list = append(list, adminapi.PITRGap{
			Timeline: g.Timeline.String(), First: g.First, Last: g.Last, Reason: g.Reason(), Text: g.String(),
		})
	}
	return list
}

func (a *API) verifyPITR(*exchange, *args) (job, error) {
	return func(ctx context.Context, done func(int64)) (any, error) {
		v, err := a.c.Archive.VerifySegments(ctx, done)
		if err != nil {
			return nil, err
		}
		shown := adminapi.PITRVerification{Segments: v.Segments, Entries: v.Entries, Bytes: v.Bytes, Damage: []adminapi.PITRDamage{}, Gaps: gapsOf(v.Gaps)}
		for _, d := range v.Damage {
			shown.Damage = append(shown.Damage, adminapi.PITRDamage{Object: d.Object, Problem: d.Problem, Hint: d.Hint})
		}
		return shown, nil
	}, nil
}

func (a *API) flushPITR(*exchange, *args) (job, error) {
	return func(ctx context.Context, _ func(int64)) (any, error) {
		waiting, cancel := context.WithTimeout(ctx, maxFlush)
		defer cancel()
		if err := a.c.Archive.Flush(waiting); err != nil {
			return nil, err
		}
		return a.pitr(ctx)
	}, nil
}

func (a *API) labelPITR(x *exchange, from *args) (job, error) {
	var spec adminapi.PITRLabelSpec
	from.json(&spec)
	return func(ctx context.Context, _ func(int64)) (any, error) {
		return a.changeLabel(ctx, x, spec.Name, &fsm.PutLabel{Name: spec.Name})
	}, record.ValidLabel(spec.Name)
}

// changeLabel applies a command about a label and shows the label as it is then, or
// was.
func (a *API) changeLabel(ctx context.Context, x *exchange, name string, c fsm.Command) (adminapi.PITRLabel, error) {
	r, err := a.c.Replica.Propose(ctx, raftnode.Request{Actor: x.caller, RequestID: x.requestID, Command: c})
	if err == nil {
		err = r.Outcome.Err()
	}
	if err != nil {
		return adminapi.PITRLabel{}, err
	}
	view, _, err := a.c.Replica.Read(ctx, raftnode.ReadOptions{Mode: raftnode.Any, MinIndex: r.Index})
	if err != nil {
		return adminapi.PITRLabel{}, err
	}
	defer view.Close()
	l, err := view.Label(name)
	if fault.Of(err) == fault.NotFound {
		return adminapi.PITRLabel{Name: name}, nil
	}
	return labelOf(view, l), err
}

func (a *API) removeLabel(x *exchange, from *args) (job, error) {
	name := from.path("name")
	return func(ctx context.Context, _ func(int64)) (any, error) {
		view, _, err := a.c.Replica.Read(ctx, raftnode.ReadOptions{Mode: raftnode.Linearizable})
		if err != nil {
			return nil, err
		}
		l, err := view.Label(name)
		shown := labelOf(view, l)
		view.Close()
		if err != nil {
			return nil, err
		}
		_, err = a.changeLabel(ctx, x, name, &fsm.RemoveLabels{Names: []string{name}})
		return shown, err
	}, record.ValidLabel(name)
}

func (a *API) listLabels(*exchange, *args) (job, error) {
	return func(ctx context.Context, _ func(int64)) (any, error) {
		view, _, err := a.c.Replica.Read(ctx, raftnode.ReadOptions{Mode: raftnode.Bounded})
		if err != nil {
			return nil, err
		}
		defer view.Close()
		page := adminapi.Page[adminapi.PITRLabel]{Items: []adminapi.PITRLabel{}}
		for l, err := range view.Labels("") {
			if err != nil {
				return nil, err
			}
			page.Items = append(page.Items, labelOf(view, l))
		}
		return page, nil
	}, nil
}

func labelOf(view *fsm.View, l record.Label) adminapi.PITRLabel {
	a, err := view.Archive()
	return adminapi.PITRLabel{
		Name: l.Name, Timeline: l.Timeline.String(), Index: l.Index, At: at(l.LogTime), By: l.By.String(),
		Archived: err == nil && (l.Timeline != a.Timeline || a.Last >= l.Index),
	}
}
