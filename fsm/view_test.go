package fsm

import (
	"bytes"
	"fmt"
	"sync"
	"testing"

	"github.com/mcpraft/mcpraft/fsm/record"
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
