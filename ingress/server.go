package ingress

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/internal/gate"
	"github.com/postern-dev/postern/splice"
)

// Server serves one protocol to the clients of any number of listeners. Protocol and Opener are required.
// Nothing may be changed once it serves. All methods may be called concurrently.
type Server struct {
	// Protocol is what the clients speak.
	Protocol Protocol
	// Opener connects them to what they ask for.
	Opener Opener
	// Auth proves who they are; nil: nobody needs to, and Wish.Identity says on whose behalf streams are opened.
	Auth Authenticator

	// TLS, if set, serves TLS to clients that begin with a TLS hello, on the same port as the others; nil: clear only.
	TLS *tls.Config
	// Cleartext allows credentials in clear from elsewhere than loopback.
	Cleartext bool

	// Gate bounds connections of strangers; nil: no bound. Servers may share one.
	Gate *gate.Gate
	// MaxStreamsPerCredential is how many streams one credential may have at once; 0 means 16384, as many as an agent takes; negative no limit.
	MaxStreamsPerCredential int

	// Splice bounds the streams. Its Counts is not used: each stream has its own.
	Splice splice.Options
	// ExpiredGrace is how long streams outlive the credential that they were opened with; 0 means postern.ExpiryGrace.
	ExpiredGrace time.Duration
	// Grace is how long streams go on after the context of Serve or ServeConn has ended; 0: they are aborted at once.
	Grace time.Duration

	// Log gets one line per stream at info level, and strangers' noise at debug level; nil is silent.
	Log *slog.Logger
	// OnStream, if set, is told of each stream that begins; what it returns, if anything, is called at its end.
	OnStream func(*Stream) (ended func())

	once sync.Once // guards tls
	tls  *tls.Config

	mu      sync.Mutex // guards what follows
	closed  bool
	nextID  uint64
	cuts    map[uint64]context.CancelFunc // what Close calls, for each Serve and ServeConn that runs
	streams map[string]int                // how many by credential
}

// The limits before a stream exists (PROMISES P-14).
const (
	// HandshakeTimeout bounds the TLS handshake, and after it the protocol's. Whoever exceeds it is gone within the 10 s promised.
	HandshakeTimeout = 8 * time.Second
	// AuthTimeout bounds proving who a client is.
	AuthTimeout = 5 * time.Second
	// OpenTimeout bounds connecting to the target: 10 s for the dial, and the way there and back.
	OpenTimeout = 15 * time.Second

	defaultMaxStreams = 16384
)

// Serve accepts from ln until ctx ends, Close is called or ln fails, and returns when all its connections have ended. It closes ln.
//
// When ctx ends nothing new is accepted and connections that wait for a request are closed; streams go on for at most
// Grace, or until Close, and are aborted then. That is no error. A shortage of descriptors or memory is waited out.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	drain, stop := context.WithCancel(ctx)
	defer stop()
	defer s.register(stop)()
	// The reason for closing is ctx or the return below; a second close has nothing to report.
	closing := context.AfterFunc(drain, func() { _ = ln.Close() })
	defer closing()

	var conns sync.WaitGroup
	defer conns.Wait()
	defer stop() // before the wait: a broken listener drains what it has brought in
	err := s.accept(drain, ln, func(c net.Conn, leave func()) {
		conns.Go(func() { s.ServeConn(drain, c, leave) })
	})
	if drain.Err() != nil {
		return nil
	}
	_ = ln.Close() // it has failed already, err says how
	return fmt.Errorf("accepting %s clients on %s: %w", s.Protocol.Name(), ln.Addr(), err)
}

// accept hands every connection that the gate lets in to serve, until the listener fails.
func (s *Server) accept(ctx context.Context, ln net.Listener, serve func(c net.Conn, leave func())) error {
	const first, most = 5 * time.Millisecond, time.Second
	wait := first
	for {
		c, err := ln.Accept()
		if err != nil && (ctx.Err() != nil || !passing(err)) {
			return err
		}
		if err != nil {
			s.log().Warn("cannot accept clients at the moment", "ingress", s.Protocol.Name(), "error", err)
			select {
			case <-time.After(wait):
			case <-ctx.Done():
			}
			wait = min(2*wait, most)
			continue
		}
		wait = first
		leave := func() {}
		if s.Gate != nil {
			var ok bool
			if leave, ok = s.Gate.Admit(c.RemoteAddr(), func() { splice.Abort(c) }); !ok {
				s.log().Debug("too many strangers", "ingress", s.Protocol.Name(), "client", c.RemoteAddr())
				_ = c.Close() // nothing was exchanged that could be lost
				continue
			}
		}
		serve(c, leave)
	}
}

// passing tells errors of accept(2) that a server outlives: the client went away, or the machine is short of something.
func passing(err error) bool {
	for _, e := range []syscall.Errno{
		syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED, syscall.ECONNRESET, syscall.EINTR,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// ServeConn serves one connection that somebody else has accepted, in clear or already under TLS, and closes it. It returns when
// everything has ended. authenticated is called once the client has proved who it is, and at the latest at the end; nil: nobody
// wants to know. ctx is as in Serve.
func (s *Server) ServeConn(ctx context.Context, nc net.Conn, authenticated func()) {
	if authenticated == nil {
		authenticated = func() {}
	}
	defer authenticated()
	cut, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	defer s.register(func() { cancel(errClosed) })()
	ended := make(chan struct{})
	defer s.cutLate(ctx, ended, cancel)()
	defer close(ended)

	c := newConn(nc, ctx.Done(), authenticated)
	abort := context.AfterFunc(cut, func() { splice.Stream(nc).Abort(postern.KindOf(context.Cause(cut))) })
	defer abort()
	// The outcome was told already, by a linger, a splice or an abort.
	defer func() { _ = c.Close() }()

	if err := s.secure(cut, c); err != nil {
		s.log().Debug("no TLS handshake", "ingress", s.Protocol.Name(), "client", nc.RemoteAddr(), "error", err)
		return
	}
	for s.serveCall(cut, c) {
	}
}

// errClosed is why streams are cut off by a server that ends.
var errClosed = &postern.Error{Kind: postern.Draining, Hop: postern.HopRelay, Detail: "the ingress was shut down"}

// cutLate cuts a connection off when it has outlived ctx by the grace. The returned function ends and awaits that.
func (s *Server) cutLate(ctx context.Context, ended <-chan struct{}, cut context.CancelCauseFunc) (wait func()) {
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		timer := time.NewTimer(s.Grace)
		defer timer.Stop()
		select {
		case <-timer.C:
			cut(errClosed)
		case <-ended:
		}
	})
	return func() {
		if !stop() {
			<-done
		}
	}
}

// secure looks at the client's first byte, and makes c a TLS connection if it is that of a TLS hello.
func (s *Server) secure(ctx context.Context, c *Conn) error {
	if s.TLS == nil || c.tls != nil {
		return nil
	}
	if err := c.Await(HandshakeTimeout); err != nil {
		return err
	}
	const handshakeRecord = 0x16 // RFC 8446 §5.1
	if first, err := c.r.Peek(1); err != nil || first[0] != handshakeRecord {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, HandshakeTimeout)
	defer cancel()
	conn := tls.Server(&replay{c.Conn, c.r}, s.tlsConfig())
	if err := conn.HandshakeContext(ctx); err != nil {
		return err
	}
	c.secured(conn)
	return nil
}

// tlsConfig is TLS with the one application protocol that is spoken over it. There is one for all connections,
// because a clone has session ticket keys of its own.
func (s *Server) tlsConfig() *tls.Config {
	s.once.Do(func() {
		s.tls = s.TLS.Clone()
		s.tls.NextProtos = []string{"http/1.1"} // those of SOCKS5 have no ALPN and get along without
	})
	return s.tls
}

// Close aborts everything that the server serves, and makes Serve return. Nothing can be served afterwards. Idempotent.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	cuts := slices.Collect(maps.Values(s.cuts))
	s.mu.Unlock()
	for _, cut := range cuts {
		cut()
	}
	return nil
}

// register has Close call cut, until the returned function is called. A server that is closed calls it at once.
func (s *Server) register(cut func()) (remove func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		defer cut()
	}
	if s.cuts == nil {
		s.cuts = make(map[uint64]context.CancelFunc)
	}
	id := s.nextID
	s.nextID++
	s.cuts[id] = cut
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.cuts, id)
	}
}
