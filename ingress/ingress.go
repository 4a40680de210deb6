// Package ingress is where clients come in at a relay: accept, handshake, authorise, open, reply, splice.
//
// A kind of ingress is a folder below this one that knows one protocol, and a line in ingress/all; this package does
// everything they have in common. ingresstest.Run is the contract as a test.
//
//	server := &ingress.Server{Protocol: connect.New(connect.Options{}), Opener: router, Auth: chain}
//	err := server.Serve(ctx, listener)
package ingress

import (
	"context"
	"errors"
	"net"
	"net/netip"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/auth"
)

// Opener is the seam of the whole product: a relay gives ingresses its router, a balancer a router that knows no
// sessions, postern forward a session to a relay, a test three lines.
type Opener = postern.Opener

// Authenticator proves who a client is; auth.Chain is one.
type Authenticator interface {
	Verify(ctx context.Context, c auth.Credential) (*postern.Identity, error)
}

// Protocol is one kind of ingress: it reads what a client wants, in its own language. Handshake may be called
// concurrently, once or more per connection but never twice at a time on the same.
type Protocol interface {
	// Name is the kind, as in config and logs: "connect", "socks5", "port".
	Name() string

	// Handshake reads the client's wish from c and returns it as a Call. It answers by itself whatever is no call: a
	// malformed wish gets its reply and an error is returned; a client that was served completely
	// (as an HTTP forward proxy does) makes it return ErrServed. c has a deadline HandshakeTimeout ahead
	// when Handshake starts and none after it; a protocol that waits for later requests sets its own (Conn.Await).
	// ctx ends when the connection has to end at once; c is aborted then.
	//
	// env is what a protocol needs that serves several requests on a connection: it authorises and opens for them.
	Handshake(ctx context.Context, c *Conn, env *Server) (Call, error)
}

// Call is one client's wish for a stream, and the way to answer it.
type Call interface {
	// Wish is the agent, the target and the credential that the client named.
	Wish() Wish

	// Accept tells the client that the target is connected; bound is the address the target saw, if known.
	// What it writes may be joined with nothing: the stream's bytes follow from splice.
	Accept(bound net.Addr) error

	// Reject tells the client why not, in the protocol's own terms (DESIGN §3, failure table). The caller closes the
	// connection, unless Reject returns ErrAgain: then Handshake is called once more for the next try.
	Reject(err error, trace string) error
}

// Wish is what a client asks for, before anybody has checked it.
type Wish struct {
	Agent  postern.AgentID // empty: what the credential says, if it names just one
	Target postern.Target
	// Credential is nil where the protocol has none (a public port); then Identity says on whose behalf.
	// The server fills in its TLS and Remote.
	Credential *auth.Credential
	Identity   *postern.Identity
	// Verified is what Server.Identify returned for Credential, where the protocol had to ask it before the wish was complete.
	Verified *postern.Identity
}

// What Handshake and Reject return when there is nothing left to do, or more to come.
var (
	// ErrServed says that the client was served completely inside Handshake. The connection is closed without a word.
	ErrServed = errors.New("served")
	// ErrAgain says that the connection stays open for another Handshake.
	ErrAgain = errors.New("the client may try again on the same connection")
)

// Source is the client's address as a Request carries it; zero where it has none.
func Source(c net.Conn) netip.AddrPort {
	if a, ok := c.RemoteAddr().(interface{ AddrPort() netip.AddrPort }); ok {
		ap := a.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}
