// Package tls is the transport that agents use by default: TLS 1.3 over TCP, with the streams of transport/mux in it
// (DESIGN D1). The same socket takes connections that are to be used as they are, by ALPN: HTTP CONNECT over TLS.
//
//	listener := tls.Listen(transport.ListenOptions{TCP: ln, TLS: certificates, Accept: map[string]transport.Accept{
//		transport.ALPNAgent: {Handle: serveAgent},
//	}})
//	err := listener.Run(ctx)
//
//	roots := &cryptotls.Config{RootCAs: pool, NextProtos: []string{transport.ALPNAgent}}
//	conn, err := tls.Dialer(transport.DialOptions{TLS: roots}).Dial(ctx, "relay.example.com:4242")
package tls

import (
	"cmp"
	"crypto/tls"
	"log/slog"
	"net"

	"github.com/postern-dev/postern/transport"
	"github.com/postern-dev/postern/transport/mux"
)

// Name is the transport's name in configuration, logs and metrics.
const Name = "tls"

// defaultMaxStreams is for the end that does not open streams as its job.
const defaultMaxStreams = 2

// multiplex starts the streams over c, whose handshake is done.
func multiplex(c *tls.Conn, server bool, maxStreams int, log *slog.Logger) *mux.Conn {
	state := c.ConnectionState()
	return mux.New(c, mux.Options{
		Server:     server,
		MaxStreams: cmp.Or(maxStreams, defaultMaxStreams),
		Log:        log,
		Info: transport.Info{
			Transport: Name,
			ALPN:      state.NegotiatedProtocol,
			Local:     c.LocalAddr(),
			Remote:    c.RemoteAddr(),
			TLS:       &state,
		},
	})
}

// tune sets on a TCP connection what both ends need: the multiplexer writes whole flushes, so waiting for more to come would
// only delay them. It is where a layer between TCP and TLS would be put.
func tune(c net.Conn) {
	if tcp, ok := c.(interface{ SetNoDelay(bool) error }); ok {
		// It fails only on a closed socket, and then the handshake says so.
		_ = tcp.SetNoDelay(true)
	}
}

func orSilent(log *slog.Logger) *slog.Logger {
	return cmp.Or(log, slog.New(slog.DiscardHandler))
}
