//go:build failpoint

package archive

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/internal/failpoint"
	"github.com/mcpraft/mcpraft/test/model/bubble"
)

// An archiver that ends between any two steps, again and again, leaves a chain
// without a gap to the one that comes after it, and each label beside its segment.
func TestArchiversThatDieBetweenTwoStepsLoseNothing(t *testing.T) {
	bubble.Run(t, func(t *testing.T) {
		for _, point := range []string{"archive/sealed", "archive/stored", "archive/verified", "archive/labelled", "archive/advanced"} {
			t.Log(point)
			w := newWorld(t)
			for i := range 5 {
				w.write(3, 1000)
				w.replica.Must(t, self, &fsm.PutLabel{Name: string(rune('a' + i))})
				if err := failpoint.Set(point, "pause"); err != nil {
					t.Fatal(err)
				}
				depose := make(chan struct{})
				go func() { // it is paused at the point; a dead one never goes on, this one finds its term over
					defer close(depose)
					w.led(w.archiver(PITR{Flush: time.Second}), 5*time.Second)
				}()
				time.Sleep(10 * time.Second)
				failpoint.Clear(point)
				<-depose
				synctest.Wait()
			}
			if err := w.led(w.archiver(PITR{}), time.Minute); err != nil {
				t.Fatal(err)
			}
			if c := w.check(); len(c.Runs) != 1 || len(c.Gaps) != 0 || !w.archived() {
				t.Errorf("%s: %d runs, gaps %v, archived %v", point, len(c.Runs), c.Gaps, w.archived())
			}
			s, err := w.archiver(PITR{}).Survey(t.Context())
			if err != nil || len(s.Labels) != 5 || len(s.Gaps()) != 0 {
				t.Errorf("%s: labels %v, gaps %v, %v", point, s.Labels, s.Gaps(), err)
			}
		}
	})
}

// A prune that ends anywhere leaves every promised point restorable, and the next one
// goes on.
func TestPruneThatDiesKeepsThePromise(t *testing.T) {
	bubble.Run(t, func(t *testing.T) {
		w := newWorld(t)
		a := w.archiver(PITR{Flush: time.Second, Retention: time.Hour})
		depose := w.lead(a)
		for range 6 {
			for range 5 {
				w.write(1, 100)
				time.Sleep(4 * time.Minute)
			}
			if _, err := a.Backups.Run(t.Context(), "", nil); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		depose()
		before, err := a.Survey(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := failpoint.Set("archive/prune", "error(EIO)"); err != nil {
			t.Fatal(err)
		}
		defer failpoint.Clear("archive/prune")
		for range 3 {
			if _, err := a.Prune(t.Context(), false); err == nil {
				t.Fatal("pruned in spite of the failpoint")
			}
			w.promised(t, a, before)
		}
		failpoint.Clear("archive/prune")
		p, err := a.Prune(t.Context(), false)
		if err != nil || len(p.Segments) == 0 {
			t.Fatalf("pruned %d segments, %v", len(p.Segments), err)
		}
		w.promised(t, a, before)
	})
}

// promised checks that every point of the last hour that could be restored before
// still can be.
func (w *world) promised(t *testing.T, a *Archiver, before *Survey) {
	t.Helper()
	now, err := a.Survey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	was, is := before.Stretches(), now.Stretches()
	if len(was) != 1 || len(is) == 0 || len(now.Gaps()) != 0 {
		t.Fatalf("stretches were %+v, are %+v, gaps %v", was, is, now.Gaps())
	}
	tip := is[len(is)-1]
	if tip.Last != was[0].Last || tip.From.Time().After(time.Now().Add(-time.Hour)) {
		t.Errorf("the last hour is %+v of %+v", tip, was[0])
	}
}
