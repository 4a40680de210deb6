//go:build linux

// Package usage reads what processes use: processor time to the nanosecond, memory, and who descends from whom.
//
//	before, err := usage.CPU(pids)
//	...
//	after, err := usage.CPU(pids)
//	spent := after - before
package usage

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// CPU is the processor time that processes have used so far, user and system, threads that have ended included. It reads their CPU
// clocks (clock_getcpuclockid(3)): /proc/PID/stat counts in hundredths of a second, which is what a whole case may take, and
// /proc/PID/schedstat has the first thread alone.
func CPU(pids []int) (time.Duration, error) {
	var sum time.Duration
	for _, pid := range pids {
		const sched = 2 // CPUCLOCK_SCHED of include/linux/posix-timers.h: what the scheduler has counted
		var t unix.Timespec
		if err := unix.ClockGettime(int32(^pid)<<3|sched, &t); err != nil {
			return 0, fmt.Errorf("the CPU clock of process %d: %w", pid, err)
		}
		sum += time.Duration(t.Nano())
	}
	return sum, nil
}

// Own is the processor time of this process.
func Own() (time.Duration, error) { return CPU([]int{os.Getpid()}) }

// Memory is the resident memory of processes in bytes. The kernel's buffers of their sockets are not in it.
func Memory(pids []int) (int64, error) {
	var sum int64
	for _, pid := range pids {
		// VmRSS of /proc/PID/status may be off by some hundred KiB for each processor since Linux 6.2; this one is counted page by page.
		n, err := field(fmt.Sprintf("/proc/%d/smaps_rollup", pid), "Rss:")
		if err != nil {
			return 0, err
		}
		sum += n << 10
	}
	return sum, nil
}

// field reads the number behind a word at the beginning of a line.
func field(file, word string) (int64, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if parts := strings.Fields(line); len(parts) > 1 && parts[0] == word {
			return strconv.ParseInt(parts[1], 10, 64)
		}
	}
	return 0, fmt.Errorf("%s has no line %q", file, word)
}

// Tree is a process and all that descend from it, as they are now.
func Tree(root int) ([]int, error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	children := make(map[int][]int)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended since
		}
		// The name, in parentheses, may have anything in it (proc_pid_stat(5)).
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		pid, pidErr := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if len(fields) < 2 || pidErr != nil {
			return nil, fmt.Errorf("%s has an unknown form: %q", file, text)
		}
		parent, err := strconv.Atoi(fields[1])
		if err != nil {
			return nil, fmt.Errorf("%s has an unknown form: %q", file, text)
		}
		children[parent] = append(children[parent], pid)
	}
	tree := []int{root}
	for i := 0; i < len(tree); i++ {
		tree = append(tree, children[tree[i]]...)
	}
	return tree, nil
}

// Busy is how long the processors of the machine have been busy in all, since it started. It counts in hundredths of a second.
func Busy() (time.Duration, error) {
	f, err := os.Open("/proc/stat")
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }() // it was only read
	line, err := bufio.NewReader(f).ReadString('\n')
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(line)
	if len(fields) < 8 || fields[0] != "cpu" {
		return 0, fmt.Errorf("/proc/stat begins with %q", line)
	}
	ticks := 0
	for i, n := range fields[1:] {
		if i == 3 || i == 4 || i > 7 { // idle, waiting for disks, and what is counted elsewhere already
			continue
		}
		t, err := strconv.Atoi(n)
		if err != nil {
			return 0, fmt.Errorf("/proc/stat begins with %q", line)
		}
		ticks += t
	}
	const tick = 10 * time.Millisecond // USER_HZ is 100 on all that Go runs on
	return time.Duration(ticks) * tick, nil
}
