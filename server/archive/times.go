package archive

import (
	"strings"
	"time"
	_ "time/tzdata" // every node knows the same zones, whatever its host has installed

	"github.com/netresearch/go-cron"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// Times are points in time that a cron expression names. The zero value has none. It
// may be used from any goroutine.
type Times struct {
	cron cron.Schedule
	zone *time.Location
}

// ParseTimes reads a cron expression of five fields, or a descriptor like @daily or
// @every 6h, in the zone of that name (IANA; "" means UTC). An empty expression names
// no time. A time of the wall clock that a change to summer time skips comes after the
// change, and one that a change back repeats comes twice.
func ParseTimes(expression, zone string) (Times, error) {
	if expression == "" {
		return Times{}, nil
	}
	at, err := time.LoadLocation(zone)
	if err != nil || zone == "Local" {
		return Times{}, fault.New(fault.Invalid, "%q is no time zone", zone).WithHint("use a name like UTC or Europe/Berlin")
	}
	wrong := func(why any) error {
		return fault.New(fault.Invalid, "%q is no schedule: %v", expression, why).
			WithHint("use minute, hour, day of month, month and day of week, as in 0 */6 * * *, or @daily, or @every 6h")
	}
	if strings.Contains(expression, "TZ=") {
		return Times{}, wrong("the time zone is a setting of its own")
	}
	schedule, err := cron.ParseStandard(expression)
	if err != nil {
		return Times{}, wrong(err)
	}
	t := Times{cron: schedule, zone: at}
	if t.Next(time.Now()).IsZero() {
		return Times{}, wrong("it names no time")
	}
	return t, nil
}

// None reports whether t has no times.
func (t Times) None() bool { return t.cron == nil }

// Next is the first time after now; zero if there is none.
func (t Times) Next(now time.Time) time.Time {
	if t.None() {
		return time.Time{}
	}
	return t.cron.Next(now.In(t.zone))
}

// wait is how long it is to the next time, at most longest.
func (t Times) wait(longest time.Duration) time.Duration {
	if next := t.Next(time.Now()); !next.IsZero() {
		return min(longest, time.Until(next))
	}
	return longest
}

// missed reports whether one of the times came after last and up to now: however many
// did, what was missed is made up once.
func (t Times) missed(last, now time.Time) bool {
	next := t.Next(last)
	return !t.None() && (last.IsZero() || !next.IsZero() && !next.After(now))
}
