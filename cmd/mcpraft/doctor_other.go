//go:build !linux

package main

import "os"

// space is unknown here; the doctor leaves it out.
func space(string) (free, total uint64, ok bool) { return 0, 0, false }

func writable(dir string) bool {
	f, err := os.CreateTemp(dir, ".mcpraft-doctor-*")
	if err != nil {
		return false
	}
	_ = f.Close()
	return os.Remove(f.Name()) == nil
}

// lockHolder is unknown here; the doctor takes the node for stopped.
func lockHolder(string) (pid int, held bool) { return 0, false }

func clockKept() (kept, known bool) { return false, false }
