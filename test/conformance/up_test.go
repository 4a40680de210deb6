//go:build linux

package conformance

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/postern-dev/postern/test/rig"
)

// TestUp starts postern up and runs each command that it prints, as it is printed.
func TestUp(t *testing.T) {
	bin := t.TempDir()
	if err := os.Symlink(rig.Binary(t), filepath.Join(bin, "postern")); err != nil {
		t.Fatal(err)
	}
	p := rig.Start(t, rig.Binary(t), "up", "--data", filepath.Join(t.TempDir(), "data"))
	p.Name = "postern up"
	rig.Eventually(t, short, "postern up prints commands", func() bool { return len(commands(p.Stdout())) >= 2 && settledOutput(p) })

	kinds := make(map[string]bool)
	for _, command := range commands(p.Stdout()) {
		word, _, _ := strings.Cut(command, " ")
		kinds[filepath.Base(word)] = true
		r := rig.Run(t, short, "/bin/sh", "-c", "PATH=\"$1:$PATH\"; "+command, "sh", bin)
		// An sshd of this machine has its own idea of who may enter: to be asked by it is to have reached it.
		asked := filepath.Base(word) == "ssh" && strings.Contains(r.Stderr, "Permission denied")
		if r.Code != 0 && !asked {
			t.Errorf("%s\nexit code %d\nstdout: %s\nstderr: %s", command, r.Code, r.Stdout, r.Stderr)
		}
		if filepath.Base(word) == "curl" && strings.TrimSpace(r.Stdout) == "" {
			t.Errorf("%s\nprinted nothing", command)
		}
	}
	for _, kind := range []string{"curl", "postern"} {
		if !kinds[kind] {
			t.Errorf("no %s command among\n%s", kind, p.Stdout())
		}
	}
	if p.Ended() {
		t.Fatal("postern up has ended")
	}
	p.Signal(syscall.SIGINT)
	if code := p.Exit(short); code != 0 {
		t.Errorf("postern up ended with %d after an interrupt", code)
	}
}

// commands are the lines of a text that are commands to paste.
func commands(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		line = strings.TrimPrefix(strings.TrimSpace(line), "$ ")
		word, _, _ := strings.Cut(line, " ")
		switch filepath.Base(word) {
		case "curl", "ssh", "postern":
			out = append(out, line)
		}
	}
	return out
}

// settledOutput reports whether the process's last word was a whole line.
func settledOutput(p *rig.Process) bool { return strings.HasSuffix(p.Stdout(), "\n") }
