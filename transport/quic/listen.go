package quic

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/quic-go/quic-go"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/transport"
)

// Listen returns the relay's end of the transport on opts.UDP, which Run closes. It opens nothing yet. Raw is not used:
// QUIC has no connection as it is.
func Listen(opts transport.ListenOptions) transport.Listener {
	return &listener{opts: opts, log: orSilent(opts.Log)}
}

type listener struct {
	opts transport.ListenOptions
	log  *slog.Logger
}

var _ transport.Listener = (*listener)(nil)

// Run implements transport.Listener.
func (l *listener) Run(ctx context.Context) error {
	if l.opts.UDP == nil || l.opts.TLS == nil || len(l.opts.Accept) == 0 {
		return errors.New("quic: ListenOptions need UDP, TLS and Accept")
	}
	door := &door{gate: l.opts.Gate}
	tr := &quic.Transport{
		Conn:                prepare(l.opts.UDP, l.log),
		VerifySourceAddress: door.mustVerify,
		ConnContext:         door.enter,
		StatelessResetKey:   (*quic.StatelessResetKey)(l.opts.ResetKey),
	}
	err := l.accept(ctx, tr)
	// All handlers have returned, so nobody uses the socket any more. Close waits for the goroutines of quic-go.
	return errors.Join(err, tr.Close(), l.opts.UDP.Close())
}

// accept serves connections until ctx ends or the socket fails, and returns when every handler has.
func (l *listener) accept(ctx context.Context, tr *quic.Transport) error {
	ln, err := tr.Listen(l.tlsConfig(), config(l.maxStreams()))
	if err != nil {
		return err
	}
	var handlers sync.WaitGroup
	defer handlers.Wait()
	// When the socket fails, handlers that wait for something else than their connection have to hear of it too.
	handling, stop := context.WithCancel(ctx)
	defer stop()
	for {
		q, err := ln.Accept(ctx)
		if err != nil {
			return l.refuse(ctx, ln, err)
		}
		handlers.Go(func() { l.handle(handling, q) })
	}
}

// refuse ends the taking in of connections after Accept has failed with err: those that are in the middle of their handshake
// are refused, those that nobody has accepted yet are told to look elsewhere.
func (l *listener) refuse(ctx context.Context, ln *quic.Listener, err error) error {
	closed := ln.Close()
	for {
		q, none := ln.Accept(context.WithoutCancel(ctx)) // never blocks once ln is closed
		if none != nil {
			break
		}
		closed = errors.Join(closed, q.CloseWithError(quic.ApplicationErrorCode(postern.Draining), "the relay is shutting down"))
	}
	if ctx.Err() != nil {
		return closed
	}
	return errors.Join(err, closed)
}

// handle runs the handler of q's application protocol.
func (l *listener) handle(ctx context.Context, q *quic.Conn) {
	ticket, ok := q.Context().Value(ticketKey{}).(*ticket)
	if !ok {
		// Every connection came by door.enter.
		panic("quic: internal error: a connection without a ticket")
	}
	ticket.shaken()
	c := newConn(q, l.log, nil)
	l.log.Debug("a connection is up", "transport", name, "remote", c.info.Remote, "alpn", c.info.ALPN)
	// The TLS handshake admits none but these.
	l.opts.Accept[c.info.ALPN].Handle(ctx, c, ticket.leave)
	// The handler ends c; this frees it all the same if it did not. The first call counts.
	if err := c.CloseWithError(postern.Aborted, "the handler has returned"); err != nil {
		l.log.Debug("closing a connection failed", "remote", c.info.Remote, "err", err)
	}
}

func (l *listener) tlsConfig() *tls.Config {
	cfg := l.opts.TLS.Clone()
	cfg.MinVersion = tls.VersionTLS13 // RFC 9001 §4.2
	cfg.NextProtos = slices.Sorted(maps.Keys(l.opts.Accept))
	return cfg
}

// maxStreams is the highest of all Accepts: QUIC fixes it before the ALPN is known.
func (l *listener) maxStreams() int {
	most := 0
	for _, a := range l.opts.Accept {
		most = max(most, orDefault(a.MaxStreams, defaultMaxStreams))
	}
	return most
}

func orSilent(log *slog.Logger) *slog.Logger {
	if log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return log
}
