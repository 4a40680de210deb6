package overhttp

import (
	"context"
	"net/http"

	"golang.org/x/sync/errgroup"

	"github.com/postern-dev/postern/internal/webserver"
	"github.com/postern-dev/postern/transport"
)

// NewListener returns a web listener that serves one transport alone, at paths. A relay has one listener for all of them, and for
// whatever else is in its web.
func NewListener(o transport.ListenOptions, newWeb func(transport.WebOptions) transport.Web, paths ...string) transport.Listener {
	return &listener{opts: o, newWeb: newWeb, paths: paths}
}

type listener struct {
	opts   transport.ListenOptions
	newWeb func(transport.WebOptions) transport.Web
	paths  []string
}

// Run serves until ctx ends or the socket fails.
func (l *listener) Run(ctx context.Context) error {
	web := l.newWeb(transport.WebOptions{TLS: l.opts.TLS, Accept: l.opts.Accept, Log: l.opts.Log})
	routes := http.NewServeMux()
	for _, path := range l.paths {
		routes.Handle(path, web)
	}
	server := &webserver.Server{Handler: routes, TLS: l.opts.TLS, Gate: l.opts.Gate, Log: l.opts.Log}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return server.Serve(ctx, l.opts.TCP) })
	g.Go(func() error { return web.Run(ctx) })
	return g.Wait()
}
