//go:build linux || darwin || freebsd

package raftnode

import "golang.org/x/sys/unix"

// statfs is the space that this user may still take, and the size, of the file
// system that dir lies on.
func statfs(dir string) (free, total uint64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, err
	}
	return uint64(st.Bavail) * uint64(st.Bsize), st.Blocks * uint64(st.Bsize), nil
}
