// Package websocket is the transport for agents that can reach nothing but a web server, or whose way leads through one: the streams of
// transport/mux in the messages of a WebSocket (RFC 6455), at Path on the relay's web listener. TLS 1.3 runs inside unless
// the TLS outside was verified as the relay's own, see transport/overhttp.
//
//	web := websocket.New(transport.WebOptions{TLS: certificates, Accept: map[string]transport.Accept{
//		transport.ALPNAgent: {Handle: serveAgent},
//	}})
//	routes.Handle(websocket.Path, web)                          // the relay's web listener
//	err := web.Run(ctx)
//
//	conn, err := websocket.Dialer(transport.DialOptions{TLS: trust}).Dial(ctx, "https://relay.example.com/") // the agent
package websocket

import (
	"github.com/postern-dev/postern/transport"
	"github.com/postern-dev/postern/transport/overhttp"
)

// Name is the transport's name in configuration, logs and metrics.
const Name = "websocket"

// Path is where on a web listener agents ask for a WebSocket. The number is that of the wire, docs/wire.md.
const Path = "/agent/v1"

// The sizes of messages. A message means nothing by itself: it is some of the bytes.
const (
	maxSent     = 64 << 10 // what is sent in one; gateways have been seen that stop at 128 KiB
	maxReceived = 1 << 20  // what is taken in one
)

// Listen returns a listener of its own for this transport.
func Listen(o transport.ListenOptions) transport.Listener { return overhttp.NewListener(o, New, Path) }
