package fsm

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

func TestScrubSeesAWrongByteBelowItsChecksum(t *testing.T) {
	m := smallState(t)
	report, err := m.Scrub(t.Context(), nil)
	if err != nil || report.Damaged() || report.Pairs != uint64(len(dump(t, m))) {
		t.Fatalf("scrub of a sound state: %+v, %v", report, err)
	}
	p := dump(t, m)[3]
	p.value[len(p.value)-1] ^= 1
	if err := m.current.db.Set(p.key, p.value, pebble.NoSync); err != nil {
		t.Fatal(err)
	}
	m.newest.forget() // it was taken before the damage
	report, err = m.Scrub(t.Context(), nil)
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

	var told atomic.Pointer[error]
	o := testOptions(t, fs)
	o.Fatal = func(err error) { told.Store(&err) }
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
		_, err = m.Scrub(t.Context(), nil)
		_ = m.Close()
	}
	if fault.Of(err) != fault.Integrity {
		t.Errorf("state with a flipped bit: %v", err)
	}
	if told.Load() == nil {
		t.Fatal("nobody was told")
	}
	for _, err := range []error{err, *told.Load()} {
		if text := err.Error(); strings.Contains(text, "\n") || !strings.Contains(text, "checksum mismatch") {
			t.Errorf("the damage is told as %q", text)
		}
	}
}

func TestScrubIsPacedByItsCaller(t *testing.T) {
	m := newTest(t)
	value := map[string]string{"data": strings.Repeat("x", 4000)}
	for i := range 600 { // more than two steps
		accepted(t, m, &RegisterEntry{Entry: record.Entry{Type: record.TypeTool, Key: fmt.Sprint("tool-", i), Metadata: value}})
	}
	paced, stop := uint64(0), errors.New("enough")
	report, err := m.Scrub(t.Context(), func(_ context.Context, bytes uint64) error {
		if bytes < scrubStep {
			t.Errorf("paced after %d bytes, want at least %d", bytes, scrubStep)
		}
		paced += bytes
		return nil
	})
	if err != nil || report.Damaged() || paced == 0 || report.Bytes-paced >= scrubStep+5000 {
		t.Errorf("paced for %d of %d bytes, damaged %v, %v", paced, report.Bytes, report.Damaged(), err)
	}
	if _, err := m.Scrub(t.Context(), func(context.Context, uint64) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("a pace that fails ends the scrub with %v", err)
	}
}
