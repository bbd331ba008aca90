package e2e

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A Process is a running program, mcpraft or a peer. It is killed at the end of the test, and by
// the kernel if the test itself dies.
type Process struct {
	t      *testing.T
	name   string
	pid    int
	output *output
	ended  chan struct{} // closed when the process has ended
	state  *os.ProcessState
}

// An output keeps all that a process writes.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// start runs mcpraft with args and environment beside a home directory of its own.
func start(t *testing.T, name, home string, args ...string) *Process {
	t.Helper()
	return startProgram(t, name, home, binary, args...)
}

// startProgram is start for any program.
func startProgram(t *testing.T, name, home, path string, args ...string) *Process {
	t.Helper()
	p := &Process{t: t, name: name, output: new(output), ended: make(chan struct{})}
	cmd := exec.Command(path, args...)
	cmd.Dir = home
	cmd.Env = environment(home)
	cmd.Stdout, cmd.Stderr = p.output, p.output
	cmd.SysProcAttr = dieWithParent()
	started := make(chan error)
	go func() {
		// The kernel's signal to an orphan is tied to the thread that started it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		_ = cmd.Wait()
		p.state = cmd.ProcessState
		close(p.ended)
	}()
	if err := <-started; err != nil {
		t.Fatalf("starting %s: %v", name, err)
	}
	p.pid = cmd.Process.Pid
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("output of %s (pid %d):\n%s", p.name, p.pid, lastLines(p.output.String(), 60))
		}
	})
	return p
}

func environment(home string) []string {
	return []string{"HOME=" + home, "XDG_CONFIG_HOME=" + home, "XDG_STATE_HOME=" + home, "TMPDIR=" + home, "PATH=" + os.Getenv("PATH")}
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// Kill is kill -9; it returns when the process is gone.
func (p *Process) Kill() {
	select {
	case <-p.ended:
		return
	default:
	}
	_ = syscall.Kill(p.pid, syscall.SIGKILL)
	<-p.ended
}

// Stop asks the process to end and waits until it has.
func (p *Process) Stop() {
	p.t.Helper()
	_ = syscall.Kill(p.pid, syscall.SIGTERM)
	p.Wait()
}

// Wait waits until the process has ended by itself and returns its exit code.
func (p *Process) Wait() int {
	p.t.Helper()
	select {
	case <-p.ended:
		return p.state.ExitCode()
	case <-time.After(patience):
		p.t.Fatalf("%s does not end", p.name)
		return 0
	}
}

// Says waits until the output of the process contains all of words.
func (p *Process) Says(words ...string) {
	p.t.Helper()
	eventually(p.t, p.name+" says "+strings.Join(words, ", "), func() bool {
		text := p.output.String()
		for _, word := range words {
			if !strings.Contains(text, word) {
				return false
			}
		}
		return true
	})
}

// patience bounds every wait. It is no measure of anything: a test that needs it
// all has failed.
const patience = 40 * time.Second

// eventually waits until want holds.
func eventually(t *testing.T, what string, want func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(patience)
	for !want() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// awaitListener waits until somebody accepts connections at addr.
func awaitListener(t *testing.T, addr string) {
	t.Helper()
	eventually(t, "a listener at "+addr, func() bool {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			return false
		}
		return nc.Close() == nil
	})
}

// mcpraft runs a command to its end and returns what it wrote and its exit code.
func mcpraft(t *testing.T, home string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, talk bytes.Buffer
	cmd := exec.CommandContext(t.Context(), binary, args...)
	cmd.Dir, cmd.Env = home, environment(home)
	cmd.Stdout, cmd.Stderr = &out, &talk
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), talk.String(), cmd.ProcessState.ExitCode()
}

// build builds the program of a package to path.
func build(t *testing.T, path, pkg string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", path, pkg)
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	if err := cmd.Run(); err != nil {
		t.Fatalf("building %s: %v", pkg, err)
	}
}
