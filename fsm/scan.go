package fsm

import (
	"iter"

	"github.com/cockroachdb/pebble/v2"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// A pair is a key and its value, valid until the next step of the scan.
type pair struct{ key, value []byte }

// scan goes through the pairs whose keys start with prefix, in order. The last
// pair carries the error, if there is one.
func scan(r pebble.Reader, prefix []byte) iter.Seq2[pair, error] {
	return scanRange(r, prefix, prefixEnd(prefix))
}

func scanRange(r pebble.Reader, lower, upper []byte) iter.Seq2[pair, error] {
	return func(yield func(pair, error) bool) {
		it, err := r.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
		if err != nil {
			yield(pair{}, scanFault(err))
			return
		}
		stopped := false
		for it.First(); !stopped && it.Valid(); it.Next() {
			value, err := it.ValueAndErr()
			if err != nil {
				break // it.Error has it
			}
			stopped = !yield(pair{it.Key(), value}, nil)
		}
		if err := it.Close(); err != nil && !stopped {
			yield(pair{}, scanFault(err))
		}
	}
}

func scanFault(err error) error {
	return fault.New(fault.Integrity, "the state cannot be read: %w", cause(err)).
		WithHint("check the disk; a node whose state is damaged is re-seeded from its peers")
}
