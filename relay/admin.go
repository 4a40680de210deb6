package relay

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
)

// serveAdmin answers health checks until stop ends, which is later than the drain: the listener must be there to say that the relay is not
// ready any more.
func (r *running) serveAdmin(stop context.Context, g *errgroup.Group) {
	if r.lns.admin == nil {
		return
	}
	server := &http.Server{
		Handler: r.adminHandler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
	}
	g.Go(func() error {
		if err := server.Serve(r.lns.admin); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	g.Go(func() error {
		<-stop.Done()
		return server.Close()
	})
}

// adminHandler has /healthz, 200 as long as the process lives, and /readyz, 503 from the moment a drain begins.
func (r *running) adminHandler() http.Handler {
	mux := http.NewServeMux()
	say := func(w http.ResponseWriter, status int, text string) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(status)
		// Whoever asked is gone if this fails.
		_, _ = io.WriteString(w, text+"\n")
	}
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if r.isDraining() {
			say(w, http.StatusServiceUnavailable, "draining")
			return
		}
		say(w, http.StatusOK, "ready")
	})
	return mux
}

func (r *running) isDraining() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.draining
}
