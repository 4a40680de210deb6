package cli

import (
	"slices"
	"strings"
)

// secretFlags take a value that others must not see, or may take one.
func secretFlags() []string { return []string{"--token", "--join", "--proxy"} }

// setFlags take KEY=VALUE in place of the flag --KEY.
func setFlags() []string { return []string{"--set", "-s"} }

// takeSecrets returns args as they are, in memory of its own, and wipes the secrets among them from the process's
// arguments, which every user of the machine can read (ps, /proc/PID/cmdline). It is the first thing that Main does.
func takeSecrets(args []string) []string {
	own := make([]string, len(args))
	for i, a := range args {
		own[i] = strings.Clone(a)
	}
	for i, a := range args {
		before := ""
		if i > 0 {
			before = own[i-1]
		}
		if from := secretFrom(before, own[i]); from < len(a) {
			wipe(a, from)
		}
	}
	return own
}

// secretFrom is where in an argument a secret begins, given the argument before it; its length if there is none.
func secretFrom(before, arg string) int {
	if slices.Contains(secretFlags(), before) {
		return valueFrom(before, arg, 0)
	}
	if slices.Contains(setFlags(), before) {
		return settingFrom(arg, 0)
	}
	for _, flag := range secretFlags() {
		if strings.HasPrefix(arg, flag+"=") {
			return valueFrom(flag, arg, len(flag)+1)
		}
	}
	for _, flag := range setFlags() {
		// A short flag may have its value without anything between.
		if rest, ok := strings.CutPrefix(arg, flag); ok {
			return settingFrom(arg, len(arg)-len(strings.TrimPrefix(rest, "=")))
		}
	}
	return len(arg)
}

// settingFrom is where the secret begins in an argument that has KEY=VALUE from an offset on; its length if there is none.
func settingFrom(arg string, offset int) int {
	key, _, found := strings.Cut(arg[offset:], "=")
	if flag := "--" + key; found && slices.Contains(secretFlags(), flag) {
		return valueFrom(flag, arg, offset+len(key)+1)
	}
	return len(arg)
}

// valueFrom is the offset of a flag's value in an argument, or its length if that value is no secret: it only says where the secret is,
// or it is a proxy without a password (or, with a relay, the address of its listener).
func valueFrom(flag, arg string, offset int) int {
	value := arg[offset:]
	harmless := value == "" || strings.HasPrefix(value, "file:") || strings.HasPrefix(value, "@")
	if flag == "--proxy" {
		harmless = !strings.Contains(value, "@")
	}
	if harmless {
		return len(arg)
	}
	return offset
}
