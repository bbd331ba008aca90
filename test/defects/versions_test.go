package defects

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// goTool runs the go command and returns what it prints.
func goTool(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", args...).Output()
	if err != nil {
		t.Fatalf("go %s: %v", strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out))
}

// The tests of this package speak of these versions.
func TestVersionsAreTheOnesTheTestsSpeakOf(t *testing.T) {
	for module, want := range map[string]string{
		"github.com/hashicorp/raft":           "v1.7.3",
		"github.com/hashicorp/raft-boltdb/v2": "v2.3.1",
		"github.com/hashicorp/go-metrics":     "v0.5.4", // raft-boltdb needs its package compat, which v0.7.0 removed
		"github.com/cockroachdb/pebble/v2":    "v2.1.7",
	} {
		if got := goTool(t, "list", "-m", "-f", "{{.Version}}", module); got != want {
			t.Errorf("%s is %s, the tests of this package are about %s: read each of them, then change this line", module, got, want)
		}
	}
}

// raft-boltdb asks for a bbolt of the year 2020; without a line of our own in
// go.mod, that is what would be built.
func TestBboltIsNotTheOneRaftBoltdbAsksFor(t *testing.T) {
	const edge = "github.com/hashicorp/raft-boltdb/v2@v2.3.1 go.etcd.io/bbolt@v1.3.5"
	if !strings.Contains(goTool(t, "mod", "graph"), edge) {
		t.Errorf("the module graph lacks %q: raft-boltdb asks for another bbolt now", edge)
	}
	var major, minor, patch int
	version := goTool(t, "list", "-m", "-f", "{{.Version}}", "go.etcd.io/bbolt")
	if _, err := fmt.Sscanf(version, "v%d.%d.%d", &major, &minor, &patch); err != nil {
		t.Fatalf("version %q: %v", version, err)
	}
	if major != 1 || minor < 5 {
		t.Errorf("bbolt %s is built, want at least v1.5.0", version)
	}
}
