package relay

import (
	"context"
	"net"

	"golang.org/x/sync/errgroup"

	"github.com/postern-dev/postern/ingress"
	"github.com/postern-dev/postern/ingress/all"
	"github.com/postern-dev/postern/ingress/connect"
	"github.com/postern-dev/postern/ingress/socks5"
	"github.com/postern-dev/postern/splice"
)

// ingresses are the ways in for clients.
type ingresses struct {
	connect, socks5 *ingress.Server
}

func (r *running) newIngresses() ingresses {
	return ingresses{
		connect: r.newIngress(connect.Name),
		socks5:  r.newIngress(socks5.Name),
	}
}

// newIngress serves clients that name the agent and prove who they are.
func (r *running) newIngress(kind string) *ingress.Server {
	return &ingress.Server{
		Protocol: all.Table()[kind](all.Options{}), Opener: r.opener(), Auth: r.own.chain, TLS: r.own.tls.Clone(),
		// Where everybody may do everything, there is no credential to be overheard.
		Cleartext: r.cfg.Cleartext || anyone(r.cfg),
		Gate:      &r.strangers, Splice: r.splice(), Grace: r.cfg.Grace, Log: r.log,
	}
}

// splice are the limits of every stream, whichever way its client came in.
func (r *running) splice() splice.Options { return splice.Options{Idle: r.cfg.Idle} }

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
