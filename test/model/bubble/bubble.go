// Package bubble runs a test in a synctest bubble in a process of its own: Pebble
// keeps pools with channels of the bubble that made them, and what comes after the
// bubble in the same process would meet them.
package bubble

import (
	"os"
	"os/exec"
	"testing"
	"testing/synctest"
)

// env is set in the process that runs one test in a bubble.
const env = "MCPRAFT_TEST_BUBBLE"

// Run runs f in a bubble. It is called once, first thing in a test that has no
// subtests.
func Run(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	if os.Getenv(env) == t.Name() {
		synctest.Test(t, f)
		return
	}
	t.Parallel()
	args := []string{"-test.run=^" + t.Name() + "$", "-test.timeout=120s"}
	if testing.Verbose() {
		args = append(args, "-test.v")
	}
	c := exec.CommandContext(t.Context(), os.Args[0], args...)
	c.Env = append(os.Environ(), env+"="+t.Name())
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if testing.Verbose() {
		t.Logf("%s", out)
	}
}
