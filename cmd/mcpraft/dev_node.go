package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

const (
	devRestartAfter = 10 * time.Second // from the death of a node to its next start
	devStopLimit    = 20 * time.Second // that a node may take to drain before it is killed
)

// A devNode is one node of a dev cluster: a child process, so that it can be
// killed for real. It is started again after each death.
type devNode struct {
	id   string
	args []string // of this same binary
	log  *devLog
	gate *devGate

	restartAfter time.Duration // 0 means devRestartAfter
	started      func()        // called after each start, when PID is the new one
	ended        func(string)  // called after each end that was not asked for, with how it ended

	pid atomic.Int64
}

// PID is the process id of the newest process of the node; 0 before the first.
func (n *devNode) PID() int { return int(n.pid.Load()) }

// Run keeps the node running until ctx ends, then asks it to drain, waits
// devStopLimit for it, and kills it. When force ends it is killed at once. An
// error means that the process could not even be started.
func (n *devNode) Run(ctx, force context.Context) error {
	// The signal that kills a child when its parent dies is sent when the thread
	// that started the child ends. So this goroutine keeps its thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	wait := n.restartAfter
	if wait == 0 {
		wait = devRestartAfter
	}
	for {
		ended, err := n.once(ctx, force)
		if err != nil {
			return fmt.Errorf("starting node %s: %w", n.id, err)
		}
		if ctx.Err() != nil {
			return nil
		}
		n.ended(ended)
		n.gate.Print(fmt.Sprintf("node %s (pid %d) ended: %s; it starts again in %v", n.id, n.PID(), ended, wait))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// once runs one process of the node to its end and says how it ended.
func (n *devNode) once(ctx, force context.Context) (ended string, err error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, self, n.args...)
	cmd.Stdout, cmd.Stderr = n.log, n.log
	cmd.Env = nodeEnvironment()
	cmd.SysProcAttr = childAttributes()
	cmd.Cancel = func() error { return terminate(cmd.Process) }
	cmd.WaitDelay = devStopLimit
	if err := cmd.Start(); err != nil {
		if ctx.Err() != nil {
			return "", nil
		}
		return "", err
	}
	n.pid.Store(int64(cmd.Process.Pid))
	n.started()
	defer context.AfterFunc(force, func() { kill(cmd.Process) })()
	err = cmd.Wait()
	if _, ok := errors.AsType[*exec.ExitError](err); err == nil || ok {
		return cmd.ProcessState.String(), nil
	}
	return err.Error(), nil
}

// nodeEnvironment is ours without the variables of mcpraft itself: one that sets
// a key of the configuration would set it in all nodes at once.
func nodeEnvironment() []string {
	return slices.DeleteFunc(os.Environ(), func(variable string) bool { return strings.HasPrefix(variable, "MCPRAFT_") })
}
