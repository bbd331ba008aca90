package snapshot

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/blob/blobtest"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/seal"
	"github.com/mcpraft/mcpraft/wal"
)

var testNow = time.Date(2026, 5, 13, 12, 0, 0, 0, time.UTC) // a Wednesday

// taken is a backup of that age.
func taken(age time.Duration, index uint64) Backup {
	created := testNow.Add(-age)
	s := testState(index)
	s.LogTime = record.LogTimeAt(created)
	return Backup{Manifest: Manifest{ID: fmt.Sprintf("%s-%d-00000000", created.Format(idTime), index), Created: created, State: s}}
}

// kept is the indexes of the backups that a plan keeps.
func kept(plan []Verdict) (indexes []uint64) {
	for _, v := range plan {
		if len(v.Keep) > 0 {
			indexes = append(indexes, v.Backup.State.Index)
		}
	}
	slices.Sort(indexes)
	return indexes
}

func TestRetentionIsAUnionOfRules(t *testing.T) {
	const h, d = time.Hour, 24 * time.Hour
	// By index: the age of each.
	ages := []time.Duration{1: 30 * time.Minute, 2: 50 * time.Minute, 3: 90 * time.Minute, 4: 5 * h, 5: 20 * h, 6: 26 * h, 7: 3 * d, 8: 9 * d, 9: 20 * d, 10: 45 * d, 11: 400 * d}
	var all []Backup
	for index, age := range ages {
		if index > 0 {
			all = append(all, taken(age, uint64(index)))
		}
	}
	everything := []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}
	for name, test := range map[string]struct {
		r    Retention
		want []uint64
	}{
		"none":             {Retention{}, everything},
		"only min_keep":    {Retention{MinKeep: 2}, everything},
		"days":             {Retention{Days: 2}, []uint64{1, 2, 3, 4, 5, 6}},
		"last":             {Retention{Last: 3}, []uint64{1, 2, 3}},
		"hourly":           {Retention{Hourly: 3}, []uint64{1, 3, 4}}, // 11h has 1 and 2; then 10h, 7h
		"daily":            {Retention{Daily: 3}, []uint64{1, 5, 7}},  // 13th, 12th (5 is newer than 6), 10th
		"weekly":           {Retention{Weekly: 3}, []uint64{1, 7, 9}}, // from the 11th; from the 4th, which has 7 and 8; from 20th of April
		"monthly":          {Retention{Monthly: 3}, []uint64{1, 9, 10}},
		"far monthly":      {Retention{Monthly: 100}, []uint64{1, 9, 10, 11}},
		"days and monthly": {Retention{Days: 1, Monthly: 2}, []uint64{1, 2, 3, 4, 5, 9}},
		"min_keep on top":  {Retention{Last: 1, MinKeep: 4}, []uint64{1, 2, 3, 4}},
	} {
		if got := kept(test.r.Plan(all, testNow, time.UTC, nil)); !slices.Equal(got, test.want) {
			t.Errorf("%s: kept %v, want %v", name, got, test.want)
		}
	}
}

func TestDaysAreThoseOfTheZone(t *testing.T) {
	east := time.FixedZone("east", 5*60*60)
	// 13 h ago it was 23:00 in UTC and 4:00 of today in the east.
	all := []Backup{taken(time.Hour, 1), taken(13*time.Hour, 2)}
	r := Retention{Daily: 2}
	if got := kept(r.Plan(all, testNow, time.UTC, nil)); !slices.Equal(got, []uint64{1, 2}) {
		t.Errorf("in UTC: %v", got)
	}
	if got := kept(r.Plan(all, testNow, east, nil)); !slices.Equal(got, []uint64{1}) {
		t.Errorf("in the east: %v", got)
	}
}

func TestDamagedBackupsDoNotCount(t *testing.T) {
	failed, unreadable := taken(time.Hour, 1), taken(2*time.Hour, 2)
	failed.Checked = &Check{Problem: "broken"}
	unreadable.Damage = errors.New("damaged")
	all := []Backup{failed, unreadable, taken(3*time.Hour, 3), taken(4*time.Hour, 4)}
	if got := kept(Retention{Last: 1}.Plan(all, testNow, time.UTC, nil)); !slices.Equal(got, []uint64{3}) {
		t.Errorf("kept %v, want the newest that is good", got)
	}
	if got := kept(Retention{Days: 1, Last: 1}.Plan(all, testNow, time.UTC, nil)); !slices.Equal(got, []uint64{1, 2, 3, 4}) {
		t.Errorf("kept %v, want also the damaged ones while they are young", got)
	}
}

func TestTheLastGoodBackupStays(t *testing.T) {
	old := []Backup{taken(500*24*time.Hour, 1), taken(400*24*time.Hour, 2)}
	if got := kept(Retention{Days: 1}.Plan(old, testNow, time.UTC, nil)); !slices.Equal(got, []uint64{2}) {
		t.Errorf("kept %v", got)
	}
}

func TestNegativeCountsAreRefusedTogether(t *testing.T) {
	err := Retention{Days: -1, Hourly: -2}.Validate()
	if err == nil || !strings.Contains(err.Error(), "days is -1") || !strings.Contains(err.Error(), "hourly is -2") {
		t.Errorf("Validate = %v", err)
	}
}

func drawBackups(r *rapid.T) []Backup {
	var all []Backup
	for i := range rapid.IntRange(0, 25).Draw(r, "backups") {
		b := taken(time.Duration(rapid.Int64Range(-10, 100_000).Draw(r, "age in minutes"))*time.Minute, uint64(i+1))
		switch rapid.IntRange(0, 9).Draw(r, "what") {
		case 0:
			b.Hold = new(Hold)
		case 1:
			b.Checked = &Check{Problem: "broken"}
		case 2:
			b.Damage = errors.New("damaged")
		}
		all = append(all, b)
	}
	return all
}

func drawRetention(r *rapid.T) Retention {
	n := func(name string) int { return rapid.IntRange(0, 6).Draw(r, name) }
	return Retention{Days: n("days"), Last: n("last"), Hourly: n("hourly"), Daily: n("daily"), Weekly: n("weekly"), Monthly: n("monthly"), MinKeep: n("min")}
}

func TestRetentionNeverDeletesWhatItMustNot(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		all, rule := drawBackups(r), drawRetention(r)
		needed := map[uint64]bool{rapid.Uint64Range(0, 25).Draw(r, "needed"): true}
		need := func(b Backup) bool { return needed[b.State.Index] }
		plan := rule.Plan(all, testNow, time.UTC, need)
		if len(plan) != len(all) {
			r.Fatalf("%d verdicts about %d backups", len(plan), len(all))
		}
		good, goodKept := 0, 0
		for _, v := range plan {
			b := v.Backup
			if b.Good() {
				good++
				if len(v.Keep) > 0 {
					goodKept++
				}
			}
			if len(v.Keep) == 0 && (b.Hold != nil || need(b) || rule.Days > 0 && b.Created.After(testNow.AddDate(0, 0, -rule.Days))) {
				r.Fatalf("%s goes, held %v, needed %v, retention %+v", b.ID, b.Hold, need(b), rule)
			}
		}
		if goodKept < min(good, max(rule.MinKeep, 1)) {
			r.Fatalf("%d of %d good backups are kept, min_keep is %d", goodKept, good, rule.MinKeep)
		}
		// What is kept is kept again: pruning twice is pruning once.
		var rest []Backup
		for _, v := range plan {
			if len(v.Keep) > 0 {
				rest = append(rest, v.Backup)
			}
		}
		if again := rule.Plan(rest, testNow, time.UTC, need); len(kept(again)) != len(rest) {
			r.Fatalf("of %d kept backups, %d are kept the second time", len(rest), len(kept(again)))
		}
		// A more generous rule keeps no less.
		more := rule
		more.Daily++
		more.Days++
		wide := kept(more.Plan(all, testNow, time.UTC, need))
		if rule.none() {
			return // it kept everything
		}
		for _, index := range kept(plan) {
			if !slices.Contains(wide, index) {
				r.Fatalf("%+v keeps backup %d, %+v does not", rule, index, more)
			}
		}
	})
}

// The log archive says which backups its points need; with both pruned, every point
// of the promised window can still be restored.
func TestRetentionNeverBreaksAChain(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		all, rule := drawBackups(r), drawRetention(r)
		at := func(index uint64) record.LogTime {
			return record.LogTimeAt(testNow.Add(-time.Duration(100_000-index) * time.Minute))
		}
		for i := range all { // log time and index go together
			all[i].State.Index = uint64(max(1, 100_000-int64(testNow.Sub(all[i].Created)/time.Minute)))
			all[i].State.LogTime = at(all[i].State.Index)
		}
		var refs []wal.Ref
		for seq, first := uint64(1), uint64(1); first < 100_000; seq++ {
			last := first + rapid.Uint64Range(1000, 20_000).Draw(r, "indexes")
			ref := wal.Ref{Cluster: testCluster, Timeline: record.Timeline{Number: 1}, Sequence: seq, First: first, Last: last, FirstTime: at(first), Tag: wal.Tag{byte(seq), 1}}
			if seq > 1 {
				ref.Previous = wal.Tag{byte(seq - 1), 1}
			}
			if rapid.IntRange(0, 9).Draw(r, "missing") > 0 {
				refs = append(refs, ref)
			}
			first = last + 1
		}
		if len(refs) == 0 {
			return
		}
		since := at(rapid.Uint64Range(1, 100_000).Draw(r, "since"))
		bases := func(backups []Backup) (list []wal.Base) {
			for _, b := range backups {
				if b.Good() {
					list = append(list, wal.Base{Index: b.State.Index, LogTime: b.State.LogTime})
				}
			}
			return list
		}
		chain := wal.Chains(refs)[0]
		needed, expired := chain.Retain(bases(all), since)
		plan := rule.Plan(all, testNow, time.UTC, func(b Backup) bool {
			return b.Good() && slices.Contains(needed, wal.Base{Index: b.State.Index, LogTime: b.State.LogTime})
		})
		var rest []Backup
		for _, v := range plan {
			if len(v.Keep) > 0 {
				rest = append(rest, v.Backup)
			}
		}
		left := slices.DeleteFunc(slices.Clone(refs), func(ref wal.Ref) bool { return slices.Contains(expired, ref) })
		after := wal.Chain{}
		if len(left) > 0 {
			after = wal.Chains(left)[0]
		}
		for _, run := range chain.Runs {
			for _, point := range []uint64{run.First(), (run.First() + run.Last()) / 2, run.Last()} {
				if at(point) >= since && restores(chain, bases(all), point) && !restores(after, bases(rest), point) {
					r.Fatalf("index %d cannot be restored any more", point)
				}
			}
		}
	})
}

// restores reports whether a point can be restored: from a base at it, or from one
// in front of it in its run.
func restores(c wal.Chain, bases []wal.Base, point uint64) bool {
	return slices.ContainsFunc(bases, func(b wal.Base) bool {
		return b.Index == point || b.Index < point && slices.ContainsFunc(c.Runs, func(run wal.Run) bool { return run.Follows(b.Index) && point <= run.Last() })
	})
}

func TestPruneDeletesWhatThePlanSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := blobtest.NewMemory()
		b := newBackups(m, seal.Policy{})
		var ids []string
		for i := range uint64(4) {
			ids = append(ids, save(t, b, i+1, 1500).ID)
			time.Sleep(24 * time.Hour)
		}
		if err := b.Note(t.Context(), ids[0], Check{Level: LevelFiles}); err != nil {
			t.Fatal(err)
		}
		before := m.Names()
		plan, err := b.PlanPrune(t.Context(), Retention{Last: 1}, time.UTC, nil)
		if err != nil || !slices.Equal(plan.Expired(), ids[:3]) || len(plan.Leftovers) != 0 {
			t.Fatalf("plan is %v, %v, %v", plan.Expired(), plan.Leftovers, err)
		}
		if !slices.Equal(m.Names(), before) {
			t.Error("a plan changed the destination")
		}
		if err := b.Hold(t.Context(), ids[1], Hold{Reason: "after the plan"}); err != nil {
			t.Fatal(err)
		}
		deleted, err := b.Prune(t.Context(), plan)
		if err != nil || !slices.Equal(deleted, []string{ids[0], ids[2]}) {
			t.Fatalf("deleted %v, %v", deleted, err)
		}
		for _, name := range m.Names() {
			if strings.Contains(name, ids[0]) || strings.Contains(name, ids[2]) {
				t.Errorf("left is %s", name)
			}
		}
		for _, x := range list(t, b) {
			if _, err := b.Verify(t.Context(), x.Manifest, LevelDecode, nil); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestLeftoversArePrunedADayLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := blobtest.NewMemory()
		b := newBackups(m, seal.Policy{})
		m.Inject(blobtest.Fault{Op: blobtest.Delete, Err: blobtest.ErrForbidden})
		if _, err := b.Save(t.Context(), testState(1), brokenStream{2500, errors.New("broken")}, Origin{}); err == nil {
			t.Fatal("saved")
		}
		m.Heal()
		whole := save(t, b, 2, 1500)
		names := len(m.Names())
		time.Sleep(23 * time.Hour)
		if plan, err := b.PlanPrune(t.Context(), Retention{}, time.UTC, nil); err != nil || len(plan.Leftovers) != 0 {
			t.Errorf("too early: %+v, %v", plan, err)
		}
		time.Sleep(2 * time.Hour)
		plan, err := b.PlanPrune(t.Context(), Retention{}, time.UTC, nil)
		if err != nil || len(plan.Leftovers) != 1 || len(plan.Expired()) != 0 {
			t.Fatalf("plan is %+v, %v", plan, err)
		}
		if deleted, err := b.Prune(t.Context(), plan); err != nil || !slices.Equal(deleted, plan.Leftovers) {
			t.Errorf("deleted %v, %v", deleted, err)
		}
		if len(m.Names()) >= names || len(list(t, b)) != 1 || list(t, b)[0].ID != whole.ID {
			t.Errorf("left is %v", m.Names())
		}
	})
}

// A prune that is cut off at any request leaves whole backups and leftovers, and the
// next one finishes.
func TestAnInterruptedPruneIsFinishedByTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for steps := range 5 {
			m := blobtest.NewMemory()
			b := newBackups(m, seal.Policy{})
			save(t, b, 1, 2500)
			time.Sleep(48 * time.Hour)
			save(t, b, 2, 2500)
			plan, err := b.PlanPrune(t.Context(), Retention{Last: 1}, time.UTC, nil)
			if err != nil || len(plan.Expired()) != 1 {
				t.Fatalf("plan is %+v, %v", plan, err)
			}
			for range steps {
				m.Inject(blobtest.Fault{Op: blobtest.Delete, Count: 1}) // lets one pass
			}
			m.Inject(blobtest.Fault{Op: blobtest.Delete, Err: blobtest.ErrForbidden})
			_, err = b.Prune(t.Context(), plan)
			if fault.Of(err) != fault.Forbidden {
				t.Errorf("after %d deletes: %v", steps, err)
			}
			m.Heal()
			for _, x := range list(t, b) {
				if _, err := b.Verify(t.Context(), x.Manifest, LevelDecode, nil); err != nil {
					t.Errorf("after %d deletes: %v", steps, err)
				}
			}
			if plan, err = b.PlanPrune(t.Context(), Retention{Last: 1}, time.UTC, nil); err != nil {
				t.Fatal(err)
			}
			if _, err := b.Prune(t.Context(), plan); err != nil {
				t.Fatal(err)
			}
			if names := m.Names(); len(names) != 4 { // a manifest and three files
				t.Errorf("after %d deletes: left is %v", steps, names)
			}
		}
	})
}

// A list that lags behind must not make a fresh backup a leftover.
func TestAStaleListDeletesNothingNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := blobtest.NewMemory()
		b := newBackups(m, seal.Policy{})
		save(t, b, 1, 1500)
		m.StaleLists(time.Hour)
		plan, err := b.PlanPrune(t.Context(), Retention{Last: 1}, time.UTC, nil)
		if err != nil || len(plan.Expired())+len(plan.Leftovers) != 0 {
			t.Errorf("plan is %+v, %v", plan, err)
		}
	})
}

func FuzzDecode(f *testing.F) {
	data, err := encode(Manifest{ID: "20260512T140210Z-1-5f3a90c1", State: testState(1), Files: []Part{{Name: "0001.state"}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		var m, again Manifest
		if decode(data, &m) != nil || m.Validate() != nil {
			return
		}
		b, err := encode(m)
		if err == nil {
			err = decode(b, &again)
		}
		if err != nil {
			t.Fatal(err)
		}
		if c, err := encode(again); err != nil || !bytes.Equal(b, c) {
			t.Errorf("%s was written again as %s, %v", b, c, err)
		}
	})
}
