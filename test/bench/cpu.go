package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit of times in /proc: USER_HZ is 100 on every Linux.
const clockTick = 10 * time.Millisecond

// cpuTime is the processor time that a process has used, in user and kernel mode.
// It tells what an operation costs even when other programs take the processors
// away. 0 where there is no /proc.
func cpuTime(pid string) time.Duration {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return 0
	}
	// The name of the program is in parentheses and may hold anything. Behind it
	// utime and stime are the 12th and 13th field.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(string(fields[11]))
	system, _ := strconv.Atoi(string(fields[12]))
	return time.Duration(user+system) * clockTick
}

// used is the processor time that each process uses between two moments.
func used(ctx context.Context, pids []string, from, to time.Time) []time.Duration {
	spent := make([]time.Duration, len(pids))
	if !sleepUntil(ctx, from) {
		return spent
	}
	for i, pid := range pids {
		spent[i] = -cpuTime(pid)
	}
	sleepUntil(ctx, to)
	for i, pid := range pids {
		spent[i] += cpuTime(pid)
	}
	return spent
}

func sleepUntil(ctx context.Context, t time.Time) bool {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// thisProcess is this process, as cpuTime names it.
const thisProcess = "self"

// pidList is what the flag -pids holds.
func pidList(pids []int) string {
	var b strings.Builder
	for i, pid := range pids {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprint(&b, pid)
	}
	return b.String()
}
