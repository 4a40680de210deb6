package cli

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
)

// page is what postern up has to show.
type page struct {
	root *os.Root // nil: a page that says hello
}

// newPage returns the page for a folder; none for "". The caller closes it.
func newPage(folder string) (*page, error) {
	if folder == "" {
		return &page{}, nil
	}
	info, err := os.Stat(folder)
	if err == nil && !info.IsDir() {
		err = errNoFolder
	}
	if err != nil {
		return nil, orFolder(folder, err)
	}
	// An os.Root lets nobody out by a symbolic link.
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, orFolder(folder, err)
	}
	return &page{root}, nil
}

// Close lets go of the folder.
func (p *page) Close() error {
	if p.root == nil {
		return nil
	}
	return p.root.Close()
}

// serve shows the page on a free port of loopback until ctx ends, in g, and returns where.
func (p *page) serve(ctx context.Context, g *errgroup.Group) (address string, err error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	server := &http.Server{Handler: p.handler(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	g.Go(func() error {
		if err := server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		return server.Close()
	})
	return ln.Addr().String(), nil
}

func (p *page) handler() http.Handler {
	if p.root != nil {
		return http.FileServerFS(p.root.FS())
	}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		// The client has gone away if this fails; nobody is left to be told.
		_, _ = io.WriteString(w, "Hello from the inner side. This page came through the agent and the relay.\n")
	})
}
