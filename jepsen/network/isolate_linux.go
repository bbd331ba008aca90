package network

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"

	"golang.org/x/sys/unix"
)

// isolated is set in the environment of a process that Isolate has started.
const isolated = "MCPRAFT_JEPSEN_ISOLATED"

// Isolated reports whether this process has namespaces of its own.
func Isolated() bool { return os.Getenv(isolated) != "" }

// Isolate runs this program again with its arguments in network and mount
// namespaces of its own, so that nothing that a run does to either is seen outside
// or outlives it, and returns its exit code. It fails if the machine does not
// allow that; then nothing was run.
func Isolate() (code int, err error) {
	if err := tunUsable(); err != nil {
		return 0, err
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), isolated+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt, unix.SIGTERM)
	defer signal.Stop(interrupts)
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	for {
		select {
		case s := <-interrupts:
			_ = cmd.Process.Signal(s)
		case err := <-done:
			if exit, ok := errors.AsType[*exec.ExitError](err); ok {
				return exit.ExitCode(), nil
			}
			return 0, err
		}
	}
}

func tunUsable() error {
	f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return f.Close()
}
