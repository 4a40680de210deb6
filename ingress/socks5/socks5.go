// Package socks5 is the SOCKS5 ingress: RFC 1928 with user and password of RFC 1929, the command CONNECT.
//
// The user is AGENT or USER+AGENT and the password a credential; with a fixed agent nobody has to say who they are.
// Names are passed on as they are and resolved by the agent; NAME.service is a declared service.
//
//	relay := &ingress.Server{Protocol: socks5.New(socks5.Options{}), Opener: router, Auth: chain}
//	local := &ingress.Server{Protocol: socks5.New(socks5.Options{Agent: "nas"}), Opener: client}
//	err := relay.Serve(ctx, listener)
package socks5

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/auth"
	"github.com/postern-dev/postern/ingress"
)

// Name is the kind of this ingress.
const Name = "socks5"

// Options configure the ingress. The zero value asks every client for a user and a password.
type Options struct {
	// Agent, if set, is the agent that all clients reach, and nobody is asked for credentials. The server's Auth has to be nil then.
	Agent postern.AgentID
	// Identity is on whose behalf that is; nil: nobody in particular.
	Identity *postern.Identity
}

// Protocol implements ingress.Protocol. It may be used concurrently.
type Protocol struct{ options Options }

var _ ingress.Protocol = (*Protocol)(nil)

// New returns the ingress.
func New(o Options) *Protocol { return &Protocol{o} }

// Name implements ingress.Protocol.
func (*Protocol) Name() string { return Name }

// Handshake implements ingress.Protocol: greeting, proof, request.
func (p *Protocol) Handshake(ctx context.Context, c *ingress.Conn, env *ingress.Server) (ingress.Call, error) {
	methods, err := readGreeting(c.Reader())
	switch {
	case errors.Is(err, errSOCKS4):
		return nil, refuse4(c, err)
	case errors.Is(err, errHTTP):
		return nil, refuseHTTP(c, err)
	case err != nil:
		return nil, err
	}
	method := p.method(methods)
	if method == methodPassword {
		if err := env.Confidential(c); err != nil {
			return nil, errors.Join(err, answer(c, version5, methodNoneFits))
		}
	}
	if err := answer(c, version5, method); err != nil {
		return nil, err
	}
	wish := ingress.Wish{Agent: p.options.Agent, Identity: p.options.Identity}
	switch method {
	case methodNoneFits:
		return nil, postern.Errorf(postern.Unauthenticated, postern.HopClient, "the client offers the methods %v, it needs %d", methods, p.needs())
	case methodPassword:
		if wish, err = proof(ctx, c, env); err != nil {
			return nil, err
		}
	}
	return readCall(c, wish)
}

// needs is the one method that clients are served with.
func (p *Protocol) needs() byte {
	if p.options.Agent != "" {
		return methodNone
	}
	return methodPassword
}

// method chooses from those that the client offers (RFC 1928 §3).
func (p *Protocol) method(offered []byte) byte {
	if slices.Contains(offered, p.needs()) {
		return p.needs()
	}
	return methodNoneFits
}

// proof reads user and password, has them verified and tells the client how that went (RFC 1929 §2). A failure says nothing but that.
func proof(ctx context.Context, c *ingress.Conn, env *ingress.Server) (ingress.Wish, error) {
	user, password, err := readPassword(c.Reader())
	if err != nil {
		return ingress.Wish{}, err
	}
	wish, err := identify(ctx, c, env, user, password)
	if err != nil {
		return ingress.Wish{}, errors.Join(err, answer(c, authVersion, authFailed))
	}
	return wish, answer(c, authVersion, authSucceeded)
}

// identify returns the wish of whoever user and password prove, still without a target.
func identify(ctx context.Context, c *ingress.Conn, env *ingress.Server, user, password string) (ingress.Wish, error) {
	if env.Auth == nil {
		// A server that verifies nobody would take any password for right.
		return ingress.Wish{}, postern.Errorf(postern.Internal, postern.HopRelay, "the SOCKS5 ingress has neither a fixed agent nor a way to authenticate")
	}
	agent, err := ingress.AgentOf(user)
	if err != nil {
		return ingress.Wish{}, err
	}
	credential := auth.Credential{User: user, Secret: password}
	id, err := env.Identify(ctx, c, credential)
	if err != nil {
		return ingress.Wish{}, err
	}
	return ingress.Wish{Agent: agent, Credential: &credential, Verified: id}, nil
}

// readCall reads the request and returns it as a call, or answers it if it is none.
func readCall(c *ingress.Conn, wish ingress.Wish) (ingress.Call, error) {
	q, err := readRequest(c.Reader())
	if err == nil {
		wish.Target, err = q.wanted()
	}
	switch {
	case err == nil:
		return &call{conn: c, wish: wish}, nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, err
	case postern.KindOf(err) == postern.Timeout, postern.KindOf(err) == postern.Internal:
		return nil, err // the connection failed, there is nobody to answer
	}
	_, werr := c.Write(appendReply(nil, replyCode(postern.KindOf(err)), nil))
	return nil, errors.Join(err, werr)
}

// wanted is the target of a command that this version serves.
func (q request) wanted() (postern.Target, error) {
	switch q.command {
	case commandConnect:
		return postern.NewTarget(postern.TCP, q.host, q.port)
	case commandBind, commandUDPAssociate:
		return postern.Target{}, postern.Errorf(postern.BadCommand, postern.HopRelay, "BIND and UDP ASSOCIATE are not supported by this version")
	}
	return postern.Target{}, postern.Errorf(postern.BadCommand, postern.HopClient, "the command 0x%02x is not known", q.command)
}

// call is a CONNECT that waits for its answer.
type call struct {
	conn *ingress.Conn
	wish ingress.Wish
}

// Wish implements ingress.Call.
func (l *call) Wish() ingress.Wish { return l.wish }

// Accept implements ingress.Call.
func (l *call) Accept(bound net.Addr) error {
	_, err := l.conn.Write(appendReply(nil, replySucceeded, bound))
	return err
}

// Reject implements ingress.Call. SOCKS5 has no place for a trace or a reason.
func (l *call) Reject(err error, _ string) error {
	_, werr := l.conn.Write(appendReply(nil, replyCode(postern.KindOf(err)), nil))
	return werr
}

// AwaitsAnswer says that the client waits for the answer, see ingress.Conn.Watch.
func (l *call) AwaitsAnswer() {}

func answer(c *ingress.Conn, version, status byte) error {
	_, err := c.Write([]byte{version, status})
	return err
}
