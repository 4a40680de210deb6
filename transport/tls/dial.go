package tls

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"strconv"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/splice"
	"github.com/postern-dev/postern/transport"
)

// Dialer returns a Dialer. Names with several addresses are tried as RFC 8305 has it, by net.Dialer.
func Dialer(opts transport.DialOptions) transport.Dialer {
	return &dialer{opts: opts}
}

type dialer struct{ opts transport.DialOptions }

// Dial connects, does the handshake and starts the streams; all of it within transport.HandshakeTimeout and ctx.
func (d *dialer) Dial(ctx context.Context, addr string) (transport.Conn, error) {
	host, port, err := net.SplitHostPort(addr)
	if n, perr := strconv.ParseUint(port, 10, 16); err != nil || host == "" || perr != nil || n == 0 {
		return nil, postern.Errorf(postern.BadAddress, postern.HopRelay, "the relay's address %q is not host:port", addr)
	}
	ctx, cancel := context.WithTimeout(ctx, transport.HandshakeTimeout)
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, dialError(ctx, addr, err)
	}
	tune(raw)
	c := tls.Client(raw, d.config(host))
	if err := c.HandshakeContext(ctx); err != nil {
		splice.Abort(raw)
		return nil, handshakeError(ctx, addr, err)
	}
	if got, want := c.ConnectionState().NegotiatedProtocol, d.opts.TLS.NextProtos; len(want) > 0 && got != want[0] {
		splice.Abort(raw)
		return nil, postern.Errorf(postern.Unreachable, postern.HopRelay,
			"what answers at %s does not speak %s; is it a relay's agents port?", addr, want[0])
	}
	return multiplex(c, false, d.opts.MaxStreams, d.opts.Log), nil
}

// config is the dialer's TLS for one host.
func (d *dialer) config(host string) *tls.Config {
	c := d.opts.TLS.Clone()
	c.MinVersion = tls.VersionTLS13
	c.DynamicRecordSizingDisabled = true
	if c.ServerName == "" {
		c.ServerName = host
	}
	// Whoever checks pins does it here; its refusal has to be told from a broken handshake.
	if verify := c.VerifyConnection; verify != nil {
		c.VerifyConnection = func(state tls.ConnectionState) error {
			if err := verify(state); err != nil {
				return &refused{err}
			}
			return nil
		}
	}
	if verify := c.VerifyPeerCertificate; verify != nil {
		c.VerifyPeerCertificate = func(raw [][]byte, chains [][]*x509.Certificate) error {
			if err := verify(raw, chains); err != nil {
				return &refused{err}
			}
			return nil
		}
	}
	return c
}
