package relay

import (
	"context"
	"net/http"

	"golang.org/x/sync/errgroup"

	"github.com/postern-dev/postern/internal/webserver"
	"github.com/postern-dev/postern/transport"
	"github.com/postern-dev/postern/transport/all"
	"github.com/postern-dev/postern/transport/overhttp"
)

// serveWeb serves the web listener until ctx ends, and the sessions that came by it until theirs do.
func (r *running) serveWeb(ctx, life context.Context, g *errgroup.Group) {
	if r.lns.web == nil {
		return
	}
	routes := http.NewServeMux()
	for _, maker := range all.Transports() {
		if maker.NewWeb == nil {
			continue
		}
		web := maker.NewWeb(transport.WebOptions{
			TLS: r.own.tls, Accept: r.accepts(life, maker.Network), Cleartext: r.cfg.Cleartext, Log: r.log,
		})
		for _, path := range maker.Paths {
			routes.Handle(path, web)
		}
		g.Go(func() error { return web.Run(ctx) })
	}
	routes.HandleFunc("/", nothingHere)
	server := &webserver.Server{Handler: routes, TLS: r.own.tls, Gate: &r.strangers, Log: r.log}
	g.Go(func() error { return server.Serve(ctx, r.lns.web) })
}

// nothingHere answers everything else.
func nothingHere(w http.ResponseWriter, _ *http.Request) {
	overhttp.Refuse(w, http.StatusNotFound, "there is nothing here; agents connect to this address with postern agent --relay URL")
}
