package cluster

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// mountSmall mounts a memory disk. The process has a mount namespace of its own:
// nobody else sees it.
func mountSmall(dir string, size int64) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	return unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", size))
}

func unmount(dir string) error { return unix.Unmount(dir, unix.MNT_DETACH) }
