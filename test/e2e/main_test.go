package e2e

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// binary is the path of the mcpraft under test.
var binary string

// parallel is how many tests run at once: most of them wait for time to pass, for
// the 10 s that a node must be stable before it votes or that dev waits before it
// starts one again.
const parallel = "4"

// TestMain builds the binary once, as `make build` does. MCPRAFT_BINARY names one
// to test instead.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", parallel); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if binary = os.Getenv("MCPRAFT_BINARY"); binary != "" {
		os.Exit(m.Run())
	}
	dir, err := os.MkdirTemp("", "mcpraft-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary = filepath.Join(dir, "mcpraft")
	build := exec.Command("go", "build", "-o", binary, "../../cmd/mcpraft")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	code := 1
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "building mcpraft:", err)
	} else {
		code = m.Run()
	}
	_ = os.RemoveAll(dir)
	os.Exit(code)
}
