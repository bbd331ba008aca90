package requestid

import (
	"strings"
	"testing"
)

func TestIDsDifferWithinAndBetweenSources(t *testing.T) {
	a, b := NewSource(), NewSource()
	seen := make(map[string]bool)
	for range 100 {
		for _, id := range []string{a.Next(), b.Next()} {
			if seen[id] || len(id) > MaxBytes || a.Of(id) != id {
				t.Fatalf("id %q was given out before, or is not one that would be taken back", id)
			}
			seen[id] = true
		}
	}
}

func TestOnlySaneIDsOfClientsAreTaken(t *testing.T) {
	s := NewSource()
	for _, id := range []string{"a", "req-1", "A.b_C-9", strings.Repeat("x", MaxBytes)} {
		if got := s.Of(id); got != id {
			t.Errorf("Of(%q) = %q", id, got)
		}
	}
	for _, id := range []string{"", " ", "a b", "a\n", "é", "a;b", strings.Repeat("x", MaxBytes+1)} {
		if got := s.Of(id); got == id || got == "" {
			t.Errorf("Of(%q) = %q, want a new one", id, got)
		}
	}
}
