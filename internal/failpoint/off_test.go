//go:build !failpoint

package failpoint

import (
	"errors"
	"testing"
)

func TestWithoutTheTagNothingCanBeSet(t *testing.T) {
	if err := Set("raftnode/apply", "panic"); !errors.Is(err, ErrDisabled) {
		t.Errorf("Set = %v", err)
	}
	t.Setenv(Variable, "raftnode/apply=panic")
	if err := FromEnvironment(); !errors.Is(err, ErrDisabled) {
		t.Errorf("FromEnvironment = %v", err)
	}
	if err := Eval("raftnode/apply"); err != nil {
		t.Errorf("Eval = %v", err)
	}
	t.Setenv(Variable, "")
	if err := FromEnvironment(); err != nil {
		t.Errorf("FromEnvironment of nothing = %v", err)
	}
}

// BenchmarkEval should cost as much as an empty loop.
func BenchmarkEval(b *testing.B) {
	for b.Loop() {
		if err := Eval("raftnode/apply"); err != nil {
			b.Fatal(err)
		}
	}
}
