//go:build linux

package conformance

import (
	"encoding/json"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/postern-dev/postern/test/rig"
)

// TestReadme runs every command of README.md, in its order and in one folder, as a person would who follows it. Names and ports
// that a test cannot have are put in place of those of the page; the rest is run as it stands.
func TestReadme(t *testing.T) {
	p := newReader(t)
	for _, command := range shellCommands(t, "../../README.md") {
		run, ok := p.steps()[commandKind(command)]
		if !ok {
			t.Fatalf("the page has a command that this test does not know how to judge: %s", command)
		}
		p.tried[commandKind(command)] = true
		run(p.fill(command))
	}
	for kind := range p.steps() {
		if !p.tried[kind] {
			t.Errorf("the page does not show %q", kind)
		}
	}
}

// shellCommands are the lines of a page's blocks for a shell, without comments.
func shellCommands(t *testing.T, page string) []string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var commands []string
	inside := false
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "```") {
			inside = line == "```sh"
		} else if inside && line != "" && !strings.HasPrefix(line, "#") {
			commands = append(commands, line)
		}
	}
	return commands
}

// commandKind is a program with its subcommands: "postern join create", "curl".
func commandKind(command string) string {
	words := strings.Fields(command)
	most := 1
	switch words[0] {
	case "postern":
		most = 4
	case "go", "make":
		most = len(words)
	}
	for i, word := range words {
		if i == most || i > 0 && words[0] == "postern" && strings.Trim(word, "abcdefghijklmnopqrstuvwxyz") != "" {
			return strings.Join(words[:i], " ")
		}
	}
	return command
}

// reader is somebody who follows the page.
type reader struct {
	t        *testing.T
	dir      string // where all commands are run
	bin      string // a folder with the binary, called postern
	web, ssh string // ports of what the page's agent leads to
	sshd     *rig.SSHServer
	db       *rig.Database
	proxy    string // ports that are known once something runs
	local    string
	public   string
	tried    map[string]bool
}

func newReader(t *testing.T) *reader {
	t.Helper()
	p := &reader{t: t, dir: t.TempDir(), bin: t.TempDir(), sshd: rig.SSHD(t), db: rig.Postgres(t), tried: make(map[string]bool)}
	if err := os.Symlink(rig.Binary(t), filepath.Join(p.bin, "postern")); err != nil {
		t.Fatal(err)
	}
	site, err := url.Parse(rig.Web(t).URL)
	if err != nil {
		t.Fatal(err)
	}
	p.web, p.ssh, p.local = site.Port(), portOf(t, p.sshd.Addr), strconv.Itoa(rig.FreePort(t))
	return p
}

func portOf(t *testing.T, addr string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// fill puts this machine's names and ports in place of the page's.
func (p *reader) fill(command string) string {
	flags := ""
	for _, flag := range p.sshd.Flags() {
		flags += " '" + flag + "'"
	}
	if !strings.Contains(command, "ssh -p") {
		flags += " -p " + p.ssh
	}
	command = strings.NewReplacer(
		"relay.example.com:3128", "localhost:"+p.proxy, "relay.example.com", "localhost",
		"localhost:8000", "localhost:"+p.web,
		"5432=nas/localhost:5432", p.local+"=nas/localhost:"+strconv.Itoa(p.db.Port), "psql -h 127.0.0.1", "psql -h 127.0.0.1 -p "+p.local,
		"tcp 22", "tcp "+p.ssh, "-p 20417", "-p "+p.public, "me@", p.sshd.User+"@",
	).Replace(command)
	if rest, ok := strings.CutPrefix(command, "ssh "); ok {
		return "ssh" + flags + " " + rest + " echo inside"
	}
	return command
}

// steps is what to do with a command of each kind.
func (p *reader) steps() map[string]func(command string) {
	elsewhere := func(string) {} // TestUp and whoever runs this test
	succeeds := func(command string) { p.run(command, "") }
	return map[string]func(command string){
		"go run ./cmd/postern up": elsewhere,
		"make test":               elsewhere,
		"postern relay":           p.startRelay,
		"postern join create":     succeeds,
		"postern auth jwt token":  succeeds,
		"postern agent":           p.startAgent,
		"curl":                    func(command string) { p.run(command, "") },
		"ssh":                     func(command string) { p.run(command, "inside\n") },
		"postern forward":         func(command string) { p.startPrinting(command) },
		"psql":                    func(command string) { p.run(command, "PostgreSQL") },
		"postern expose tcp":      func(command string) { p.public = portOf(p.t, p.startPrinting(command)) },
	}
}

// shell runs a command of the page.
func (p *reader) shell(command string, environ ...string) *exec.Cmd {
	cmd := exec.Command("/bin/sh", "-c", "PATH=\"$1:$PATH\"; "+command, "sh", p.bin)
	cmd.Dir, cmd.Env = p.dir, environ
	return cmd
}

// run runs a command that ends, and wants it to succeed and to print a text.
func (p *reader) run(command, want string) {
	p.t.Helper()
	process := rig.StartCmd(p.t, command, p.shell(command))
	if code := process.Exit(short); code != 0 {
		p.t.Fatalf("%s\nexit code %d:\n%s", command, code, process.Output())
	}
	if !strings.Contains(process.Stdout(), want) {
		p.t.Errorf("%s\nprinted %q, want %q in it", command, process.Stdout(), want)
	}
}

// startReady starts a command that writes a ready file, and reads that into v.
func (p *reader) startReady(command string, v any, environ ...string) {
	p.t.Helper()
	ready := filepath.Join(p.t.TempDir(), "ready.json")
	process := rig.StartCmd(p.t, command, p.shell("exec "+command, append(environ, "POSTERN_READY_FILE="+ready)...))
	var text []byte
	rig.Eventually(p.t, short, command+" is ready", func() bool {
		var err error
		text, err = os.ReadFile(ready)
		if process.Ended() {
			p.t.Fatalf("%s has ended:\n%s", command, process.Output())
		}
		return err == nil
	})
	if err := json.Unmarshal(text, v); err != nil {
		p.t.Fatal(err)
	}
}

// startRelay gives the relay free ports: its usual ones may be taken.
func (p *reader) startRelay(command string) {
	p.t.Helper()
	var ready struct{ Proxy string }
	p.startReady(command, &ready, "POSTERN_AGENTS=127.0.0.1:0", "POSTERN_PROXY=127.0.0.1:0", "POSTERN_SOCKS=off", "POSTERN_WEB=off", "POSTERN_ADMIN=off")
	p.proxy = portOf(p.t, ready.Proxy)
}

func (p *reader) startAgent(command string) {
	p.t.Helper()
	var ready struct{ Relays []rig.AgentRelay }
	p.startReady(command, &ready)
}

// startPrinting starts a command that prints an address, and returns that.
func (p *reader) startPrinting(command string) string {
	p.t.Helper()
	process := rig.StartCmd(p.t, command, p.shell("exec "+command))
	return printedAddress(p.t, process, "")
}
