package fsm

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

func TestScrubSeesAWrongByteBelowItsChecksum(t *testing.T) {
	m := smallState(t)
	report, err := m.Scrub(t.Context(), 0)
	if err != nil || report.Damaged() || report.Pairs != uint64(len(dump(t, m))) {
		t.Fatalf("scrub of a sound state: %+v, %v", report, err)
	}
	p := dump(t, m)[3]
	p.value[len(p.value)-1] ^= 1
	if err := m.current.db.Set(p.key, p.value, pebble.NoSync); err != nil {
		t.Fatal(err)
	}
	report, err = m.Scrub(t.Context(), 0)
	if err != nil || !report.Damaged() {
		t.Errorf("scrub of a damaged state: %+v, %v", report, err)
	}
	// Such a state does not spread either.
	s, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var stream strings.Builder
	if _, err := s.WriteTo(&stream); fault.Of(err) != fault.Integrity {
		t.Errorf("snapshot of a damaged state: %v", err)
	}
	if readAll([]byte(stream.String())) == nil {
		t.Error("the stream of a damaged state verifies")
	}
}

func TestScrubSeesAFlippedBitOnDisk(t *testing.T) {
	fs := vfs.NewMem()
	m := openTest(t, fs)
	accepted(t, m, &RegisterEntry{Entry: record.Entry{Type: record.TypeTool, Key: "search", Location: strings.Repeat("x", 2000)}})
	closeTest(t, m)

	var told atomic.Int32
	o := testOptions(t, fs)
	o.Fatal = func(error) { told.Add(1) }
	m, err := Open("state", o) // flushes what the WAL held
	if err != nil {
		t.Fatal(err)
	}
	_ = m.Close()
	names, err := fs.List("state/db-000001")
	if err != nil {
		t.Fatal(err)
	}
	flipped := 0
	for _, name := range names {
		if !strings.HasSuffix(name, ".sst") {
			continue
		}
		data, err := fs.UnsafeGetFileDataBuffer("state/db-000001/" + name)
		if err != nil {
			t.Fatal(err)
		}
		data[20] ^= 1 // in the first data block
		flipped++
	}
	if flipped == 0 {
		t.Fatalf("no table in %v", names)
	}
	m, err = Open("state", o)
	if err == nil {
		_, err = m.Scrub(t.Context(), 0)
		_ = m.Close()
	}
	if fault.Of(err) != fault.Integrity {
		t.Errorf("state with a flipped bit: %v", err)
	}
	if told.Load() == 0 {
		t.Error("nobody was told")
	}
}

func TestScrubKeepsToItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		if err := pause(t.Context(), 10<<20, 1<<20); err != nil || time.Since(start) != 10*time.Second {
			t.Errorf("10 MiB at 1 MiB/s took %v, %v", time.Since(start), err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := pause(ctx, 10<<20, 1<<20); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a pause does not end with its context: %v", err)
		}
	})
}
