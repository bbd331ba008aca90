package mutants

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/mcpraft/mcpraft/jepsen/check"
	"github.com/mcpraft/mcpraft/jepsen/nemesis"
	"github.com/mcpraft/mcpraft/jepsen/workload"
)

func TestEveryMutantFitsTheSource(t *testing.T) {
	root, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/mcpraft/mcpraft").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range All() {
		if _, err := m.Overlay(strings.TrimSpace(string(root)), t.TempDir()); err != nil {
			t.Error(err)
		}
		for _, w := range m.Workloads {
			if !slices.Contains(workload.All(), w) {
				t.Errorf("%s: no workload is called %q", m.Name, w)
			}
		}
		if _, _, err := nemesis.Possible(m.Faults, nemesis.Means{}); err != nil {
			t.Errorf("%s: %v", m.Name, err)
		}
		if !slices.ContainsFunc(check.Claims(), func(c check.Claim) bool { return c.ID == m.Claim }) {
			t.Errorf("%s: no claim is called %q", m.Name, m.Claim)
		}
	}
}
