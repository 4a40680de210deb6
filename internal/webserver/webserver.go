// Package webserver is an HTTP/1.1 server for a listener that strangers can reach: hard limits, a gate, and TLS by the first byte
// on the same port as clear text.
//
//	server := &webserver.Server{Handler: mux, TLS: certificates, Gate: strangers}
//	err := server.Serve(ctx, listener) // until ctx ends; returns when every handler has
//
// A request has to be read, and its answer to be written, within Patience; a handler that needs longer says so for each request, with
// http.ResponseController. A handler that learns who the client is calls ConnOf(r).Authenticated.
package webserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/postern-dev/postern/internal/gate"
)

// The limits of a request (PROMISES P-14). A stranger who is slow at each step is gone within 10 s.
const (
	// HeadTimeout bounds the head of a request, with the TLS handshake before it if it is the first.
	HeadTimeout = 8 * time.Second
	// Patience bounds a whole request and its answer, unless a handler moves the deadlines.
	Patience = 15 * time.Second
	// MaxHead and MaxFields bound the head.
	MaxHead   = 32 << 10
	MaxFields = 100

	idleTimeout = time.Minute // between two requests
	headSlop    = 4 << 10     // what net/http reads beyond its limit
)

// Server serves a listener. Handler is required. Nothing may be changed once it serves.
type Server struct {
	Handler http.Handler
	// TLS, if set, serves TLS to clients that begin with a TLS hello; nil: clear text only. It is cloned.
	TLS *tls.Config
	// Gate bounds connections of strangers; nil: no bound.
	Gate *gate.Gate
	// Log gets strangers' noise at debug level; nil is silent.
	Log *slog.Logger
}

// Serve accepts from ln until ctx ends or ln fails, and returns when every connection has ended, those that handlers have taken over
// too. It closes ln. The contexts of requests end with ctx; whoever has not finished the head of a request by then is hung up on. A
// cancelled ctx is no error.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	log := s.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g := &guarded{Listener: ln, gate: s.Gate, log: log, conns: make(map[*Conn]struct{})}
	if s.TLS != nil {
		g.tls = s.TLS.Clone()
		g.tls.NextProtos = []string{"http/1.1"}
	}
	h := s.http(ctx, log)
	drained := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(drained)
		_ = ln.Close() // Serve says if it was broken before
		h.SetKeepAlivesEnabled(false)
		g.drain()
	})
	err := h.Serve(g)
	if ctx.Err() != nil {
		err = nil
	}
	if stop() {
		h.SetKeepAlivesEnabled(false)
		g.drain()
		_ = ln.Close() // it has failed already
	} else {
		<-drained
	}
	cancel()
	g.open.Wait()
	if err != nil {
		return fmt.Errorf("accepting on %v: %w", ln.Addr(), err)
	}
	return nil
}

// http is net/http within our limits. The contexts of requests end with ctx.
func (s *Server) http(ctx context.Context, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           limited{s.Handler},
		ReadHeaderTimeout: HeadTimeout, ReadTimeout: Patience, WriteTimeout: Patience, IdleTimeout: idleTimeout,
		MaxHeaderBytes: MaxHead - headSlop,
		ErrorLog:       slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		BaseContext:    func(net.Listener) context.Context { return ctx },
		ConnContext:    func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
		ConnState:      func(c net.Conn, state http.ConnState) { c.(*Conn).state(state) },
		TLSNextProto:   make(map[string]func(*http.Server, *tls.Conn, http.Handler)), // no HTTP/2
	}
}

// guarded is a listener whose connections went through the gate, and which knows those that are open.
type guarded struct {
	net.Listener
	gate *gate.Gate
	tls  *tls.Config
	log  *slog.Logger
	open sync.WaitGroup // connections whose goroutine runs

	mu       sync.Mutex // guards what follows
	draining bool
	conns    map[*Conn]struct{}
}

// Accept returns the next connection that the gate lets in.
func (g *guarded) Accept() (net.Conn, error) {
	for {
		raw, err := g.Listener.Accept()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				// net/http tries again after a pause where that helps.
				g.log.Warn("cannot accept connections", "listener", g.Addr(), "error", err)
			}
			return nil, err
		}
		leave := func() {}
		if g.gate != nil {
			var ok bool
			if leave, ok = g.gate.Enter(raw.RemoteAddr()); !ok {
				g.log.Debug("too many connections of strangers", "remote", raw.RemoteAddr())
				_ = raw.Close() // nothing was exchanged that could be lost
				continue
			}
		}
		c := &Conn{Conn: raw, listener: g, leave: leave}
		if !g.enter(c) {
			leave()
			_ = raw.Close() // nothing was exchanged that could be lost
			continue
		}
		return c, nil
	}
}

func (g *guarded) enter(c *Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.draining {
		return false
	}
	g.open.Add(1)
	g.conns[c] = struct{}{}
	return true
}

// left forgets a connection that was closed. Its goroutine may have something to do yet.
func (g *guarded) left(c *Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.conns, c)
}

// drain hangs up on everybody who is not being answered.
func (g *guarded) drain() {
	g.mu.Lock()
	g.draining = true
	all := slices.Collect(maps.Keys(g.conns))
	g.mu.Unlock()
	for _, c := range all {
		if !c.answering.Load() {
			c.hangUp()
		}
	}
}

type connKey struct{}

// ConnOf returns the connection that r came by, nil if r is none of a Server's.
func ConnOf(r *http.Request) *Conn {
	c, _ := r.Context().Value(connKey{}).(*Conn)
	return c
}

// limited is a handler that is only asked what is within the limits that net/http does not have.
type limited struct{ http.Handler }

// ServeHTTP refuses heads with too many fields, and the preface of HTTP/2, which net/http lets handlers see. A connection that is
// taken over lives at most as long as the call.
func (l limited) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	fields := 0
	for _, values := range r.Header {
		fields += len(values)
	}
	c := ConnOf(r)
	c.answering.Store(true)
	r.TLS = c.TLS()
	refusal, status := "", 0
	switch {
	case r.ProtoMajor != 1:
		refusal, status = "this server speaks HTTP/1.1", http.StatusHTTPVersionNotSupported
	case fields > MaxFields:
		refusal, status = fmt.Sprintf("the request has more than %d header fields", MaxFields), http.StatusRequestHeaderFieldsTooLarge
	}
	if refusal != "" {
		w.Header().Set("Connection", "close")
		http.Error(w, refusal, status)
		return
	}
	defer c.over()
	l.Handler.ServeHTTP(w, r)
}
