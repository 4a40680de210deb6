package cli

import (
	"slices"
	"strings"
)

// secretFlags take a value that others must not see.
func secretFlags() []string { return []string{"--token", "--join"} }

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
		if from := secretFrom(before, own[i]); from < len(a) && !elsewhere(own[i][from:]) {
			wipe(a, from)
		}
	}
	return own
}

// secretFrom is where in an argument a secret begins, given the argument before it; its length if there is none.
func secretFrom(before, arg string) int {
	if slices.Contains(secretFlags(), before) {
		return 0
	}
	if slices.Contains(setFlags(), before) {
		return settingFrom(arg, 0)
	}
	for _, flag := range secretFlags() {
		if strings.HasPrefix(arg, flag+"=") {
			return len(flag) + 1
		}
	}
	for _, flag := range setFlags() {
		// A short flag may have its value without anything between.
		if rest, ok := strings.CutPrefix(arg, flag); ok {
			return settingFrom(strings.TrimPrefix(rest, "="), len(arg)-len(strings.TrimPrefix(rest, "=")))
		}
	}
	return len(arg)
}

// settingFrom is where the secret begins in KEY=VALUE, which itself begins at an offset; the end if there is none.
func settingFrom(setting string, offset int) int {
	key, _, found := strings.Cut(setting, "=")
	if found && slices.Contains(secretFlags(), "--"+key) {
		return offset + len(key) + 1
	}
	return offset + len(setting)
}

// elsewhere reports whether value only says where the secret is.
func elsewhere(value string) bool {
	return value == "" || strings.HasPrefix(value, "file:") || strings.HasPrefix(value, "@")
}
