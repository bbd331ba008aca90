//go:build unix && !linux

package main

import "syscall"

// childAttributes puts a child into a process group of its own, so that Ctrl-C
// reaches the parent alone and the parent decides the order. Without Linux's
// parent death signal, a parent that is killed with SIGKILL leaves its nodes
// running; they are seen at the next start, by the lock of their data directory.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
