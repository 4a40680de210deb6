//go:build linux

// Package peer starts tunnels, Postern's and others, each in its own way, so that the benchmark can treat them alike: a
// client connects to one address, and a target is at the other end.
//
//	for _, p := range peer.All(peer.Options{Postern: "bin/postern", Self: self}) {
//		if version, err := p.Find(); err == nil {
//			tunnel, err := p.Start(ctx, site)
//			...
//			err = tunnel.Stop()
//		}
//	}
package peer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/postern-dev/postern/internal/pki"
	"github.com/postern-dev/postern/test/bench/report"
	"github.com/postern-dev/postern/test/bench/usage"
)

// Host is where one side of a tunnel runs.
type Host struct {
	Addr    netip.Addr                                  // where the other side reaches it
	Command func(name string, args ...string) *exec.Cmd // makes the command of a program that runs there
	In      func(f func() error) error                  // runs a step of the benchmark itself there
}

// Here is a host for both sides on loopback.
func Here() Host {
	return Host{
		Addr:    netip.AddrFrom4([4]byte{127, 0, 0, 1}),
		Command: func(name string, args ...string) *exec.Cmd { return exec.Command(name, args...) },
		In:      func(f func() error) error { return f() },
	}
}

// freePort is a TCP port there that was free a moment ago, for programs that cannot choose one by themselves.
func (h Host) freePort() (port string, err error) {
	err = h.In(func() error {
		ln, err := net.Listen("tcp", net.JoinHostPort(h.Addr.String(), "0"))
		if err != nil {
			return err
		}
		port = strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)
		return ln.Close()
	})
	return port, err
}

// freeAddr is host:port with such a port.
func (h Host) freeAddr() (string, error) {
	port, err := h.freePort()
	return net.JoinHostPort(h.Addr.String(), port), err
}

// Site is where a tunnel is to be built.
type Site struct {
	Relay, Agent Host
	Target       string // host:port, as the agent's side sees it
	Dir          string // an empty folder for its files
}

// Tunnel is one that is running.
type Tunnel struct {
	Addr    string               // where clients connect, on the relay's side
	Preface func(net.Conn) error // what a client says before its bytes; nil: nothing

	relay, agent, helper []*process
}

// Relay, Agent and Helper are the processes of the public side, of the inner side, and those that clients need on their own side.
func (t *Tunnel) Relay() ([]int, error)  { return pids(t.relay) }
func (t *Tunnel) Agent() ([]int, error)  { return pids(t.agent) }
func (t *Tunnel) Helper() ([]int, error) { return pids(t.helper) }

func pids(processes []*process) ([]int, error) {
	var all []int
	for _, p := range processes {
		tree, err := usage.Tree(p.cmd.Process.Pid)
		if err != nil {
			return nil, err
		}
		all = append(all, tree...)
	}
	return all, nil
}

// Stop ends all processes of the tunnel and waits for them.
func (t *Tunnel) Stop() error {
	var errs []error
	for _, side := range [][]*process{t.helper, t.agent, t.relay} {
		for _, p := range side {
			errs = append(errs, p.stop())
		}
	}
	return errors.Join(errs...)
}

// failed ends what has been started of a tunnel that did not come about.
func (t *Tunnel) failed(err error) (*Tunnel, error) { return nil, errors.Join(err, t.Stop()) }

// Peer is a way to build a tunnel.
type Peer struct {
	report.Peer

	// Find says which version is installed; an error means that it is not, and says what to do about that.
	Find func() (version string, err error)
	// Start builds a tunnel. Its processes are running when it returns; bytes may not pass yet.
	Start func(ctx context.Context, s *Site) (*Tunnel, error)
	// Agents starts a relay with many idle agents and returns what each costs the relay, in bytes. nil: this cannot be had.
	Agents func(ctx context.Context, s *Site, n int) (float64, error)
}

// Options say what All needs to know.
type Options struct {
	Postern  string    // the binary
	Self     string    // this program, which is the bare hops and the many agents too
	Variants []Variant // further ways to run Postern
}

// All are the peers in the order of a report.
func All(o Options) []Peer {
	var all []Peer
	for _, v := range append(variants(), o.Variants...) {
		all = append(all, v.peer(o))
	}
	all = append(all, direct(), hops(o.Self, false), hops(o.Self, true), haproxy(), secureShell("ssh", ""), secureShell("ssh-aes", "aes128-gcm@openssh.com"))
	return append(all, frp("frp"), frp("frp-nomux"), frp("frp-quic"), chisel(), gost(), piko(), reverseHTTP())
}

// startWithin bounds every step of a start.
const startWithin = 15 * time.Second

// listening waits until somebody accepts connections at an address of the host.
func (h Host) listening(ctx context.Context, p *process, addr string) error {
	return p.until(ctx, "listens at "+addr, func() (bool, error) {
		err := h.In(func() error {
			conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
			if err != nil {
				return err
			}
			return conn.Close()
		})
		return err == nil, nil
	})
}

// certificate makes a CA and a certificate for both sides in dir: pki.CAFile, pki.RelayFile and pki.RelayKey.
func (s *Site) certificate() error {
	_, err := pki.Create(s.Dir, []string{"localhost", "127.0.0.1", s.Relay.Addr.String(), s.Agent.Addr.String()})
	return err
}

// write writes a file of the site and returns its path.
func (s *Site) write(name, text string) (string, error) {
	file := s.Dir + "/" + name
	return file, os.WriteFile(file, []byte(text), 0o600)
}

// installed finds a program and asks it for its version. One that does not tell can be measured all the same.
func installed(program string, args ...string) func() (string, error) {
	return func() (string, error) {
		path, err := look(program)
		if err != nil {
			return "", err
		}
		version, err := firstLine(exec.Command(path, args...))
		if err != nil {
			version = "does not tell"
		}
		return version, nil
	}
}

// look finds a program, also where servers stand that only root starts.
func look(program string) (string, error) {
	path, err := exec.LookPath(program)
	for _, dir := range []string{"/usr/sbin/", "/sbin/"} {
		if err == nil {
			break
		}
		path, err = exec.LookPath(dir + program)
	}
	if err != nil {
		return "", fmt.Errorf("%s is not on PATH", program)
	}
	return path, nil
}
