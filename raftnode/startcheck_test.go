package raftnode

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/mcpraft/mcpraft/fsm"
	"github.com/mcpraft/mcpraft/internal/fault"
)

// memLog is raft's store in memory; deleting all of it leaves it empty.
type memLog struct {
	*raft.InmemStore
	wiped bool
}

func (m *memLog) DeleteRange(first, last uint64) error {
	m.wiped = true
	return m.InmemStore.DeleteRange(first, last)
}

func TestStartCheckComparesLogAndState(t *testing.T) {
	tests := map[string]struct {
		first, last, logTerm uint64 // of the log; last 0: empty
		term                 uint64 // of the stable store
		index, stateTerm     uint64 // of the state
		marker               marker
		refused, wiped       bool
	}{
		"both empty":                       {},
		"the log holds the applied entry":  {first: 1, last: 9, logTerm: 3, term: 3, index: 7, stateTerm: 3},
		"an empty state replays the log":   {first: 1, last: 9, logTerm: 3, term: 3},
		"an empty state and a cut log":     {first: 5, last: 9, logTerm: 3, term: 3, refused: true},
		"the state is ahead of its log":    {first: 1, last: 5, logTerm: 3, term: 3, index: 7, stateTerm: 3, refused: true},
		"the log is gone":                  {term: 3, index: 7, stateTerm: 3, refused: true},
		"the stable store is gone":         {first: 1, last: 9, logTerm: 3, term: 0, index: 7, stateTerm: 3, refused: true},
		"another term at the index":        {first: 1, last: 9, logTerm: 2, term: 3, index: 7, stateTerm: 3, refused: true},
		"the log begins behind the state":  {first: 8, last: 9, logTerm: 3, term: 3, index: 7, stateTerm: 3, refused: true},
		"installed, the log goes on":       {first: 8, last: 9, logTerm: 3, term: 3, index: 7, stateTerm: 3, marker: marker{7, 3}},
		"installed, the log was wiped":     {term: 3, index: 7, stateTerm: 3, marker: marker{7, 3}},
		"installed, not wiped yet":         {first: 1, last: 5, logTerm: 2, term: 3, index: 7, stateTerm: 3, marker: marker{7, 3}, wiped: true},
		"installed over a divergent tail":  {first: 1, last: 9, logTerm: 2, term: 3, index: 7, stateTerm: 3, marker: marker{7, 3}, wiped: true},
		"installed, and then the log lost": {term: 3, index: 8, stateTerm: 3, marker: marker{7, 3}, refused: true},
		"a gap behind the install":         {first: 9, last: 9, logTerm: 3, term: 3, index: 7, stateTerm: 3, marker: marker{7, 3}, wiped: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem()
			if err := makeDir(fs, "data"); err != nil {
				t.Fatal(err)
			}
			log := &memLog{InmemStore: raft.NewInmemStore()}
			for i := tt.first; i > 0 && i <= tt.last; i++ {
				if err := log.StoreLog(&raft.Log{Index: i, Term: tt.logTerm}); err != nil {
					t.Fatal(err)
				}
			}
			if tt.term > 0 {
				if err := log.SetUint64(keyCurrentTerm, tt.term); err != nil {
					t.Fatal(err)
				}
			}
			if tt.marker != (marker{}) {
				if err := writeJSON(fs, "data", markerFile, tt.marker); err != nil {
					t.Fatal(err)
				}
			}
			err := checkStart(fs, "data", log, fsm.Meta{Index: tt.index, Term: tt.stateTerm})
			if (err != nil) != tt.refused || err != nil && fault.Of(err) != fault.Integrity {
				t.Errorf("refused = %v, want %v", err, tt.refused)
			}
			if log.wiped != tt.wiped {
				t.Errorf("the log was wiped: %v, want %v", log.wiped, tt.wiped)
			}
		})
	}
}
