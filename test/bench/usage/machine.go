//go:build linux

package usage

import (
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Machine is where a run took place.
type Machine struct {
	CPU        string `json:"cpu"`
	CPUs       int    `json:"cpus"`
	MemoryMiB  int64  `json:"memory_mib"`
	Kernel     string `json:"kernel"`
	System     string `json:"system"`
	Go         string `json:"go"`         // of the bounds and the load generator
	Congestion string `json:"congestion"` // TCP's congestion control
	Load       string `json:"load"`       // when the run began
}

// ThisMachine describes the machine; what it does not tell is empty.
func ThisMachine() Machine {
	m := Machine{
		CPU: "unknown", CPUs: runtime.NumCPU(), Go: runtime.Version(),
		Congestion: line("/proc/sys/net/ipv4/tcp_congestion_control"), Load: line("/proc/loadavg"),
	}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		m.CPU = after(string(text), "model name", ":")
	}
	if text, err := os.ReadFile("/etc/os-release"); err == nil {
		m.System = strings.Trim(after(string(text), "PRETTY_NAME", "="), `"`)
	}
	if kib, err := field("/proc/meminfo", "MemTotal:"); err == nil {
		m.MemoryMiB = kib >> 10
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err == nil {
		m.Kernel = unix.ByteSliceToString(name.Sysname[:]) + " " + unix.ByteSliceToString(name.Release[:])
	}
	return m
}

// line is the first line of a file.
func line(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	first, _, _ := strings.Cut(string(text), "\n")
	return first
}

// after is what stands behind the separator in the first line that begins with key.
func after(text, key, separator string) string {
	for l := range strings.Lines(text) {
		if name, value, ok := strings.Cut(l, separator); ok && strings.TrimSpace(name) == key {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
