package fsm

import (
	"context"

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

// Scrub reads every replicated pair of the newest state and compares their
// digest with the one that Apply kept up to date: that one cannot see a bit that
// changed on disk. Bytes that Pebble itself finds damaged are an Integrity error.
//
// pace is called after every scrubStep bytes or a little more with how many were
// read since the last time; it waits as long as the caller wants, and an error
// of it ends the scrub. nil: as fast as it goes, until ctx ends.
func (m *Machine) Scrub(ctx context.Context, pace func(ctx context.Context, bytes uint64) error) (ScrubReport, error) {
	if pace == nil {
		pace = func(ctx context.Context, _ uint64) error { return ctx.Err() }
	}
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
		if err := pace(ctx, report.Bytes-paused); err != nil {
			return report, err
		}
		paused = report.Bytes
	}
	report.Digest = total.digest()
	return report, nil
}
