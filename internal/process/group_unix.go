//go:build unix

package process

import "syscall"

// signalGroup signals every process of a group. A group that is gone is no error:
// that is what was wanted.
func signalGroup(group int, s syscall.Signal) { _ = syscall.Kill(-group, s) }
