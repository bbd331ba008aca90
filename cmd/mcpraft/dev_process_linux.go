package main

import "syscall"

// childAttributes puts a child into a process group of its own, so that Ctrl-C
// reaches the parent alone and the parent decides the order; and has the kernel
// kill the child when its parent dies in a way that it cannot handle.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
