package process_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mcpraft/mcpraft/internal/process"
)

// roleVariable makes the test binary play a part that needs a process of its own.
const roleVariable = "MCPRAFT_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case "parent":
		parent()
	default:
		if len(os.Args) > 1 && os.Args[1] == "reap-children" {
			process.Reap(os.Stdin)
			return
		}
		os.Exit(m.Run())
	}
}

// shell is a command that runs a script.
func shell(script string) process.Command {
	return process.Command{Path: "/bin/sh", Args: []string{"-c", script}}
}

func start(t *testing.T, c process.Command) (*process.Process, *process.Log) {
	t.Helper()
	runner := process.NewRunner(process.Config{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = runner.Run(t.Context())
	}()
	t.Cleanup(func() { <-ended })
	log := new(process.Log)
	p, err := runner.Start(c, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Stop()
		p.Close()
	})
	return p, log
}

func next(t *testing.T, lines *process.Lines) string {
	t.Helper()
	line, err := lines.Next()
	if err != nil {
		t.Fatal(err)
	}
	return string(line)
}

func TestLinesGoInAndComeOut(t *testing.T) {
	p, _ := start(t, shell(`while read -r line; do echo "got $line"; done`))
	lines := process.NewLines(p, 1<<10)
	for i := range 3 {
		if err := p.Send(t.Context(), fmt.Appendf(nil, "line %d", i)); err != nil {
			t.Fatal(err)
		}
		if got, want := next(t, lines), fmt.Sprintf("got line %d", i); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	p.Stop()
	if _, err := lines.Next(); err != io.EOF {
		t.Errorf("after the end: %v", err)
	}
	if err := p.Send(t.Context(), []byte("x")); !process.NotSent(err) {
		t.Errorf("sending to a child that has ended: %v", err)
	}
}

func TestEnvironmentIsWhatTheCommandSays(t *testing.T) {
	t.Setenv("LEAK", "secret")
	t.Setenv("WANTED", "taken over")
	file := t.TempDir() + "/token"
	if err := os.WriteFile(file, []byte("of a file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := shell(`echo "$LEAK|$WANTED|$OWN|$TOKEN|$(pwd)"`)
	c.Pass, c.Env, c.EnvFiles = []string{"WANTED"}, []string{"OWN=a=b"}, []string{"TOKEN=" + file}
	p, _ := start(t, c)
	if got, want := next(t, process.NewLines(p, 1<<10)), "|taken over|a=b|of a file|/"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestLongLineEndsReading(t *testing.T) {
	p, _ := start(t, shell(`head -c 300000 /dev/zero | tr '\0' x; echo; echo short; cat`))
	lines := process.NewLines(p, 200_000)
	if _, err := lines.Next(); !errors.Is(err, process.ErrLine) {
		t.Errorf("got %v", err)
	}
}

func TestChildThatIgnoresSIGTERMIsKilled(t *testing.T) {
	p, _ := start(t, shell(`trap '' TERM; echo ready; while :; do sleep 0.05; done`))
	next(t, process.NewLines(p, 1<<10))
	p.Stop()
	if err := p.Err(); !strings.Contains(err.Error(), "killed") {
		t.Errorf("ended: %v", err)
	}
}

// A forked process that would outlive its parent ends with it.
func TestForkedProcessesEndWithTheChild(t *testing.T) {
	p, _ := start(t, shell(`(trap '' TERM HUP; sleep 600) & echo $!; exec cat`))
	fork := next(t, process.NewLines(p, 1<<10))
	if !alive(fork) {
		t.Fatal("the fork does not run")
	}
	p.Stop()
	gone(t, fork)
}

func TestForkedProcessesEndWhenTheChildCrashes(t *testing.T) {
	p, _ := start(t, shell(`(trap '' TERM HUP; exec sleep 600) & echo $!; exit 3`))
	fork := next(t, process.NewLines(p, 1<<10))
	<-p.Done()
	gone(t, fork)
	if !strings.Contains(p.Err().Error(), "exit status 3") {
		t.Errorf("ended: %v", p.Err())
	}
}

func TestFloodOfStderrIsBounded(t *testing.T) {
	p, log := start(t, shell(`yes "$(printf 'x\033[31m')" >&2 & echo ready; exec cat`))
	lines := process.NewLines(p, 1<<10)
	next(t, lines)
	if err := p.Send(t.Context(), []byte("still here")); err != nil {
		t.Fatal(err)
	}
	if got := next(t, lines); got != "still here" {
		t.Errorf("got %q", got)
	}
	for {
		kept, dropped := log.Lines(1 << 20)
		size := 0
		for _, line := range kept {
			size += len(line.Text)
			if strings.ContainsRune(line.Text, '\033') {
				t.Fatalf("a terminal would act on %q", line.Text)
			}
		}
		if size > process.LogBytes {
			t.Fatalf("%d bytes are kept", size)
		}
		if dropped > 0 {
			return
		}
		<-time.After(10 * time.Millisecond)
	}
}

func TestGroupAboveItsMemoryLimitIsKilled(t *testing.T) {
	c := shell(`head -c 200000000 /dev/zero | tail -c 200000000 | (sleep 600) & exec cat`)
	c.MemoryLimit = 64 << 20
	if err := c.Validate(); err != nil {
		t.Skip(err) // this system does not tell what a process group uses, and says so at start
	}
	p, _ := start(t, c)
	<-p.Done()
	if !strings.Contains(p.Err().Error(), "above its limit of 64 MiB") {
		t.Errorf("ended: %v", p.Err())
	}
}

func TestProgramThatIsMissingIsAnError(t *testing.T) {
	runner := process.NewRunner(process.Config{})
	if _, err := runner.Start(process.Command{Path: "/no/such/program"}, new(process.Log)); err == nil {
		t.Error("it was started")
	}
	if _, err := runner.Start(process.Command{Path: "/bin/sh", Dir: "relative"}, new(process.Log)); err == nil {
		t.Error("a relative directory was taken")
	}
}

// parent starts a child with a fork that ignores the end of its input, says their
// numbers, and waits to be killed.
func parent() {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	runner := process.NewRunner(process.Config{Reaper: []string{self, "reap-children"}})
	p, err := runner.Start(shell(`(trap '' TERM HUP; exec sleep 600) & echo $!; exec sleep 600`), new(process.Log))
	if err != nil {
		panic(err)
	}
	fork, err := process.NewLines(p, 1<<10).Next()
	if err != nil {
		panic(err)
	}
	fmt.Printf("%d %s\n", p.PID(), fork)
	select {}
}

func TestNothingOutlivesAKilledParent(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), roleVariable+"=parent")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pids := strings.Fields(line)
	for _, pid := range pids {
		if !alive(pid) {
			t.Errorf("process %s does not run", pid)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	for _, pid := range pids {
		gone(t, pid)
	}
}

func alive(pid string) bool {
	data, err := os.ReadFile("/proc/" + pid + "/stat")
	return err == nil && !strings.Contains(string(data), ") Z ")
}

// gone waits until a process has ended.
func gone(t *testing.T, pid string) {
	t.Helper()
	for begun := time.Now(); alive(pid); <-time.After(5 * time.Millisecond) {
		if time.Since(begun) > 10*time.Second {
			var n int
			_, _ = fmt.Sscan(pid, &n)
			_ = syscall.Kill(n, syscall.SIGKILL)
			t.Fatalf("process %s is still there", pid)
		}
	}
}
