package tls

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/splice"
	"github.com/postern-dev/postern/transport"
)

// Listen returns a Listener on opts.TCP. Nothing happens before Run.
func Listen(opts transport.ListenOptions) transport.Listener {
	return &listener{opts: opts, config: serverConfig(opts), log: orSilent(opts.Log)}
}

type listener struct {
	opts   transport.ListenOptions
	config *tls.Config
	log    *slog.Logger
}

// Run accepts connections until ctx ends, and waits for their handlers.
func (l *listener) Run(ctx context.Context) error {
	var handlers sync.WaitGroup
	defer handlers.Wait()
	// If a handler outlives the socket because that failed by itself, it must be told as well.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer l.opts.TCP.Close()
	stop := context.AfterFunc(ctx, func() { _ = l.opts.TCP.Close() })
	defer stop()
	var pause backoff
	for {
		c, err := l.opts.TCP.Accept()
		switch {
		case err == nil:
			pause.reset()
			handlers.Go(func() { l.serve(ctx, c) })
		case ctx.Err() != nil:
			return nil
		case !passing(err):
			return fmt.Errorf("accept agents on %v: %w", l.opts.TCP.Addr(), err)
		default:
			l.log.Warn("cannot accept connections for the moment", "listener", l.opts.TCP.Addr(), "error", err)
			pause.wait(ctx)
		}
	}
}

// passing tells failures of accept that go away by themselves: no descriptors or no memory left, or a client that has
// given up while it was in the queue. net marks them as temporary.
func passing(err error) bool {
	t, ok := errors.AsType[interface {
		error
		Temporary() bool
	}](err)
	return ok && t.Temporary() && !errors.Is(err, net.ErrClosed)
}

// backoff is a growing pause between failing accepts, so that being out of descriptors does not cost a processor.
type backoff struct{ next time.Duration }

const (
	firstPause = 5 * time.Millisecond
	lastPause  = time.Second
)

func (b *backoff) reset() { b.next = 0 }

func (b *backoff) wait(ctx context.Context) {
	b.next = min(max(2*b.next, firstPause), lastPause)
	timer := time.NewTimer(b.next)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// serve takes one connection through the gate and the handshake to its handler.
func (l *listener) serve(ctx context.Context, raw net.Conn) {
	authenticated := func() {}
	if l.opts.Gate != nil {
		leave, ok := l.opts.Gate.Admit(raw.RemoteAddr(), func() { splice.Abort(raw) })
		if !ok {
			l.log.Debug("too many connections of strangers", "remote", raw.RemoteAddr())
			splice.Abort(raw)
			return
		}
		defer leave()
		authenticated = leave
	}
	tune(raw)
	c := tls.Server(raw, l.config)
	if err := handshake(ctx, c); err != nil {
		l.log.Debug("handshake failed", "remote", raw.RemoteAddr(), "error", err)
		// Not an abort: an alert may be on its way that tells the far end what it did wrong.
		_ = raw.Close()
		return
	}
	l.dispatch(ctx, c, authenticated)
}

// handshake does c's handshake within the time that transport gives strangers.
func handshake(ctx context.Context, c *tls.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, transport.StrangerTimeout)
	defer cancel()
	return c.HandshakeContext(ctx)
}

// dispatch hands c to the handler of its ALPN.
func (l *listener) dispatch(ctx context.Context, c *tls.Conn, authenticated func()) {
	state := c.ConnectionState()
	alpn := cmp.Or(state.NegotiatedProtocol, transport.ALPNHTTP)
	if accept, ok := l.opts.Accept[alpn]; ok && state.Version >= tls.VersionTLS13 {
		conn := multiplex(c, true, accept.MaxStreams, l.opts.Log)
		// The handler has ended it; this is for one that failed to.
		defer conn.CloseWithError(postern.Internal, "the handler has returned")
		accept.Handle(ctx, conn, authenticated)
		return
	}
	if raw, ok := l.opts.Raw[alpn]; ok {
		raw(ctx, c, authenticated)
		return
	}
	l.log.Debug("no protocol in common", "remote", c.RemoteAddr(), "alpn", state.NegotiatedProtocol)
	splice.Abort(c)
}
