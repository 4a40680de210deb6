//go:build linux

package peer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"

	"github.com/postern-dev/postern/internal/pki"
	"github.com/postern-dev/postern/test/bench/hop"
	"github.com/postern-dev/postern/test/bench/report"
)

// direct is no tunnel at all: how fast the load generator is.
func direct() Peer {
	return Peer{
		Peer: report.Peer{Name: report.Direct, About: "no tunnel: client and target alone, the limit of the load generator", Kind: report.Bound},
		Find: func() (string, error) { return "", nil },
		Start: func(_ context.Context, s *Site) (*Tunnel, error) {
			if s.Relay.Addr != s.Agent.Addr {
				return nil, errors.New("over a link there is nothing between client and target to compare with")
			}
			return &Tunnel{Addr: s.Target}, nil
		},
	}
}

// hops are two bare hops of this program.
func hops(self string, secure bool) Peer {
	p := report.Peer{Name: "hops-plain", About: "two bare hops in Go, plain, spliced by the kernel: a bound, no tunnel", Kind: report.Bound}
	if secure {
		p = report.Peer{
			Name: "hops-tls", About: "two bare hops in Go, TLS 1.3 between them, one connection per client, records gathered: a bound, no tunnel", Kind: report.Bound,
		}
	}
	return Peer{
		Peer: p,
		Find: func() (string, error) { return runtime.Version(), nil },
		Start: func(ctx context.Context, s *Site) (*Tunnel, error) {
			relay, agent := "plain", "plain"
			if secure {
				relay, agent = "client", "server"
				if err := s.certificate(); err != nil {
					return nil, err
				}
			}
			t := &Tunnel{}
			inner, err := startHop(ctx, self, s, s.Agent, "hop-agent", s.Target, agent, &t.agent)
			if err != nil {
				return t.failed(err)
			}
			t.Addr, err = startHop(ctx, self, s, s.Relay, "hop-relay", inner, relay, &t.relay)
			if err != nil {
				return t.failed(err)
			}
			return t, nil
		},
	}
}

// startHop starts one hop and returns where it listens.
func startHop(ctx context.Context, self string, s *Site, h Host, name, to, side string, started *[]*process) (string, error) {
	p, err := s.run(h, name, self, "hop", net.JoinHostPort(h.Addr.String(), "0"), to, side, s.Dir)
	if err != nil {
		return "", err
	}
	*started = append(*started, p)
	return p.line(ctx)
}

// Hop is the command hop: it writes where it listens, and passes connections on until ctx ends. Its arguments are where to listen, where to
// lead, "plain", "client" or "server", and the folder with the certificate.
func Hop(ctx context.Context, stdout io.Writer, args []string) error {
	if len(args) != 4 {
		return fmt.Errorf("hop wants LISTEN TO plain|client|server DIR, not %q", args)
	}
	o := hop.Options{To: args[1]}
	switch args[2] {
	case "server":
		certificate, err := tls.LoadX509KeyPair(filepath.Join(args[3], pki.RelayFile), filepath.Join(args[3], pki.RelayKey))
		if err != nil {
			return err
		}
		o.Server = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{certificate}, DynamicRecordSizingDisabled: true}
	case "client":
		text, err := os.ReadFile(filepath.Join(args[3], pki.CAFile))
		if err != nil {
			return err
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(text)
		o.Client = &tls.Config{
			MinVersion: tls.VersionTLS13, RootCAs: roots, ServerName: "localhost",
			DynamicRecordSizingDisabled: true, ClientSessionCache: tls.NewLRUClientSessionCache(0),
		}
	}
	ln, err := net.Listen("tcp", args[0])
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(stdout, ln.Addr()); err != nil {
		return errors.Join(err, ln.Close())
	}
	return hop.Serve(ctx, ln, o)
}

// haproxy is a pair of HAProxy with verified TLS 1.3 between them, one connection for each client.
func haproxy() Peer {
	return Peer{
		Peer: report.Peer{
			Name: "haproxy-tls", About: "a pair of HAProxy as packaged, mode tcp, verified TLS 1.3 between them, one connection per client: the yardstick, no tunnel",
			Kind: report.Bound,
		},
		Find: installed("haproxy", "-v"),
		Start: func(ctx context.Context, s *Site) (*Tunnel, error) {
			t := &Tunnel{}
			if err := startHAProxy(ctx, s, t); err != nil {
				return t.failed(err)
			}
			return t, nil
		},
	}
}

// haproxyDefaults is what a configuration has to say before anything works; idle streams may stay.
const haproxyDefaults = `
defaults
  mode tcp
  timeout connect 10s
  timeout client 1h
  timeout server 1h
`

func startHAProxy(ctx context.Context, s *Site, t *Tunnel) error {
	if err := s.certificate(); err != nil {
		return err
	}
	chain, err := os.ReadFile(filepath.Join(s.Dir, pki.RelayFile))
	if err != nil {
		return err
	}
	key, err := os.ReadFile(filepath.Join(s.Dir, pki.RelayKey))
	if err != nil {
		return err
	}
	both, err := s.write("both.pem", string(chain)+string(key))
	if err != nil {
		return err
	}
	inner, err := s.Agent.freeAddr()
	if err != nil {
		return err
	}
	agent := fmt.Sprintf("listen agent\n  bind %s ssl crt %s ssl-min-ver TLSv1.3\n  server target %s\n", inner, both, s.Target)
	if err := runHAProxy(ctx, s, s.Agent, "haproxy-agent", inner, agent, &t.agent); err != nil {
		return err
	}
	if t.Addr, err = s.Relay.freeAddr(); err != nil {
		return err
	}
	relay := fmt.Sprintf("listen relay\n  bind %s\n  server agent %s ssl ssl-min-ver TLSv1.3 verify required ca-file %s sni str(localhost) verifyhost localhost\n",
		t.Addr, inner, filepath.Join(s.Dir, pki.CAFile))
	return runHAProxy(ctx, s, s.Relay, "haproxy-relay", t.Addr, relay, &t.relay)
}

func runHAProxy(ctx context.Context, s *Site, h Host, name, addr, section string, started *[]*process) error {
	file, err := s.write(name+".cfg", haproxyDefaults[1:]+section)
	if err != nil {
		return err
	}
	p, err := s.run(h, name, "haproxy", "-f", file, "-db")
	if err != nil {
		return err
	}
	*started = append(*started, p)
	return h.listening(ctx, p, addr)
}
