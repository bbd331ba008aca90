package server

import (
	"log/slog"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
)

// memoryShare is the part of the machine's memory that the Go runtime aims to
// stay below, in percent. The rest is for the kernel's page cache, which the log
// and the state machine live on, and for peaks.
const memoryShare = 75

// garbagePercent is how much the heap may grow between collections. A node keeps
// little on its heap (the state's caches lie outside it) and makes much garbage:
// at Go's default of 100 collecting takes an eighth of its time. The memory limit
// keeps the peaks in bounds.
const garbagePercent = 400

// limitMemory sets the soft memory limit of the runtime: limit bytes, or if that
// is 0 and GOMEMLIMIT is not set, memoryShare of what the machine or its
// container has. Without a limit a burst ends in the kernel killing the process.
func limitMemory(limit int64, log *slog.Logger) {
	if limit < 0 || limit == 0 && os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	source := "configuration"
	if limit == 0 {
		total := machineMemory(os.ReadFile)
		if total == 0 {
			return
		}
		limit, source = total/100*memoryShare, "machine"
	}
	debug.SetMemoryLimit(limit)
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbagePercent)
	}
	log.Debug("memory limit", "bytes", limit, "from", source)
}

// machineMemory is the memory of this container or machine in bytes, whichever is
// less; 0 if neither can be read.
func machineMemory(read func(string) ([]byte, error)) int64 {
	total := int64(0)
	if data, err := read("/proc/meminfo"); err == nil {
		total = memTotal(string(data))
	}
	for _, path := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		data, err := read(path)
		if err != nil {
			continue
		}
		limit, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
		if err == nil && limit > 0 && (total == 0 || limit < total) {
			return limit
		}
	}
	return total
}

// memTotal reads the line "MemTotal: N kB".
func memTotal(meminfo string) int64 {
	for line := range strings.Lines(meminfo) {
		fields := strings.Fields(line)
		if len(fields) == 3 && fields[0] == "MemTotal:" {
			kb, _ := strconv.ParseInt(fields[1], 10, 64)
			return kb << 10
		}
	}
	return 0
}
