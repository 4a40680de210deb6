//go:build linux

package conformance

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

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
	rig.Eventually(t, short, "postern up prints its commands", func() bool { return len(commands(p.Stdout())) >= 2 && stopped(p) })

	tried := make(map[string]bool)
	for _, command := range commands(p.Stdout()) {
		kind := kindOf(command)
		tried[kind] = true
		t.Run(kind, func(t *testing.T) {
			shell := exec.Command("/bin/sh", "-c", "PATH=\"$1:$PATH\"; "+command, "sh", bin)
			if kind == "forward" {
				followForward(t, rig.StartCmd(t, command, shell))
				return
			}
			r := rig.Run(t, short, shell.Path, shell.Args[1:]...)
			// An sshd of this machine has its own idea of who may enter: to be asked by it is to have reached it.
			asked := kind == "ssh" && strings.Contains(r.Stderr, "Permission denied")
			if (r.Code != 0 || strings.TrimSpace(r.Stdout) == "") && !asked {
				t.Errorf("%s\nexit code %d\nstdout: %s\nstderr: %s", command, r.Code, r.Stdout, r.Stderr)
			}
		})
	}
	for _, kind := range []string{"curl", "connect"} {
		if !tried[kind] {
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
		if kindOf(line) != "" {
			out = append(out, line)
		}
	}
	return out
}

// posternCommand is a subcommand of the binary, whatever that is called, alone or at the end of a pipe.
var posternCommand = regexp.MustCompile(`^(?:(?:printf|echo) .*\| *)?(?:\S*/)?postern\S* (\w+)\b`)

// kindOf is curl, ssh, or the subcommand of postern that a line runs; empty for a line that is no command.
func kindOf(line string) string {
	if m := posternCommand.FindStringSubmatch(line); m != nil {
		return m[1]
	}
	word, _, _ := strings.Cut(line, " ")
	if word == "curl" || word == "ssh" {
		return word
	}
	return ""
}

// followForward asks for a page at the address that postern forward prints.
func followForward(t *testing.T, p *rig.Process) {
	t.Helper()
	addr := printedAddress(t, p, "")
	got := rig.MustRun(t, short, rig.Program(t, "curl"), "-sS", "--max-time", "30", "http://"+addr+"/")
	if strings.TrimSpace(got) == "" {
		t.Errorf("an empty page at %s", addr)
	}
}

// stopped reports whether a process has printed nothing for a second.
func stopped(p *rig.Process) bool {
	before := p.Stdout()
	<-time.After(time.Second)
	return p.Stdout() == before
}
