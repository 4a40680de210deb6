package tls

import (
	"context"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/splice"
	"github.com/postern-dev/postern/transport"
	"github.com/postern-dev/postern/transport/outward"
)

// Dialer returns a Dialer. Names with several addresses are tried as RFC 8305 has it, by net.Dialer.
func Dialer(opts transport.DialOptions) transport.Dialer {
	return &dialer{opts: opts}
}

type dialer struct{ opts transport.DialOptions }

// Dial connects, does the handshake and starts the streams; all of it within transport.HandshakeTimeout and ctx.
func (d *dialer) Dial(ctx context.Context, addr string) (transport.Conn, error) {
	host, err := transport.SplitAddress(addr)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, transport.HandshakeTimeout)
	defer cancel()
	relay := outward.Relay{Addr: addr, Listener: outward.AgentsPort}
	raw, err := relay.Dial(ctx, "https", d.opts.Proxies)
	if err != nil {
		return nil, err
	}
	tune(raw)
	c, err := relay.Handshake(ctx, raw, outward.Config(d.opts.TLS, host))
	if err != nil {
		return nil, err
	}
	if got, want := c.ConnectionState().NegotiatedProtocol, d.opts.TLS.NextProtos; len(want) > 0 && got != want[0] {
		splice.Abort(raw)
		return nil, postern.Errorf(postern.Unreachable, postern.HopRelay,
			"what answers at %s does not speak %s; is it a relay's agents port?", addr, want[0])
	}
	return multiplex(c, false, d.opts.MaxStreams, d.opts.Log), nil
}
