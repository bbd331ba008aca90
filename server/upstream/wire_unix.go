//go:build unix

package upstream

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// silent reports whether a connection is open and nothing has come on it: then,
// between two exchanges, it is as it was left.
func silent(raw syscall.RawConn) bool {
	quiet := false
	err := raw.Control(func(fd uintptr) {
		look := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(look[:], 0)
		quiet = n == 0 && err == nil
	})
	return quiet && err == nil
}
