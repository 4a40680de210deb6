// Package outward is how an agent gets out to its relay where the road is TCP: directly or through a proxy, then TLS by
// which the relay proves itself. Its errors are *Error and say what is wrong and whose fault that is. The transports over TCP have it in common.
//
//	relay := outward.Relay{Addr: "relay.example.com:4242", Listener: outward.AgentsPort}
//	raw, err := relay.Dial(ctx, "https", opts.Proxies)
//	if err != nil {
//		return err
//	}
//	c, err := relay.Handshake(ctx, raw, outward.Config(opts.TLS, "relay.example.com"))
package outward

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"

	"github.com/postern-dev/postern/internal/viaproxy"
	"github.com/postern-dev/postern/splice"
)

// Relay is the relay that is dialled, as errors name it.
type Relay struct {
	Addr     string // host:port
	Listener string // what is meant to be there: AgentsPort or WebListener
}

// What can be meant to be at an address.
const (
	AgentsPort  = "agents port"
	WebListener = "web listener"
)

// Dial connects to the relay, through the proxy that proxies name for scheme, http or https, if there is one.
func (r Relay) Dial(ctx context.Context, scheme string, proxies *viaproxy.Proxies) (net.Conn, error) {
	raw, err := proxies.Dial(ctx, scheme, r.Addr)
	if err != nil {
		return nil, r.dialError(ctx, err)
	}
	return raw, nil
}

// Handshake makes a TLS connection of raw, which it owns from then on. It verifies the relay as config says; ctx bounds it.
func (r Relay) Handshake(ctx context.Context, raw net.Conn, config *tls.Config) (*tls.Conn, error) {
	c := tls.Client(raw, config)
	if err := c.HandshakeContext(ctx); err != nil {
		splice.Abort(raw)
		return nil, r.handshakeError(ctx, err)
	}
	return c, nil
}

// Config is the TLS 1.3 of a dialer for one host. from is not changed.
func Config(from *tls.Config, host string) *tls.Config {
	c := from.Clone()
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
