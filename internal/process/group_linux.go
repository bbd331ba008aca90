package process

import (
	"bytes"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// canMeasure says that residentByGroup knows.
const canMeasure = true

// ownSession starts a child in a session and group of its own, without a terminal,
// and has the kernel kill it when its parent dies in a way that it cannot handle.
func ownSession() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
}

// await waits until a child of ours has ended and calls last. Until that is done the
// child stays in the process table, so that its number is nobody else's.
func await(cmd *exec.Cmd, last func()) {
	for unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
	last()
	_ = cmd.Wait()
}

// Positions in /proc/PID/stat behind the name of the program, which is in brackets
// and may hold anything: see proc_pid_stat(5), less three.
const (
	statGroup   = 2
	statStarted = 19
	statPages   = 21
)

// stat is the fields of a process behind its name; nil if there is no such.
func stat(pid string) [][]byte {
	data, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return nil
	}
	end := bytes.LastIndexByte(data, ')')
	fields := bytes.Fields(data[end+1:])
	if len(fields) <= statPages {
		return nil
	}
	return fields
}

// startTime tells processes of one number apart; 0 if there is none.
func startTime(pid int) uint64 {
	fields := stat(strconv.Itoa(pid))
	if fields == nil {
		return 0
	}
	n, _ := strconv.ParseUint(string(fields[statStarted]), 10, 64)
	return n
}

// residentByGroup is the resident memory of all process groups of this machine, in
// bytes. Pages that processes share count once for each.
func residentByGroup() map[int]int64 {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1) // what could be read counts
	page := int64(os.Getpagesize())
	groups := make(map[int]int64)
	for _, name := range names {
		if name[0] < '0' || name[0] > '9' {
			continue
		}
		fields := stat(name)
		if fields == nil {
			continue
		}
		group, _ := strconv.Atoi(string(fields[statGroup]))
		pages, _ := strconv.ParseInt(string(fields[statPages]), 10, 64)
		groups[group] += pages * page
	}
	return groups
}
