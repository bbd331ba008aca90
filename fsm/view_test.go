package fsm

import (
	"bytes"
	"fmt"
	"sync"
	"testing"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

// TestViewIsOfOneEntry reads, scrubs, syncs and snapshots beside Apply and
// Restore: what a view holds is what its meta says.
func TestViewIsOfOneEntry(t *testing.T) {
	m := newTest(t)
	accepted(t, m, &RegisterEntry{Entry: record.Entry{Type: record.TypeTool, Key: "first"}})
	stream := snapshotBytes(t, m)
	done := make(chan struct{})
	var readers sync.WaitGroup
	beside := func(read func() error) {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := read(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	beside(func() error {
		report, err := m.Scrub(t.Context(), nil)
		if err == nil && report.Damaged() {
			err = fmt.Errorf("view of index %d: %+v", report.Index, report)
		}
		return err
	})
	beside(func() error {
		_, _, _ = m.Stats(), m.Checks(), m.DurableIndex()
		return m.Sync()
	})
	for i := range 300 {
		accepted(
			t, m, &RegisterEntry{Entry: record.Entry{Type: record.TypeTool, Key: fmt.Sprint(i)}},
			&DigestCheck{}, &CreateSession{Session: testSession(i, record.Principal{Issuer: "dev", Subject: fmt.Sprint(i)})},
		)
		if i%100 == 50 {
			if err := m.Restore(bytes.NewReader(stream), Installed{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	close(done)
	readers.Wait()
}

func TestViewsOfOneStateShareASnapshot(t *testing.T) {
	m := newTest(t)
	view := func() *View {
		t.Helper()
		v, err := m.View()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	open := func(want int64) {
		t.Helper()
		if n := m.Stats().OpenViews; n != want {
			t.Errorf("%d snapshots are open, want %d", n, want)
		}
	}
	a, b := view(), view()
	open(1)
	accepted(t, m, &RegisterEntry{Entry: record.Entry{Type: record.TypeTool, Key: "new"}})
	if _, err := a.WhereIs(0, record.TypeTool, "new"); fault.Of(err) != fault.NotFound {
		t.Errorf("an old view finds a new entry: %v", err)
	}
	c := view()
	open(2)
	if _, err := c.WhereIs(0, record.TypeTool, "new"); err != nil {
		t.Errorf("a new view does not find what was applied before: %v", err)
	}
	a.Close()
	a.Close()
	open(2)
	b.Close()
	open(1)
	c.Close()
	accepted(t, m, &DigestCheck{})
	open(0) // nobody reads: Pebble keeps nothing for a view
}
