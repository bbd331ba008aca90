package archive

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/blob/blobtest"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/raftnode"
	"github.com/mcpraft/mcpraft/snapshot"
	"github.com/mcpraft/mcpraft/test/model/bubble"
)

func times(t testing.TB, expression, zone string) Times {
	t.Helper()
	at, err := ParseTimes(expression, zone)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func TestTimesAreThoseOfTheirZone(t *testing.T) {
	for _, c := range []struct{ expression, zone, after, want string }{
		{"0 */6 * * *", "", "2026-11-24T06:00:00Z", "2026-11-24T12:00:00Z"},
		{"30 2 * * *", "Europe/Berlin", "2026-11-24T00:00:00Z", "2026-11-24T01:30:00Z"},
		{"30 2 * * *", "Europe/Berlin", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"}, // 02:30 comes twice that day
		{"30 2 * * *", "Europe/Berlin", "2026-03-28T02:00:00Z", "2026-03-29T01:30:00Z"}, // 02:30 does not come that day
		{"0 3 * * *", "Asia/Kathmandu", "2026-11-24T00:00:00Z", "2026-11-24T21:15:00Z"},
		{"@every 6h", "", "2026-11-24T01:00:00Z", "2026-11-24T07:00:00Z"},
		{"0 4 * * 0", "UTC", "2026-11-24T00:00:00Z", "2026-11-29T04:00:00Z"},
	} {
		after, err := time.Parse(time.RFC3339, c.after)
		if err != nil {
			t.Fatal(err)
		}
		if got := times(t, c.expression, c.zone).Next(after).UTC().Format(time.RFC3339); got != c.want {
			t.Errorf("%s in %q after %s is %s, want %s", c.expression, c.zone, c.after, got, c.want)
		}
	}
}

func TestWhatNamesNoTimeIsRefused(t *testing.T) {
	for _, c := range []struct{ expression, zone, want string }{
		{"0 25 * * *", "", "is no schedule"},
		{"* * * *", "", "is no schedule"},
		{"0 0 31 2 *", "", "is no schedule"},
		{"TZ=Europe/Berlin 0 3 * * *", "", "the time zone is a setting of its own"},
		{"@daily", "Mars/Olympus", "is no time zone"},
		{"@daily", "Local", "is no time zone"},
	} {
		if _, err := ParseTimes(c.expression, c.zone); fault.Of(err) != fault.Invalid || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q in %q: %v, want %q", c.expression, c.zone, err, c.want)
		}
	}
	none, err := ParseTimes("", "UTC")
	if err != nil || !none.None() || !none.Next(time.Now()).IsZero() || none.missed(time.Time{}, time.Now()) {
		t.Errorf("the empty expression: %v", err)
	}
}

// TestScheduleInTime runs every story in one bubble.
func TestScheduleInTime(t *testing.T) {
	bubble.Run(t, func(t *testing.T) {
		for _, s := range []struct {
			name string
			tell func(*world)
		}{
			{"backups are taken at their times, the first at once", backupsAreTakenAtTheirTimes},
			{"what was missed is made up once", missedBackupIsMadeUpOnce},
			{"a backup that somebody took counts", backupOfSomebodyCounts},
			{"a dead destination is an alarm until it is back", deadDestinationIsAnAlarm},
			{"who works on the backups is waited for without an alarm", holderIsWaitedFor},
			{"each backup is verified, and drilled on a schedule", backupsAreVerified},
			{"a damaged backup is an alarm until the next one passes", damagedBackupIsAnAlarm},
			{"without a schedule nothing is done", nothingIsDone},
		} {
			t.Log(s.name)
			w := newWorld(t)
			s.tell(w)
			if t.Failed() {
				t.Fatalf("failed: %s", s.name)
			}
		}
	})
}

func (w *world) backups() []snapshot.Backup {
	w.t.Helper()
	list, err := w.make(Options{}).List(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

func (w *world) hourly() Schedule { return Schedule{Backup: times(w.t, "0 * * * *", "")} }

func backupsAreTakenAtTheirTimes(w *world) {
	a := w.make(Options{Schedule: w.hourly()})
	defer w.serve(a.BackUp, a.Check)()
	time.Sleep(time.Second)
	if n := len(w.backups()); n != 1 {
		w.t.Errorf("%d backups at once, want 1", n)
	}
	time.Sleep(4 * time.Hour)
	list := w.backups()
	if len(list) != 5 {
		w.t.Fatalf("%d backups after four hours, want 5", len(list))
	}
	for _, b := range list[1:] {
		if at := b.Created; at.Minute() != 0 || at.Second() != 0 || b.Reason != "schedule" {
			w.t.Errorf("backup %s, because of %s", at, b.Reason)
		}
	}
}

func missedBackupIsMadeUpOnce(w *world) {
	first := w.make(Options{Schedule: w.hourly()})
	depose := w.serve(first.BackUp)
	time.Sleep(time.Minute)
	depose()
	time.Sleep(6*time.Hour + time.Minute) // six times pass without a leader
	second := w.make(Options{Schedule: w.hourly()})
	defer w.serve(second.BackUp)()
	time.Sleep(time.Minute)
	if n := len(w.backups()); n != 2 {
		w.t.Errorf("%d backups, want the first one and one for all that were missed", n)
	}
}

func backupOfSomebodyCounts(w *world) {
	a := w.make(Options{Schedule: Schedule{Backup: times(w.t, "@every 1h", "")}})
	defer w.serve(a.BackUp)()
	time.Sleep(50 * time.Minute)
	if _, err := a.Backups.Run(w.t.Context(), "request", nil); err != nil {
		w.t.Fatal(err)
	}
	time.Sleep(50 * time.Minute)
	if n := len(w.backups()); n != 2 {
		w.t.Errorf("%d backups, want 2", n)
	}
	time.Sleep(15 * time.Minute)
	if n := len(w.backups()); n != 3 {
		w.t.Errorf("%d backups, want 3", n)
	}
}

func deadDestinationIsAnAlarm(w *world) {
	a := w.make(Options{Schedule: w.hourly()})
	w.store.Inject(blobtest.Fault{Err: blobtest.ErrBusy})
	defer w.serve(a.BackUp)()
	time.Sleep(2 * time.Hour)
	if alarm := w.raised.now(raftnode.AlarmBackup); !strings.Contains(alarm, "backup on schedule failed") {
		w.t.Errorf("alarm is %q", alarm)
	}
	// 1 min, 2, 4, … of pauses: 7 attempts in two hours.
	if n := testutil.ToFloat64(a.metrics.chores.WithLabelValues("backup", fault.Of(blobtest.ErrBusy).String())); n < 5 || n > 8 {
		w.t.Errorf("tried %v times in two hours", n)
	}
	w.store.Heal()
	time.Sleep(maxSchedulePause)
	if alarm := w.raised.now(raftnode.AlarmBackup); alarm != "" || len(w.backups()) != 1 {
		w.t.Errorf("an hour later there are %d backups, alarm %q", len(w.backups()), alarm)
	}
}

func holderIsWaitedFor(w *world) {
	w.member("b")
	claim := w.replica.Must(w.t, self, &fsm.AcquireClaim{Claim: record.Claim{Name: claimName, Node: "b", Process: record.ID{9}}})
	a := w.make(Options{Schedule: w.hourly()})
	defer w.serve(a.BackUp)()
	time.Sleep(10 * time.Minute)
	if len(w.raised.ever) != 0 || len(w.backups()) != 0 {
		w.t.Errorf("alarms %v, %d backups", w.raised.ever, len(w.backups()))
	}
	w.replica.Must(w.t, self, &fsm.ReleaseClaim{Name: claimName, Token: claim.Revision})
	time.Sleep(2 * minSchedulePause)
	if n := len(w.backups()); n != 1 {
		w.t.Errorf("%d backups after the release, want 1", n)
	}
}

func backupsAreVerified(w *world) {
	s := w.hourly()
	s.After, s.Verify = snapshot.LevelDecode, times(w.t, "30 */4 * * *", "")
	a := w.make(Options{Schedule: s})
	defer w.serve(a.BackUp, a.Check)()
	time.Sleep(2 * scheduleLook)
	at := w.place()
	if at.Drilled == nil || at.Drilled.Backup != at.Backup.ID || at.Decoded.At != at.Drilled.At {
		w.t.Fatalf("the first backup was not drilled: %+v", at)
	}
	drilled := at.Drilled.At
	next := s.Verify.Next(time.Now())
	time.Sleep(time.Until(next) - time.Minute)
	for _, b := range w.backups() {
		if b.Checked == nil || !b.Checked.Passed() || b.Checked.Level == snapshot.LevelFiles {
			w.t.Errorf("backup %s was checked as %+v", b.ID, b.Checked)
		}
	}
	if at := w.place(); at.Drilled.At != drilled || at.Decoded.Backup != at.Backup.ID || at.Decoded.Depth != record.DepthDecode {
		w.t.Errorf("before the next drill: %+v", at)
	}
	time.Sleep(2 * time.Minute)
	if again := w.place().Drilled.At.Time(); !again.Truncate(time.Minute).Equal(next) {
		w.t.Errorf("drilled at %s, want %s", again, next)
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(a)
	if n, err := testutil.GatherAndCount(registry, "mcpraft_backup_verify_last_success_timestamp_seconds", "mcpraft_restore_drill_seconds"); err != nil || n != 4 {
		w.t.Errorf("%d metrics of verifications, %v; want one for each of 3 levels and the drill", n, err)
	}
}

func damagedBackupIsAnAlarm(w *world) {
	s := w.hourly()
	a := w.make(Options{Schedule: s})
	depose := w.serve(a.BackUp)
	time.Sleep(time.Second)
	depose()
	for _, name := range w.store.Names() {
		if strings.HasSuffix(name, ".state") {
			data := bytes.Clone(w.store.Bytes(name))
			data[len(data)/2] ^= 1
			w.store.Set(name, data)
		}
	}
	s.After = snapshot.LevelDecode
	a = w.make(Options{Schedule: s})
	defer w.serve(a.BackUp, a.Check)()
	time.Sleep(20 * time.Minute)
	if alarm := w.raised.now(raftnode.AlarmVerify); !strings.Contains(alarm, ".state") || w.place().Decoded != nil {
		w.t.Errorf("alarm %q, noted %+v", alarm, w.place().Decoded)
	}
	time.Sleep(90 * time.Minute)
	if alarm := w.raised.now(raftnode.AlarmVerify); alarm != "" || w.place().Decoded == nil {
		w.t.Errorf("after the next backup: alarm %q, noted %+v", alarm, w.place().Decoded)
	}
}

func nothingIsDone(w *world) {
	a := w.make(Options{})
	defer w.serve(a.BackUp, a.Check)()
	time.Sleep(3 * time.Hour)
	if names := w.store.Names(); len(names) != 0 {
		w.t.Errorf("stored %v", names)
	}
}
