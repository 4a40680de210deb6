//go:build linux

package peer

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"

	"github.com/postern-dev/postern/test/bench/report"
)

// secureShell is OpenSSH: sshd is the relay, ssh -R the agent. An empty cipher is its own choice.
func secureShell(name, cipher string) Peer {
	about := "OpenSSH, ssh -R, its own choice of cipher"
	if cipher != "" {
		about = "OpenSSH, ssh -R, " + cipher
	}
	return Peer{
		Peer: report.Peer{Name: name, About: about, Kind: report.Other},
		Find: func() (string, error) {
			if _, err := look("sshd"); err != nil {
				return "", err
			}
			return installed("ssh", "-V")()
		},
		Start: func(ctx context.Context, s *Site) (*Tunnel, error) {
			t := &Tunnel{}
			if err := startSSH(ctx, s, t, cipher); err != nil {
				return t.failed(err)
			}
			return t, nil
		},
	}
}

func startSSH(ctx context.Context, s *Site, t *Tunnel, cipher string) error {
	me, err := user.Current()
	if err != nil {
		return err
	}
	for _, key := range []string{"host", "user"} {
		if _, err := firstLine(exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(s.Dir, key))); err != nil {
			return err
		}
	}
	addr, err := startSSHD(ctx, s, t)
	if err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	public, err := s.Relay.freePort()
	if err != nil {
		return err
	}
	t.Addr = "127.0.0.1:" + public
	args := []string{
		"-F", "none", "-N", "-i", filepath.Join(s.Dir, "user"), "-p", port, "-l", me.Username, "-R", t.Addr + ":" + s.Target,
		"-o", "BatchMode=yes", "-o", "ExitOnForwardFailure=yes", "-o", "UserKnownHostsFile=" + filepath.Join(s.Dir, "known"), "-o", "StrictHostKeyChecking=yes",
	}
	if cipher != "" {
		args = append(args, "-c", cipher)
	}
	p, err := s.run(s.Agent, "ssh", "ssh", append(args, host)...)
	if err != nil {
		return err
	}
	t.agent = append(t.agent, p)
	return s.Relay.listening(ctx, p, t.Addr)
}

// startSSHD starts a server for one key and writes down its own.
func startSSHD(ctx context.Context, s *Site, t *Tunnel) (string, error) {
	if os.Geteuid() == 0 {
		// Debian's sshd leaves its rights behind in this folder, which the service makes at boot.
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			return "", err
		}
	}
	addr, err := s.Relay.freeAddr()
	if err != nil {
		return "", err
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", err
	}
	hostKey, err := os.ReadFile(filepath.Join(s.Dir, "host.pub"))
	if err != nil {
		return "", err
	}
	if _, err := s.write("known", fmt.Sprintf("[%s]:%s %s", host, port, hostKey)); err != nil {
		return "", err
	}
	file, err := s.write("sshd_config", strings.Join([]string{
		"ListenAddress " + addr, "HostKey " + filepath.Join(s.Dir, "host"), "AuthorizedKeysFile " + filepath.Join(s.Dir, "user.pub"),
		"PidFile none", "StrictModes no", "UsePAM no", "PasswordAuthentication no", "PermitRootLogin prohibit-password", "AllowTcpForwarding yes", "",
	}, "\n"))
	if err != nil {
		return "", err
	}
	p, err := s.run(s.Relay, "sshd", "sshd", "-D", "-e", "-f", file)
	if err != nil {
		return "", err
	}
	t.relay = append(t.relay, p)
	return addr, s.Relay.listening(ctx, p, addr)
}
