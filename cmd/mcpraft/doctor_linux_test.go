package main

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A lock of an open file stands for that of another process: the kernel does not
// show a process its own.
func TestDoctorSeesThatANodeIsRunning(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "LOCK"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, running := examineData(dir); running {
		t.Error("a lock file that nobody holds counts as a running node")
	}
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lock); err != nil {
		t.Fatal(err)
	}
	if e, running := examineData(dir); !running {
		t.Errorf("a held lock does not count:\n%s", findings(e))
	}
}
