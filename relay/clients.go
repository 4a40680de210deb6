package relay

import (
	"context"
	"crypto/tls"
	"net"

	"golang.org/x/sync/errgroup"

	"github.com/postern-dev/postern/ingress"
	"github.com/postern-dev/postern/ingress/connect"
	"github.com/postern-dev/postern/ingress/socks5"
	"github.com/postern-dev/postern/internal/ready"
)

// ingresses are the ways in for clients.
type ingresses struct {
	connect, socks5 *ingress.Server
}

func (r *running) newIngresses() ingresses {
	return ingresses{
		connect: r.newIngress(connect.New(connect.Options{})),
		socks5:  r.newIngress(socks5.New(socks5.Options{})),
	}
}

func (r *running) newIngress(p ingress.Protocol) *ingress.Server {
	return &ingress.Server{
		Protocol: p, Opener: r.opener(), Auth: r.own.chain, TLS: r.clientTLS(), Cleartext: r.cfg.Cleartext,
		Gate: &r.strangers, Grace: r.cfg.Grace, Log: r.log,
	}
}

// clientTLS is the relay's certificate for clients with whatever TLS they have from 1.2.
func (r *running) clientTLS() *tls.Config { return r.own.tls.Clone() }

// serveIngress serves the listeners for clients until ctx ends, and their streams for the grace period after that.
func (r *running) serveIngress(ctx context.Context, in ingresses, g *errgroup.Group) {
	for _, one := range []struct {
		server *ingress.Server
		ln     net.Listener
	}{{in.connect, r.lns.proxy}, {in.socks5, r.lns.socks}} {
		if one.ln != nil {
			g.Go(func() error { return one.server.Serve(ctx, one.ln) })
		}
	}
}

func writeReady(path string, addresses map[string]string) error { return ready.Write(path, addresses) }
