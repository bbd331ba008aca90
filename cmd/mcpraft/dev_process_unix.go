//go:build unix

package main

import (
	"os"
	"syscall"
)

// terminate asks a child to drain and end.
func terminate(p *os.Process) error { return p.Signal(syscall.SIGTERM) }

// kill ends the process group of a child at once. A group that is gone is no
// error: that is what was wanted.
func kill(p *os.Process) { _ = syscall.Kill(-p.Pid, syscall.SIGKILL) }
