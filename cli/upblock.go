package cli

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// block is what postern up prints: commands that work as they stand, in any shell of this machine. program is how to
// call this binary. Whatever proxies the shell's environment names, none leads to this machine.
func (u *up) block(program string, ssh bool) string {
	user := string(upAgent) + ":" + u.token
	connect := program + " connect --proxy off --join " + quote("@"+u.joinFile) + " " + string(upAgent)
	var b strings.Builder
	b.WriteString("Postern is up: a relay, and an agent called " + string(upAgent) + ", on this machine only.\n")
	b.WriteString("Paste these into another terminal; Ctrl-C here ends it.\n\n")
	step := func(what, command string) { fmt.Fprintf(&b, "# %s\n%s\n\n", what, command) }
	step("the agent's own page, through the HTTP proxy", "curl -sS --noproxy '' -x http://"+u.listeners["proxy"]+" --proxy-user "+quote(user)+" http://web.service/")
	step("the same by its address, through a tunnel", "curl -sS --noproxy '' -p -x http://"+u.listeners["proxy"]+" --proxy-user "+quote(user)+" http://"+u.page+"/")
	if socks := u.listeners["socks"]; socks != "" {
		step("and through SOCKS5", "curl -sS --noproxy '' --socks5-hostname "+socks+" --proxy-user "+quote(user)+" http://web.service/")
	}
	step("standard input and output to any port that the agent may reach", `printf 'GET / HTTP/1.0\r\n\r\n' | `+connect+" "+u.page)
	step("a local port that leads there", program+" forward --proxy off --join "+quote("@"+u.joinFile)+" "+string(upAgent)+"/"+u.page)
	if ssh {
		step("ssh to this machine, by way of relay and agent", "ssh -o "+quote("ProxyCommand="+connect+" %h:%p")+" 127.0.0.1")
	}
	return b.String()
}

// quote makes s one word of a shell.
func quote(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("@%_-+=:,./", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// program is how to call this binary from another shell: by its name where that finds it, else by its path.
func (e *env) program() string {
	self, err := os.Executable()
	if err != nil {
		return "postern"
	}
	if found, err := exec.LookPath("postern"); err == nil && sameFile(found, self) && filepath.IsAbs(found) {
		return "postern"
	}
	return quote(self)
}

func sameFile(a, b string) bool {
	one, err1 := os.Stat(a)
	two, err2 := os.Stat(b)
	return err1 == nil && err2 == nil && os.SameFile(one, two)
}
