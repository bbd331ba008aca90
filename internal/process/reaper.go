package process

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

// A reaper is the helper process that kills what is left of our children when
// this process is killed. It is told of each group when it begins and when it has
// ended, over a pipe whose end means that we are gone.
type reaper struct {
	cmd *exec.Cmd
	to  io.WriteCloser
}

func startReaper(argv []string) (*reaper, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = []string{}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	to, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		to.Close()
		return nil, err
	}
	return &reaper{cmd: cmd, to: to}, nil
}

func (r *reaper) add(group int) error {
	_, err := fmt.Fprintf(r.to, "+ %d %d\n", group, startTime(group))
	return err
}

func (r *reaper) remove(group int) error {
	_, err := fmt.Fprintf(r.to, "- %d 0\n", group)
	return err
}

// close ends the helper, and with it every group that it was not told the end of.
func (r *reaper) close() {
	r.to.Close()
	_ = r.cmd.Wait()
}

// Reap is the helper: it reads from in, the pipe to a Runner, which groups there
// are, and when the pipe ends it kills those that are left.
func Reap(in io.Reader) {
	// Whoever stops the service signals every process of it; what we are for comes
	// after that.
	signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	groups := make(map[int]uint64)
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var act string
		var group int
		var started uint64
		if _, err := fmt.Sscanf(lines.Text(), "%1s %d %d", &act, &group, &started); err != nil || group <= 1 {
			continue
		}
		if act == "+" {
			groups[group] = started
		} else {
			delete(groups, group)
		}
	}
	for group, started := range groups {
		if now := startTime(group); now == 0 || now == started {
			signalGroup(group, syscall.SIGKILL)
		}
	}
}
