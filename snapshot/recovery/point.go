package recovery

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/snapshot"
	"github.com/mcpraft/mcpraft/wal"
)

// An Until says where a recovery from the archive ends. Exactly one of Time, Index,
// Label and Latest is set.
type Until struct {
	Time   time.Time // everything that was written at this time or before, to the millisecond
	Index  uint64    // the entry of this index is the last
	Label  string    // the entry that made this label is the last
	Latest bool      // everything that is archived

	Timeline record.Timeline // zero: the one that has the point; if several do, the caller must choose
	Before   uint64          // not 0: only backups of states before this index are begun with; for drills
}

func (u Until) String() string {
	switch {
	case !u.Time.IsZero():
		return u.Time.UTC().Format("2006-01-02T15:04:05.000Z07:00")
	case u.Index > 0:
		return fmt.Sprintf("index %d", u.Index)
	case u.Label != "":
		return "label " + u.Label
	}
	return "the newest point"
}

// Validate reports why u is no target, or nil.
func (u Until) Validate() error {
	n := 0
	for _, set := range []bool{!u.Time.IsZero(), u.Index > 0, u.Label != "", u.Latest} {
		if set {
			n++
		}
	}
	if n != 1 {
		return fault.New(fault.Invalid, "a recovery needs exactly one target, not %d", n).
			WithHint("one of --to-time, --to-index, --to-label and --latest")
	}
	return nil
}

// A PointPlan is what a recovery to a point would do. Making one changes nothing.
type PointPlan struct {
	history *History

	Cluster  string
	Until    Until
	From     record.Timeline
	To       record.Timeline
	Bases    []snapshot.Backup // to begin with; the first that is not damaged is taken
	Segments []wal.Ref         // on top of the first
	Bytes    int64             // stored, of the first and the segments

	Index   uint64         // of the last entry that is restored
	LogTime record.LogTime // of it
	Undone  Undone
	Damage  error // in front of the point, as far as was read: Run stops there, if it may

	run []wal.Ref // all segments of the run, up to its end
}

// Undone is what the archive holds behind the point: it is not restored.
type Undone struct {
	Entries  int
	Commands map[string]int // by name
	First    record.LogTime // of them
	Last     record.LogTime
	Damage   error // the rest could not be read; nil: that is all
}

// Plan finds the point, and what it is restored from. It reads the segments from
// the one with the point on, to say what is undone. A target outside of the window
// is NotFound, and the error has the window.
func (h *History) Plan(ctx context.Context, u Until) (*PointPlan, error) {
	if err := u.Validate(); err != nil {
		return nil, err
	}
	s, u, err := h.find(u)
	if err != nil {
		return nil, err
	}
	p := &PointPlan{history: h, Cluster: h.Name(), Until: u, From: s.Timeline, To: h.next()}
	if err := p.locate(ctx, s); err != nil {
		return nil, err
	}
	for _, b := range h.bases(s.Timeline) {
		if b.State.Index <= p.Index && (u.Before == 0 || b.State.Index < u.Before) && p.reaches(b) {
			p.Bases = append(p.Bases, b)
		}
	}
	if len(p.Bases) == 0 {
		return nil, h.Outside(u.String())
	}
	p.Segments = p.above(p.Bases[0].State.Index)
	p.Bytes = p.Bases[0].StoredBytes()
	for _, r := range p.Segments {
		p.Bytes += r.Size
	}
	return p, nil
}

// find is the stretch that a target lies in. A label becomes its index.
func (h *History) find(u Until) (wal.Stretch, Until, error) {
	what := u.String()
	if u.Label != "" {
		l, err := h.label(u)
		if err != nil {
			return wal.Stretch{}, u, err
		}
		u.Index, u.Timeline = l.Index, l.Timeline
	}
	var found []wal.Stretch
	for _, s := range h.Window() {
		if !u.Timeline.IsZero() && s.Timeline != u.Timeline {
			continue
		}
		switch {
		case u.Latest:
			found = []wal.Stretch{s} // the last is the newest
		case u.Index > 0 && s.Covers(u.Index), !u.Time.IsZero() && s.From < behind(u.Time):
			found = append(found, s)
		}
	}
	if len(found) == 0 {
		return wal.Stretch{}, u, h.Outside(what)
	}
	last := found[len(found)-1]
	if other := found[0].Timeline; u.Index > 0 && other != last.Timeline {
		return wal.Stretch{}, u, fault.New(fault.Invalid, "%s is on more than one timeline: %s and %s", what, other, last.Timeline).
			WithHint("choose one with --timeline; the higher number is the newer history")
	}
	return last, u, nil
}

func (h *History) label(u Until) (found wal.Label, err error) {
	for _, l := range h.Labels {
		if l.Name != u.Label || !u.Timeline.IsZero() && l.Timeline != u.Timeline {
			continue
		}
		found = l // of several, the newest timeline's
	}
	if found.Index == 0 {
		return found, fault.New(fault.NotFound, "%s has no label %s", h.Store, u.Label).WithHint("labels are archived some seconds after they are made; use --to-time or --to-index")
	}
	return found, nil
}

// behind is the first log time that is later than t, to the millisecond.
func behind(t time.Time) record.LogTime {
	return record.LogTimeAt(t.Truncate(time.Millisecond).Add(time.Millisecond))
}

// locate finds the last entry to be restored, and looks at what follows.
func (p *PointPlan) locate(ctx context.Context, s wal.Stretch) error {
	p.run = p.history.runOf(s)
	p.Index, p.LogTime = s.First, s.From // a backup alone, or what begins the stretch
	for _, b := range p.history.bases(s.Timeline) {
		if s.Covers(b.State.Index) && b.State.Index >= p.Index && p.wants(b.State.Index, b.State.LogTime) {
			p.Index, p.LogTime = b.State.Index, b.State.LogTime
		}
	}
	reached := false // an entry behind the point was seen
	for _, r := range p.tail() {
		err := p.eachEntry(ctx, r, func(e wal.Entry) error {
			if !reached && p.wants(e.Index, e.LogTime) {
				p.reach(e)
				return nil
			}
			reached = true
			return p.undo(e)
		})
		reached = reached || p.Until.Index > 0 && p.Index >= p.Until.Index
		switch {
		case err != nil && fault.Of(err) != fault.Integrity:
			return err
		case err != nil && reached:
			p.Undone.Damage = err
			return nil
		case err != nil && p.Damage == nil:
			p.Damage, p.Index = err, r.Last
		}
	}
	if p.Until.Index > 0 {
		p.Index = p.Until.Index // it may have no entry of its own
	}
	if !p.Until.Time.IsZero() && !reached && p.Damage == nil && behind(p.Until.Time) > p.LogTime+1<<16 {
		return p.history.Outside(p.Until.String() + ", after the newest archived change (" + stamp(p.LogTime) + "),")
	}
	return nil
}

// wants reports whether an entry is at or in front of the point.
func (p *PointPlan) wants(index uint64, at record.LogTime) bool {
	switch u := p.Until; {
	case u.Index > 0:
		return index <= u.Index
	case !u.Time.IsZero():
		return at < behind(u.Time)
	}
	return true
}

func (p *PointPlan) reach(e wal.Entry) {
	p.Index = max(p.Index, e.Index)
	p.LogTime = max(p.LogTime, e.LogTime)
}

// undo counts what is not restored, without the cluster's own upkeep.
func (p *PointPlan) undo(e wal.Entry) error {
	if e.Kind != wal.Commands {
		return nil
	}
	envelope, err := fsm.DecodeEnvelope(e.Data)
	if err != nil {
		return nil // it cannot be applied either; the replay would say so
	}
	u := &p.Undone
	for _, proposal := range envelope.Proposals {
		if fsm.Upkeep(proposal.Command) {
			continue
		}
		if u.Commands == nil {
			u.Commands, u.First = map[string]int{}, e.LogTime
		}
		u.Commands[fsm.CommandName(proposal.Command)]++
		u.Last = e.LogTime
	}
	u.Entries++
	return nil
}

// runOf is the segments that lie in a stretch, in order.
func (h *History) runOf(s wal.Stretch) []wal.Ref {
	var run []wal.Ref
	for _, r := range h.chain(s.Timeline).Runs {
		for _, ref := range r {
			if ref.Last > s.First && ref.Last <= s.Last {
				run = append(run, ref)
			}
		}
	}
	return run
}

// tail is the segments from the one with the point on.
func (p *PointPlan) tail() []wal.Ref {
	i := len(p.run)
	for i > 0 {
		i--
		if r := p.run[i]; p.Until.Index > 0 && r.First <= p.Until.Index || !p.Until.Time.IsZero() && r.FirstTime < behind(p.Until.Time) {
			break
		}
		if p.Until.Latest {
			break
		}
	}
	return p.run[i:]
}

// reaches reports whether the segments lead from a backup to the point.
func (p *PointPlan) reaches(b snapshot.Backup) bool {
	next := b.State.Index + 1
	for _, r := range p.above(b.State.Index) {
		if r.First > next {
			return false
		}
		next = r.Last + 1
	}
	return next > p.Index
}

// above is the segments that are needed on top of the state at index.
func (p *PointPlan) above(index uint64) []wal.Ref {
	var list []wal.Ref
	for _, r := range p.run {
		if r.Last > index && r.First <= p.Index {
			list = append(list, r)
		}
	}
	return list
}

// eachEntry reads one segment to its end.
func (p *PointPlan) eachEntry(ctx context.Context, r wal.Ref, use func(wal.Entry) error) (err error) {
	segment, err := wal.Open(ctx, p.history.Store, p.history.Policy.Ring, r)
	if err != nil {
		return err
	}
	defer segment.Close()
	for {
		e, err := segment.Next()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = use(e)
		}
		if err != nil {
			return err
		}
	}
}

// checkpoints are the digests that backups of this timeline recorded, by index, in
// order: what is replayed over them is compared.
func (p *PointPlan) checkpoints() []snapshot.State {
	var list []snapshot.State
	for _, b := range slices.Backward(p.history.bases(p.From)) {
		list = append(list, b.State)
	}
	return list
}
