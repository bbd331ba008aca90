package network

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// ownerOf is the name of the process that has a TCP connection from a local port
// on loopback; "" if none of them has. The kernel lists connections with the inode
// of their socket, and each process the sockets that it has open.
func ownerOf(port int, pids map[string]int) string {
	inode := socketOf(port)
	if inode == "" {
		return ""
	}
	want := "socket:[" + inode + "]"
	for name, pid := range pids {
		dir := fmt.Sprintf("/proc/%d/fd", pid)
		files, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, f := range files {
			if target, err := os.Readlink(filepath.Join(dir, f.Name())); err == nil && target == want {
				return name
			}
		}
	}
	return ""
}

// socketOf is the inode of the socket with that local port.
func socketOf(port int) string {
	f, err := os.Open("/proc/net/tcp")
	if err != nil {
		return ""
	}
	defer f.Close()
	local := fmt.Sprintf("0100007F:%04X", port)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) > 9 && fields[1] == local {
			return fields[9]
		}
	}
	return ""
}
