// Package overhttp is what a session needs to live inside somebody else's HTTP, which the transports over HTTP have in common: the way
// to the web listener, and TLS 1.3 of the session's own inside the bytes that HTTP carries. Nothing on the way is trusted with those:
// only where the TLS outside was verified as the session's would be, none runs inside (DESIGN D5).
//
//	outer, err := overhttp.Connect(ctx, u, opts)               // the agent: TCP, proxies, TLS if the URL is https
//	road := upgrade(outer.Conn)                                // bytes, both ways; what a transport is about
//	conn, err := overhttp.Client(ctx, road, overhttp.Session{
//		Transport: "websocket", URL: u, Options: opts, TLS: outer.TLS, Proved: outer.Proved,
//	})
//
//	server := overhttp.NewServer("websocket", webOptions)      // the relay
//	server.Serve(ctx, road, overhttp.Asked{ALPN: alpn, Conn: c, Authenticated: c.Authenticated}) // c is webserver.ConnOf(r)
package overhttp

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/internal/bulkio"
	"github.com/postern-dev/postern/splice"
	"github.com/postern-dev/postern/transport"
	"github.com/postern-dev/postern/transport/mux"
	"github.com/postern-dev/postern/transport/outward"
)

// Token is an ALPN as HTTP fields name it, whose tokens have no slash (RFC 9110 §5.6.2): postern-agent.1.
func Token(alpn string) string { return strings.ReplaceAll(alpn, "/", ".") }

// Outer is a connection to a web listener, or to whatever stands before it.
type Outer struct {
	Conn   net.Conn
	TLS    *tls.ConnectionState // nil in clear
	Proved bool                 // TLS has verified the relay itself
}

// Connect connects to the server of u, https or http, through a proxy if opts name one for it. Whoever terminates the TLS outside may have any
// certificate: it is not the one to be trusted.
func Connect(ctx context.Context, u *url.URL, opts transport.DialOptions) (*Outer, error) {
	relay := relayOf(u)
	raw, err := relay.Dial(ctx, u.Scheme, opts.Proxies)
	if err != nil {
		return nil, err
	}
	if u.Scheme == "http" {
		return &Outer{Conn: raw}, nil
	}
	outer := new(Outer)
	c, err := relay.Handshake(ctx, bulkio.New(raw), OuterConfig(opts.TLS, u.Hostname(), &outer.Proved))
	if err != nil {
		return nil, err
	}
	state := c.ConnectionState()
	outer.Conn, outer.TLS = bulkio.Secure(c), &state
	return outer, nil
}

func relayOf(u *url.URL) outward.Relay {
	return outward.Relay{Addr: transport.HostPort(u), Listener: outward.WebListener}
}

// OuterConfig is the TLS outside, for one connection to host. The handshake sets proved, and succeeds either way.
func OuterConfig(from *tls.Config, host string, proved *bool) *tls.Config {
	name := cmp.Or(from.ServerName, host)
	return &tls.Config{
		ServerName: name,
		NextProtos: []string{"http/1.1"},
		MinVersion: tls.VersionTLS12,
		// Whoever is there may be anybody, and is told nothing that matters; the relay proves itself inside.
		InsecureSkipVerify:          true,
		VerifyConnection:            func(state tls.ConnectionState) error { *proved = proves(from, name, state); return nil },
		DynamicRecordSizingDisabled: true,
	}
}

// proves reports whether a session with that state would do for from. Where from trusts whomever the machine trusts, none does: those who
// look into other people's TLS have their CA on the machine.
func proves(from *tls.Config, name string, state tls.ConnectionState) bool {
	if from.RootCAs == nil && from.VerifyConnection == nil || state.Version < tls.VersionTLS13 || len(state.PeerCertificates) == 0 {
		return false
	}
	var chains [][]*x509.Certificate
	if !from.InsecureSkipVerify {
		others := x509.NewCertPool()
		for _, c := range state.PeerCertificates[1:] {
			others.AddCert(c)
		}
		now := time.Now
		if from.Time != nil {
			now = from.Time
		}
		var err error
		chains, err = state.PeerCertificates[0].Verify(x509.VerifyOptions{
			Roots: from.RootCAs, Intermediates: others, DNSName: name, CurrentTime: now(),
		})
		if err != nil {
			return false
		}
	}
	if from.VerifyPeerCertificate != nil {
		raw := make([][]byte, 0, len(state.PeerCertificates))
		for _, c := range state.PeerCertificates {
			raw = append(raw, c.Raw)
		}
		if from.VerifyPeerCertificate(raw, chains) != nil {
			return false
		}
	}
	return from.VerifyConnection == nil || from.VerifyConnection(state) == nil
}

// Session is what is known of a session before it begins.
type Session struct {
	Transport string // the transport's name
	URL       *url.URL
	Options   transport.DialOptions
	// TLS is that outside, nil in clear, and Proved whether all of it has verified the relay itself.
	TLS    *tls.ConnectionState
	Proved bool
}

// Client makes a connection of road, the agent's end of the bytes that HTTP carries, and owns it. Within ctx the relay proves itself by
// TLS inside, unless it has outside. Errors are *Error.
func Client(ctx context.Context, road net.Conn, s Session) (transport.Conn, error) {
	want := s.Options.TLS.NextProtos
	info := transport.Info{Transport: s.Transport, TLS: s.TLS, Local: road.LocalAddr(), Remote: road.RemoteAddr()}
	if len(want) > 0 {
		info.ALPN = want[0]
	}
	if !s.Proved {
		c, err := relayOf(s.URL).Handshake(ctx, bulkio.New(road), outward.Config(s.Options.TLS, s.URL.Hostname()))
		if err != nil {
			return nil, err
		}
		state := c.ConnectionState()
		if len(want) > 0 && state.NegotiatedProtocol != want[0] {
			splice.Abort(c)
			return nil, postern.Errorf(postern.Unreachable, postern.HopRelay, "what answers at %s does not speak %s inside", s.URL, want[0])
		}
		road, info.TLS = bulkio.Secure(c), &state
	}
	return mux.New(road, mux.Options{MaxStreams: s.Options.MaxStreams, Log: s.Options.Log, Info: info}), nil
}
