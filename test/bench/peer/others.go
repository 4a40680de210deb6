//go:build linux

package peer

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"path/filepath"

	"github.com/postern-dev/postern/internal/pki"
	"github.com/postern-dev/postern/test/bench/report"
)

// builder builds a tunnel with two free addresses of the relay: one for the agent, one for clients.
type builder func(ctx context.Context, s *Site, t *Tunnel, control, public string) error

// other is a peer that is told both of its addresses.
func other(name, about string, find func() (string, error), build builder) Peer {
	return Peer{
		Peer: report.Peer{Name: name, About: about, Kind: report.Other},
		Find: find,
		Start: func(ctx context.Context, s *Site) (*Tunnel, error) {
			t := &Tunnel{}
			control, err := s.Relay.freeAddr()
			if err != nil {
				return nil, err
			}
			if t.Addr, err = s.Relay.freeAddr(); err != nil {
				return nil, err
			}
			if err := build(ctx, s, t, control, t.Addr); err != nil {
				return t.failed(err)
			}
			return t, nil
		},
	}
}

// pair starts the relay, waits for it, and then the agent. Bytes pass once the agent has connected, which who asks for the tunnel finds out.
func (s *Site) pair(ctx context.Context, t *Tunnel, control string, relay, agent []string) error {
	r, err := s.run(s.Relay, "relay", relay[0], relay[1:]...)
	if err != nil {
		return err
	}
	t.relay = append(t.relay, r)
	if err := s.Relay.listening(ctx, r, control); err != nil {
		return err
	}
	a, err := s.run(s.Agent, "agent", agent[0], agent[1:]...)
	if err != nil {
		return err
	}
	t.agent = append(t.agent, a)
	return nil
}

// split takes host:port apart; what freeAddr makes can be.
func split(addr string) (host, port string) {
	host, port, _ = net.SplitHostPort(addr)
	return host, port
}

// frp has three forms that differ much: as shipped, without its mux, and over QUIC.
func frp(name string) Peer {
	about, both, relay, agent := "frp as shipped: yamux over TLS, certificate not checked", "", "", ""
	switch name {
	case "frp-nomux":
		about = "frp without its mux: a pool of 32 TLS connections"
		both, relay, agent = "transport.tcpMux = false\n", "transport.maxPoolCount = 32\n", "transport.poolCount = 32\n"
	case "frp-quic":
		about, agent = "frp over QUIC", "transport.protocol = \"quic\"\n"
	}
	return other(name, about, installed("frps", "--version"), func(ctx context.Context, s *Site, t *Tunnel, control, public string) error {
		host, port := split(control)
		_, remote := split(public)
		targetHost, targetPort := split(s.Target)
		const token = "auth.token = \"bench\"\n"
		server, err := s.write("frps.toml", fmt.Sprintf("bindAddr = %q\nbindPort = %s\nquicBindPort = %s\nproxyBindAddr = %q\n", host, port, port, host)+token+both+relay)
		if err != nil {
			return err
		}
		client, err := s.write("frpc.toml", fmt.Sprintf("serverAddr = %q\nserverPort = %s\nloginFailExit = false\n", host, port)+token+both+agent+
			fmt.Sprintf("[[proxies]]\nname = \"bench\"\ntype = \"tcp\"\nlocalIP = %q\nlocalPort = %s\nremotePort = %s\n", targetHost, targetPort, remote))
		if err != nil {
			return err
		}
		return s.pair(ctx, t, control, []string{"frps", "-c", server}, []string{"frpc", "-c", client})
	})
}

func chisel() Peer {
	about := "chisel, a reverse port: SSH over WebSocket, in clear outside as SSH encrypts"
	return other("chisel", about, installed("chisel", "--version"), func(ctx context.Context, s *Site, t *Tunnel, control, public string) error {
		host, port := split(control)
		return s.pair(ctx, t, control,
			[]string{"chisel", "server", "--reverse", "--auth", "bench:bench", "--host", host, "--port", port},
			[]string{"chisel", "client", "--auth", "bench:bench", "http://" + control, "R:" + public + ":" + s.Target})
	})
}

func gost() Peer {
	about := "gost, relay+tls with a reverse port (rtcp): one smux session in TLS, certificate not checked"
	return other("gost", about, installed("gost", "-V"), func(ctx context.Context, s *Site, t *Tunnel, control, public string) error {
		return s.pair(ctx, t, control,
			[]string{"gost", "-L", "relay+tls://bench:bench@" + control + "?bind=true"},
			[]string{"gost", "-L", "rtcp://" + public + "/" + s.Target, "-F", "relay+tls://bench:bench@" + control})
	})
}

// piko needs a process of its own on the client's side for TCP.
func piko() Peer {
	about := "piko: WebSocket over TLS to the agent, piko forward on the client's side"
	return other("piko", about, installed("piko", "--version"), func(ctx context.Context, s *Site, t *Tunnel, control, public string) error {
		if err := s.certificate(); err != nil {
			return err
		}
		var free [3]string
		for i := range free {
			var err error
			if free[i], err = s.Relay.freeAddr(); err != nil {
				return err
			}
		}
		err := s.pair(ctx, t, control,
			[]string{
				"piko", "server", "--proxy.bind-addr", free[0], "--upstream.bind-addr", control, "--admin.bind-addr", free[1], "--gossip.bind-addr", free[2],
				"--upstream.tls.enabled", "--upstream.tls.cert", filepath.Join(s.Dir, pki.RelayFile), "--upstream.tls.key", filepath.Join(s.Dir, pki.RelayKey),
			},
			[]string{
				"piko", "agent", "tcp", "bench", s.Target, "--connect.url", "https://" + control,
				"--connect.tls.root-cas", filepath.Join(s.Dir, pki.CAFile), "--server.bind-addr", net.JoinHostPort("127.0.0.1", "0"),
			})
		if err != nil {
			return err
		}
		helper, err := s.run(s.Relay, "helper", "piko", "forward", "tcp", public, "bench", "--connect.url", "http://"+free[0])
		if err != nil {
			return err
		}
		t.helper = append(t.helper, helper)
		return s.Relay.listening(ctx, helper, public)
	})
}

// reverseHTTP has no public ports: its clients say CONNECT.
func reverseHTTP() Peer {
	about := "reverse-http over QUIC, without authentication; clients say CONNECT, which is part of every open"
	return other("reverse-http", about, installed("reverse-http", "version"), func(ctx context.Context, s *Site, t *Tunnel, control, public string) error {
		if err := s.certificate(); err != nil {
			return err
		}
		t.Preface = connect(s.Target, "bench")
		return s.pair(ctx, t, public,
			[]string{
				"reverse-http", "proxy", "--agent-server.listen-address", control, "--http-proxy.listen-address", public, "--auth.type", "noauth",
				"--agent-server.tls.file.key", filepath.Join(s.Dir, pki.RelayKey), "--agent-server.tls.file.cert", filepath.Join(s.Dir, pki.RelayFile),
			},
			[]string{
				"reverse-http", "agent", "--agent-client.server-address", control, "--auth.type", "noauth", "--auth.noauth.agent-id", "bench",
				"--agent-client.tls.file.root-ca", filepath.Join(s.Dir, pki.CAFile),
			})
	})
}

// connect is a client's CONNECT (RFC 9110 §9.3.6). Targets of the benchmark say nothing unasked, so that nothing follows the answer's head.
func connect(target, agentID string) func(net.Conn) error {
	credential := base64.StdEncoding.EncodeToString([]byte(agentID + ":bench"))
	head := "CONNECT " + target + " HTTP/1.1\r\nHost: " + target + "\r\nProxy-Authorization: Basic " + credential + "\r\n\r\n"
	return func(conn net.Conn) error {
		if _, err := conn.Write([]byte(head)); err != nil {
			return err
		}
		buf, n := make([]byte, 4096), 0
		for !bytes.HasSuffix(buf[:n], []byte("\r\n\r\n")) {
			more, err := conn.Read(buf[n:])
			n += more
			if err != nil {
				return fmt.Errorf("CONNECT: %w after %q", err, buf[:n])
			}
			if n == len(buf) {
				return fmt.Errorf("CONNECT: the answer's head is longer than %d bytes", n)
			}
		}
		if fields := bytes.Fields(buf[:n]); len(fields) < 2 || string(fields[1]) != "200" {
			return fmt.Errorf("CONNECT: %q", buf[:n])
		}
		return nil
	}
}
