// Package port is the ingress without a handshake: whoever connects to the port is connected to one target of one agent.
//
//	protocol := port.New(port.Options{Agent: "nas", Target: target})
//	server := &ingress.Server{Protocol: protocol, Opener: router}
//	err := server.Serve(ctx, listener)
//
// The server has no Auth and no TLS: it must not wait for a first byte, as with some services the server speaks first.
package port

import (
	"context"
	"net"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/ingress"
)

// Name is the kind of this ingress.
const Name = "port"

// Options say where the port leads. Agent and Target are required.
type Options struct {
	Agent  postern.AgentID
	Target postern.Target
	// Identity is on whose behalf streams are opened, as of whoever opened the port; nil: nobody in particular.
	Identity *postern.Identity
}

// Protocol implements ingress.Protocol. It may be used concurrently.
type Protocol struct{ wish ingress.Wish }

var _ ingress.Protocol = (*Protocol)(nil)

// New returns the ingress.
func New(o Options) *Protocol {
	return &Protocol{ingress.Wish{Agent: o.Agent, Target: o.Target, Identity: o.Identity}}
}

// Name implements ingress.Protocol.
func (p *Protocol) Name() string { return Name }

// Handshake implements ingress.Protocol. It reads nothing.
func (p *Protocol) Handshake(_ context.Context, c *ingress.Conn, _ *ingress.Server) (ingress.Call, error) {
	return &call{c, p.wish}, nil
}

type call struct {
	c    *ingress.Conn
	wish ingress.Wish
}

// Wish implements ingress.Call.
func (t *call) Wish() ingress.Wish { return t.wish }

// Accept implements ingress.Call. There is nothing to say.
func (t *call) Accept(net.Addr) error { return nil }

// Reject implements ingress.Call: a reset is the nearest that a port has to a refusal, as the connection stands already.
func (t *call) Reject(err error, _ string) error {
	t.c.Abort(postern.KindOf(err))
	return nil
}
