package fsm

import (
	"context"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
)

// A ScrubReport is what reading the whole state found.
type ScrubReport struct {
	Index  uint64        // of the state that was read
	Pairs  uint64        // keys and values
	Bytes  uint64        // of both
	Digest record.Digest // of what is on disk
	Want   record.Digest // of what was written
}

// Damaged reports whether the disk holds something else than was written.
func (r ScrubReport) Damaged() bool { return r.Digest != r.Want }

// scrubStep is how many bytes are read between two pauses.
const scrubStep = 1 << 20

// Scrub reads every replicated pair of the newest state, at most bytesPerSecond
// (0: as fast as it goes), and compares their digest with the one that Apply
// kept up to date: that one cannot see a bit that changed on disk. Bytes that
// Pebble itself finds damaged are an Integrity error. It ends with ctx.
func (m *Machine) Scrub(ctx context.Context, bytesPerSecond int64) (ScrubReport, error) {
	v, err := m.View()
	if err != nil {
		return ScrubReport{}, err
	}
	defer v.Close()
	report := ScrubReport{Index: v.meta.Index, Want: v.meta.Digest}
	var total sum
	var hash hasher
	var paused uint64 // report.Bytes at the last pause
	for kv, err := range scanRange(v.snap, replicatedLower, replicatedUpper) {
		if err != nil {
			return report, err
		}
		total.add(hash.pair(kv.key, kv.value))
		report.Pairs++
		report.Bytes += uint64(len(kv.key) + len(kv.value))
		if report.Bytes-paused < scrubStep {
			continue
		}
		if err := pause(ctx, report.Bytes-paused, bytesPerSecond); err != nil {
			return report, err
		}
		paused = report.Bytes
	}
	report.Digest = total.digest()
	return report, nil
}

// pause waits as long as reading n bytes may take. The time that reading took
// is not counted, so the limit is never passed.
func pause(ctx context.Context, n uint64, bytesPerSecond int64) error {
	if bytesPerSecond <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(time.Duration(float64(n) / float64(bytesPerSecond) * float64(time.Second)))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
