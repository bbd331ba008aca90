package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"syscall"
	"time"

	"github.com/mcpraft/mcpraft/jepsen/clock"
	"github.com/mcpraft/mcpraft/jepsen/network"
	"github.com/mcpraft/mcpraft/server/adminapi"
)

// A Node is a place for one process at a time. The nemesis and the end of the run
// are the only ones who start and stop it.
type Node struct {
	network.Address

	Name    string
	cluster *Cluster
	dir     string
	client  *adminapi.Client
	clock   *os.File

	mu       sync.Mutex
	process  *process
	excused  bool // it may end by itself
	unasked  []string
	starts   int
	awaiting sync.WaitGroup
}

// Disk is the file system of the node, Data its data directory on it.
func (n *Node) Disk() string { return filepath.Join(n.dir, "disk") }

// Data is the data directory.
func (n *Node) Data() string { return filepath.Join(n.Disk(), "data") }

// Log is the file with the output of all its processes.
func (n *Node) Log() string { return filepath.Join(n.cluster.c.Dir, "logs", n.Name+".log") }

// Client asks this node as an administrator.
func (n *Node) Client() *adminapi.Client { return n.client }

// Start starts a process unless one runs.
func (n *Node) Start() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.process != nil && n.process.running() {
		return nil
	}
	args := []string{"server", "--config", filepath.Join(n.dir, "node.yaml")}
	for key, value := range n.cluster.c.Settings {
		args = append(args, "--set", key+"="+value)
	}
	env := []string{"HOME=" + n.dir, "TMPDIR=" + n.dir, "PATH=" + os.Getenv("PATH"), clock.Env + "=" + n.clock.Name()}
	inside := func(start func() error) error { return n.cluster.c.Network.Start(n.Name, start) }
	p, err := launch(n.Log(), n.dir, env, inside, n.cluster.c.Binary, args...)
	if err != nil {
		return fmt.Errorf("starting %s: %w", n.Name, err)
	}
	n.process = p
	n.starts++
	n.cluster.c.Network.Started(n.Name, p.pid)
	n.awaiting.Go(func() { n.watch(p) })
	return nil
}

// watch notes that a process ends although nobody wants it to.
func (n *Node) watch(p *process) {
	<-p.ended
	if p.expected() {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.excused {
		n.unasked = append(n.unasked, fmt.Sprintf("%s ended by itself (%v):\n%s", n.Name, p.state, lastLines(n.Log(), 15)))
	}
}

// Unasked is how often a process of this node has ended by itself when it had no
// reason to, in words.
func (n *Node) Unasked() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]string(nil), n.unasked...)
}

// Excuse says whether the node has a reason to end by itself from now on, as with
// a broken disk.
func (n *Node) Excuse(excused bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.excused = excused
}

func (n *Node) current() *process {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.process
}

// Running reports whether a process runs, be it paused.
func (n *Node) Running() bool { p := n.current(); return p != nil && p.running() }

// PID is that of its process, or of the last one.
func (n *Node) PID() int {
	if p := n.current(); p != nil {
		return p.pid
	}
	return 0
}

// Kill is kill -9.
func (n *Node) Kill() {
	if p := n.current(); p != nil {
		p.kill()
	}
	n.awaiting.Wait()
}

// Pause is SIGSTOP, Resume SIGCONT.
func (n *Node) Pause() error { return n.signal(syscall.SIGSTOP) }

// Resume ends a Pause.
func (n *Node) Resume() error { return n.signal(syscall.SIGCONT) }

func (n *Node) signal(s syscall.Signal) error {
	p := n.current()
	if p == nil {
		return os.ErrProcessDone
	}
	return p.signal(s)
}

// Stop asks the process to end in order, and kills it when ctx ends first.
func (n *Node) Stop(ctx context.Context) error {
	p := n.current()
	if p == nil {
		return nil
	}
	p.expect()
	_ = p.signal(syscall.SIGTERM)
	select {
	case <-p.ended:
		return nil
	case <-ctx.Done():
		p.kill()
		return fmt.Errorf("%s did not end in order: killed", n.Name)
	}
}

// Ended waits until the process has ended by itself; false when ctx ends first.
func (n *Node) Ended(ctx context.Context) bool {
	p := n.current()
	select {
	case <-p.ended:
		return true
	case <-ctx.Done():
		return false
	}
}

// Wipe takes the data of a node that does not run.
func (n *Node) Wipe() error {
	if n.Running() {
		return fmt.Errorf("%s runs: its disk cannot be taken", n.Name)
	}
	return os.RemoveAll(n.Data())
}

// damaged is what a node says before it ends when its disk holds what it cannot
// use, and only an empty one helps.
var damaged = regexp.MustCompile(`empty its data directory|re-seed|is damaged|checksum mismatch`)

// needsEmptyDisk is the reason why the last process ended, if only an empty disk
// helps.
func (n *Node) needsEmptyDisk() string {
	return damaged.FindString(lastLines(n.Log(), 12))
}

func (n *Node) makeClock() error {
	f, err := os.OpenFile(filepath.Join(n.dir, "clock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	n.clock = f
	return errors.Join(f.Truncate(8), n.SetClock(0))
}

// SetClock has the wall clock of the node go ahead by d from now on. It works with
// binaries that package clock has built.
func (n *Node) SetClock(d time.Duration) error {
	var b [8]byte
	binary.NativeEndian.PutUint64(b[:], uint64(d))
	_, err := n.clock.WriteAt(b[:], 0)
	return err
}
