package snapshot

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// A Retention says which backups are kept. What any rule keeps is kept. The rules
// that count look at good backups only: one that is known to be damaged keeps no
// other from counting. The zero Retention keeps everything.
type Retention struct {
	Days int // every backup that is younger
	Last int // the newest ones

	// The newest backup of each of so many hours, days, weeks (from Monday on) and
	// months that have one, the present one included.
	Hourly, Daily, Weekly, Monthly int

	MinKeep int // the newest ones, whatever their age; at least 1
}

// Validate reports every mistake in r.
func (r Retention) Validate() error {
	var errs []error
	for name, n := range map[string]int{
		"days": r.Days, "keep_last": r.Last, "hourly": r.Hourly, "daily": r.Daily, "weekly": r.Weekly, "monthly": r.Monthly, "min_keep": r.MinKeep,
	} {
		if n < 0 {
			errs = append(errs, fault.New(fault.Invalid, "retention %s is %d, want 0 or more", name, n))
		}
	}
	return errors.Join(errs...)
}

// A Verdict says whether a backup is kept, and why.
type Verdict struct {
	Backup Backup
	Keep   []string // reasons; empty means that it goes
}

// Plan decides about all backups of a cluster, the oldest first. Hours and days are
// those of the zone. What needed says yes to is kept: the backups that promised
// points of the log archive are restored from. Plan is pure.
func (r Retention) Plan(backups []Backup, now time.Time, zone *time.Location, needed func(Backup) bool) []Verdict {
	plan := make([]Verdict, len(backups))
	for i, b := range backups {
		plan[i].Backup = b
	}
	slices.SortStableFunc(plan, func(a, b Verdict) int {
		if c := a.Backup.Created.Compare(b.Backup.Created); c != 0 {
			return c
		}
		return strings.Compare(a.Backup.ID, b.Backup.ID)
	})
	for i := range plan {
		v := &plan[i]
		v.keepIf(v.Backup.Hold != nil, "it is held")
		v.keepIf(needed != nil && needed(v.Backup), "point-in-time recovery needs it")
		v.keepIf(r.Days > 0 && v.Backup.Created.After(now.AddDate(0, 0, -r.Days)), fmt.Sprintf("it is younger than %d days", r.Days))
		v.keepIf(r.none(), "nothing says for how long backups are kept")
	}
	r.count(plan, zone)
	return plan
}

// none reports whether no rule is set that could delete.
func (r Retention) none() bool {
	r.MinKeep = 0
	return r == Retention{}
}

func (v *Verdict) keepIf(keep bool, why string) {
	if keep {
		v.Keep = append(v.Keep, why)
	}
}

// count applies the rules that count, from the newest good backup on.
func (r Retention) count(plan []Verdict, zone *time.Location) {
	rules := []struct {
		n      int
		name   string
		period func(time.Time) string // nil: each backup counts
	}{
		{max(r.MinKeep, 1), "min_keep", nil},
		{r.Last, "keep_last", nil},
		{r.Hourly, "hour", func(t time.Time) string { return t.Format("2006-01-02 15h -0700") }},
		{r.Daily, "day", func(t time.Time) string { return t.Format("2006-01-02") }},
		{r.Weekly, "week", func(t time.Time) string { year, week := t.ISOWeek(); return fmt.Sprintf("%d-W%02d", year, week) }},
		{r.Monthly, "month", func(t time.Time) string { return t.Format("2006-01") }},
	}
	for _, rule := range rules {
		kept, last := 0, ""
		for i := len(plan) - 1; i >= 0 && kept < rule.n; i-- {
			v := &plan[i]
			if !v.Backup.Good() {
				continue
			}
			why := fmt.Sprintf("it is one of the newest %d (%s)", rule.n, rule.name)
			if rule.period != nil {
				period := rule.period(v.Backup.Created.In(zone))
				if period == last {
					continue
				}
				why, last = fmt.Sprintf("it is the newest of %s %s", rule.name, period), period
			}
			v.Keep = append(v.Keep, why)
			kept++
		}
	}
}
