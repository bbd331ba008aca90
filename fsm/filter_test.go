package fsm

import (
	"fmt"
	"testing"

	"github.com/zeebo/xxh3"
)

// A filter that forgets a key makes a node create what exists already.
func TestFilterHoldsEveryKeyThatCommandsRead(t *testing.T) {
	m := smallState(t)
	again, err := loadFilter(m.current.db)
	if err != nil {
		t.Fatal(err)
	}
	read := 0
	for _, p := range dump(t, m) {
		if unread(tableID(p.key[0])) {
			continue
		}
		read++
		if !m.state.keys.mayHold(xxh3.Hash(p.key)) || !again.mayHold(xxh3.Hash(p.key)) {
			t.Errorf("key %x is not in the filter (as kept: %v, as loaded: %v)", p.key, m.state.keys.mayHold(xxh3.Hash(p.key)), again.mayHold(xxh3.Hash(p.key)))
		}
	}
	if read < 10 {
		t.Fatalf("the state has %d keys that commands read", read)
	}
}

func TestFilterRulesOutMostOtherKeys(t *testing.T) {
	f := newKeyFilter()
	for i := range 1_000_000 {
		f.add(xxh3.HashString(fmt.Sprintf("key-%d", i)))
	}
	wrong := 0
	for i := range 100_000 {
		if f.mayHold(xxh3.HashString(fmt.Sprintf("other-%d", i))) {
			wrong++
		}
	}
	if wrong > 100 {
		t.Errorf("%d of 100000 absent keys pass for present", wrong)
	}
}
