package cluster

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
)

// A process is one life of a node.
type process struct {
	pid   int
	ended chan struct{} // closed when it is gone
	state *os.ProcessState

	mu    sync.Mutex
	asked bool // somebody wants it to end
}

// launch starts a program whose output goes to the end of a file. It dies with
// this process. inside runs the start where the node belongs.
func launch(output, dir string, env []string, inside func(func() error) error, path string, args ...string) (*process, error) {
	file, err := os.OpenFile(output, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(path, args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, env, file, file
	cmd.SysProcAttr = dieWithParent()
	p := &process{ended: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The kernel's signal to an orphan is tied to the thread that started it,
		// and the network that the thread is in now is not that of other threads:
		// it ends with this goroutine.
		runtime.LockOSThread()
		err := inside(cmd.Start)
		started <- err
		if err != nil {
			return
		}
		_ = cmd.Wait()
		p.state = cmd.ProcessState
		close(p.ended)
	}()
	if err := errors.Join(<-started, file.Close()); err != nil {
		return nil, err
	}
	p.pid = cmd.Process.Pid
	return p, nil
}

// signal asks something of a process that may have ended.
func (p *process) signal(s syscall.Signal) error {
	select {
	case <-p.ended:
		return os.ErrProcessDone
	default:
		return syscall.Kill(p.pid, s)
	}
}

// kill ends it at once and waits until it is gone.
func (p *process) kill() {
	p.expect()
	if p.signal(syscall.SIGKILL) == nil {
		<-p.ended
	}
}

// expect says that the process may end now.
func (p *process) expect() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = true
}

func (p *process) expected() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

func (p *process) running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// lastLines is the end of a file.
func lastLines(path string, n int) string {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
