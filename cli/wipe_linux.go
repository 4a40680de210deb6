package cli

import (
	"os"
	"strconv"
	"strings"
	"unsafe"
)

// wipe overwrites arg from byte from on, if arg is a part of the process's argument memory. The Go runtime hands
// os.Args out without copying, so their bytes are the very ones that /proc/PID/cmdline shows; proc(5) says where
// they lie, and nothing outside of that is ever written to. Nobody else may use arg afterwards.
func wipe(arg string, from int) {
	start, end, ok := argumentMemory()
	if !ok || from >= len(arg) {
		return
	}
	first := uintptr(unsafe.Pointer(unsafe.StringData(arg)))
	if first < start || first+uintptr(len(arg)) > end {
		return // a copy: a test's, or that of a runtime that copies
	}
	for i, bytes := from, unsafe.Slice(unsafe.StringData(arg), len(arg)); i < len(bytes); i++ {
		bytes[i] = '*'
	}
}

// argumentMemory returns arg_start and arg_end, the fields 48 and 49 of /proc/self/stat, see proc_pid_stat(5). They are zero
// where the kernel does not tell.
func argumentMemory() (start, end uintptr, ok bool) {
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return 0, 0, false
	}
	// The second field is the program's name in parentheses and may have anything in it, so count from its end.
	rest := string(stat)
	fields := strings.Fields(rest[strings.LastIndexByte(rest, ')')+1:])
	const third = 3 // the number of the first field after the name
	if len(fields) <= 49-third {
		return 0, 0, false
	}
	a, err1 := strconv.ParseUint(fields[48-third], 10, 64)
	b, err2 := strconv.ParseUint(fields[49-third], 10, 64)
	return uintptr(a), uintptr(b), err1 == nil && err2 == nil && a != 0 && a < b
}
