package cli

import "strings"

// secretFlags take a value that others must not see.
func secretFlags() []string { return []string{"--token", "--join"} }

// takeSecrets returns args as they are, in memory of its own, and wipes the secrets among them from the process's
// arguments, which every user of the machine can read (ps, /proc/PID/cmdline). It is the first thing that Main does.
func takeSecrets(args []string) []string {
	own := make([]string, len(args))
	for i, a := range args {
		own[i] = strings.Clone(a)
	}
	for i, a := range args {
		if i > 0 && isSecretFlag(own[i-1]) {
			if !elsewhere(own[i]) {
				wipe(a, 0)
			}
			continue
		}
		if flag, value, found := strings.Cut(own[i], "="); found && isSecretFlag(flag) && !elsewhere(value) {
			wipe(a, len(flag)+1)
		}
	}
	return own
}

func isSecretFlag(s string) bool {
	for _, f := range secretFlags() {
		if s == f {
			return true
		}
	}
	return false
}

// elsewhere reports whether value only says where the secret is.
func elsewhere(value string) bool {
	return value == "" || strings.HasPrefix(value, "file:") || strings.HasPrefix(value, "@")
}
