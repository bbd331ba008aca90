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

func TestViewsOfOneStateShareWhatTheyFind(t *testing.T) {
	m := newTest(t)
	revision := accepted(t, m, &RegisterEntry{Entry: record.Entry{Type: record.TypeTool, Key: "k", Location: "here"}})[0].Revision
	where := func(v *View) string {
		e, err := v.WhereIs(0, record.TypeTool, "k")
		if err != nil {
			t.Error(err)
		}
		return e.Location
	}
	open := func() *View {
		v, err := m.View()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(v.Close)
		return v
	}
	first, second := open(), open()
	var readers sync.WaitGroup
	for range 8 {
		readers.Go(func() {
			v, err := m.View()
			if err != nil {
				t.Error(err)
				return
			}
			defer v.Close()
			where(v)
		})
	}
	readers.Wait()
	if _, err := second.WhereIs(1, record.TypeTool, "k"); fault.Of(err) != fault.NotFound {
		t.Errorf("the entry of another scope: %v", err)
	}
	if n := len(first.found.entries); first.moment != second.moment || n != 1 {
		t.Errorf("two views of one state hold %d found entries, same moment %v", n, first.moment == second.moment)
	}
	accepted(t, m, &RegisterEntry{Entry: record.Entry{Type: record.TypeTool, Key: "k", Location: "there"}, IfRevision: revision})
	if old, now := where(first), where(open()); old != "here" || now != "there" {
		t.Errorf("the old view says %q, the new one %q", old, now)
	}
}

func TestFoundEntriesAreBounded(t *testing.T) {
	var f found
	big := record.Entry{Location: string(make([]byte, maxFoundBytes/4))}
	for i := range 8 {
		f.put(foundName{key: fmt.Sprint(i)}, big)
		f.put(foundName{key: "0"}, big) // again: costs nothing
	}
	if len(f.entries) != 3 || f.bytes > maxFoundBytes {
		t.Errorf("%d entries of %d bytes are kept, the limit is %d bytes", len(f.entries), f.bytes, maxFoundBytes)
	}
}
