package fsm

import (
	"fmt"
	"testing"
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
		if !m.state.keys.mayHold(p.key) || !again.mayHold(p.key) {
			t.Errorf("key %x is not in the filter (as kept: %v, as loaded: %v)", p.key, m.state.keys.mayHold(p.key), again.mayHold(p.key))
		}
	}
	if read < 10 {
		t.Fatalf("the state has %d keys that commands read", read)
	}
}

func TestFilterRulesOutMostOtherKeys(t *testing.T) {
	f := newKeyFilter()
	for i := range 1_000_000 {
		f.add(fmt.Appendf(nil, "key-%d", i))
	}
	wrong := 0
	for i := range 100_000 {
		if f.mayHold(fmt.Appendf(nil, "other-%d", i)) {
			wrong++
		}
	}
	if wrong > 100 {
		t.Errorf("%d of 100000 absent keys pass for present", wrong)
	}
}
