package quic

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"syscall"

	"github.com/quic-go/quic-go"

	"github.com/postern-dev/postern/transport"
)

// Dialer returns the agent's end of the transport. Each Dial resolves the relay's name anew, tries all its addresses, and takes
// a UDP socket of its own that is closed with the Conn.
func Dialer(opts transport.DialOptions) transport.Dialer {
	return &dialer{opts: opts, log: orSilent(opts.Log)}
}

type dialer struct {
	opts transport.DialOptions
	log  *slog.Logger
}

var _ transport.Dialer = (*dialer)(nil)

// Dial implements transport.Dialer.
func (d *dialer) Dial(ctx context.Context, addr string) (transport.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, transport.HandshakeTimeout)
	defer cancel()
	host, addrs, err := resolve(ctx, addr)
	if err != nil {
		return nil, err
	}
	cfg := d.opts.TLS.Clone()
	cfg.MinVersion = tls.VersionTLS13 // RFC 9001 §4.2
	if cfg.ServerName == "" {
		cfg.ServerName = host
	}
	c, err := race(ctx, addrs, func(ctx context.Context, to netip.AddrPort) (*conn, error) {
		return d.attempt(ctx, to, cfg)
	})
	if err != nil {
		return nil, err // not c: a nil *conn in an interface is not nil
	}
	return c, nil
}

// attempt dials one address from a new socket.
func (d *dialer) attempt(ctx context.Context, to netip.AddrPort, cfg *tls.Config) (*conn, error) {
	network := "udp6"
	if to.Addr().Is4() {
		network = "udp4"
	}
	udp, err := net.ListenUDP(network, nil)
	if err != nil {
		return nil, dialError(err, to)
	}
	tr := &quic.Transport{Conn: prepare(udp, d.log)}
	release := func() error { return errors.Join(tr.Close(), udp.Close()) }
	dialling, stop := knock(ctx, network, to)
	defer stop()
	q, err := tr.Dial(dialling, net.UDPAddrFromAddrPort(to), cfg, config(d.opts.MaxStreams))
	if err != nil {
		if context.Cause(dialling) == errClosedPort {
			err = syscall.ECONNREFUSED
		}
		failed := dialError(err, to)
		if err := release(); err != nil {
			d.log.Debug("closing the socket of a failed dial", "err", err)
		}
		d.log.Debug("dialling failed", "transport", name, "remote", to, "err", failed)
		return nil, failed
	}
	c := newConn(q, d.log, release)
	c.info.FewStreams = true // see Accept.MaxStreams
	d.log.Debug("a connection is up", "transport", name, "remote", to, "alpn", c.info.ALPN)
	return c, nil
}
