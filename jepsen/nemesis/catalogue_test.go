package nemesis

import (
	"strings"
	"testing"
)

func TestWhatAMachineLacksIsLeftOutWithTheReason(t *testing.T) {
	faults, left, err := Possible([]string{"all"}, Means{})
	if err != nil {
		t.Fatal(err)
	}
	if len(faults)+len(left) != len(All()) || len(left) == 0 {
		t.Errorf("%d possible, %d left out, %d in all", len(faults), len(left), len(All()))
	}
	for _, one := range left {
		if name, why, _ := strings.Cut(one, ": "); name == "" || why == "" {
			t.Errorf("left out without a reason: %q", one)
		}
	}
	faults, left, err = Possible([]string{"all"}, Means{Packets: true, Small: true, Clock: true, Strace: true})
	if err != nil || len(left) != 0 || len(faults) != len(All()) {
		t.Errorf("with all means %d of %d, left out %v, %v", len(faults), len(All()), left, err)
	}
}

func TestAnUnknownFaultIsRefused(t *testing.T) {
	if _, _, err := Possible([]string{"kill-leader", "kil-all"}, Means{}); err == nil || !strings.Contains(err.Error(), "kil-all") {
		t.Errorf("got %v", err)
	}
}

func TestNoTwoFaultsHaveOneName(t *testing.T) {
	seen := make(map[string]bool)
	for _, f := range All() {
		if seen[f.Name] || f.About == "" {
			t.Errorf("%q: %q", f.Name, f.About)
		}
		seen[f.Name] = true
	}
}
