//go:build unix && !linux

package process

import (
	"os/exec"
	"syscall"
)

// canMeasure says that residentByGroup knows.
const canMeasure = false

// ownSession starts a child in a session and group of its own, without a terminal.
// When its parent is killed the helper kills it, a moment later than on Linux.
func ownSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// await waits until a child of ours has ended and calls last.
func await(cmd *exec.Cmd, last func()) {
	_ = cmd.Wait()
	last()
}

func startTime(int) uint64 { return 0 }

func residentByGroup() map[int]int64 { return nil }
