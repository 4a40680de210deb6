//go:build linux

package conformance

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/postern-dev/postern/test/rig"
)

// sshThroughConnect is the flags of an ssh that comes in by postern connect.
func (b *bed) sshThroughConnect(t *testing.T, s *rig.SSHServer) []string {
	t.Helper()
	command := append([]string{rig.Binary(t), "connect"}, b.access(t)...)
	command = append(command, agentID, s.Addr)
	return append(s.Flags(), "-o", "ProxyCommand="+strings.Join(command, " "))
}

func TestSSHThroughConnect(t *testing.T) {
	s := rig.SSHD(t)
	overEachTransport(t, func(t *testing.T, b *bed) {
		flags := b.sshThroughConnect(t, s)
		r := rig.Run(t, short, rig.Program(t, "ssh"), append(flags, "inside", "echo out; echo err >&2; exit 7")...)
		if r.Code != 7 || r.Stdout != "out\n" || !strings.Contains(r.Stderr, "err\n") {
			t.Errorf("exit code %d, stdout %q, stderr %q", r.Code, r.Stdout, r.Stderr)
		}
		r = rig.RunInput(t, short, strings.NewReader("some input"), rig.Program(t, "ssh"), append(flags, "inside", "cat; echo .")...)
		r.MustSucceed(t, "ssh")
		if r.Stdout != "some input.\n" {
			t.Errorf("cat gave back %q", r.Stdout)
		}
	})
}

func TestRsyncThroughConnect(t *testing.T) {
	s := rig.SSHD(t)
	source := t.TempDir()
	hash := writeData(t, filepath.Join(source, "big"), rig.Size(64<<20, 500<<20))
	overEachTransport(t, func(t *testing.T, b *bed) {
		ssh := rig.Program(t, "ssh")
		for _, flag := range b.sshThroughConnect(t, s) {
			ssh += " '" + flag + "'"
		}
		there, back := t.TempDir(), t.TempDir()
		rig.MustRun(t, long, rig.Program(t, "rsync"), "-a", "-e", ssh, source+"/", "inside:"+there+"/")
		rig.MustRun(t, long, rig.Program(t, "rsync"), "-a", "-e", ssh, "inside:"+there+"/", back+"/")
		for _, dir := range []string{there, back} {
			if got := rig.FileHash(t, filepath.Join(dir, "big")); got != hash {
				t.Errorf("in %s the hash is %s, want %s", dir, got, hash)
			}
		}
	})
}

// exposePorts starts a relay that lets public ports be opened in a range of free ones, and says which.
func exposePorts(t *testing.T) (*rig.Relay, string) {
	t.Helper()
	low := rig.FreePort(t)
	ports := fmt.Sprintf("%d-%d", low, min(low+20, 65535))
	return rig.StartRelay(t, rig.RelayOptions{Args: []string{"--ports", ports}}), ports
}

// expose starts postern expose and returns the address that it prints, on loopback.
func expose(t *testing.T, r *rig.Relay, token string, args ...string) (*rig.Process, string) {
	t.Helper()
	args = append(append([]string{"expose"}, args...), r.Access(t, token)...)
	p := rig.Start(t, rig.Binary(t), args...)
	p.Name = "postern expose"
	var port string
	rig.Eventually(t, short, "postern expose prints an address", func() bool {
		if p.Ended() {
			t.Fatal("postern expose has ended")
		}
		for word := range strings.FieldsSeq(p.Stdout()) {
			_, found, err := net.SplitHostPort(strings.Trim(word[strings.LastIndex(word, "/")+1:], `,.;"`))
			if err == nil && found != "" && found != "0" {
				port = found
				return true
			}
		}
		return false
	})
	return p, "127.0.0.1:" + port
}

func TestSSHThroughExposedPort(t *testing.T) {
	s := rig.SSHD(t)
	relay, ports := exposePorts(t)
	token := relay.Token(t, "agent", agentID, "--ports", ports)
	for _, transport := range []string{"tls", "quic"} {
		t.Run(transport, func(t *testing.T) {
			p, public := expose(t, relay, token, "tcp", s.Addr, "--transport", transport)
			_, port, err := net.SplitHostPort(public)
			if err != nil {
				t.Fatal(err)
			}
			r := rig.Run(t, short, rig.Program(t, "ssh"), append(s.Flags(), "-p", port, "127.0.0.1", "echo in")...)
			r.MustSucceed(t, "ssh")
			if r.Stdout != "in\n" {
				t.Errorf("got %q", r.Stdout)
			}
			p.Signal(syscall.SIGINT)
			if code := p.Exit(short); code != 0 {
				t.Errorf("postern expose ended with %d after an interrupt", code)
			}
			rig.Eventually(t, short, "the port is closed after postern expose has ended", func() bool {
				conn, err := net.Dial("tcp", public)
				if err == nil {
					_ = conn.Close() // only whether it opens is asked
				}
				return err != nil
			})
		})
	}
}
