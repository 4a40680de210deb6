// Package quic is the transport over QUIC (RFC 9000): for agents that roam and for lossy links with interactive traffic. A
// stream of Postern is a bidirectional stream of QUIC, so one that is stuck or loses packets holds up no other.
//
//	listener := quic.Listen(transport.ListenOptions{UDP: socket, TLS: cfg, Accept: map[string]transport.Accept{
//		transport.ALPNAgent: {Handle: serveAgent, MaxStreams: 2},
//	}})
//	err := listener.Run(ctx)                                    // the relay
//	dialer := quic.Dialer(transport.DialOptions{TLS: cfg, MaxStreams: transport.DefaultMaxStreams})
//	conn, err := dialer.Dial(ctx, "relay.example.com:4242")     // the agent
//	defer conn.CloseWithError(postern.OK, "")                   // closes its UDP socket too
//	stream, err := conn.AcceptStream(ctx)
package quic

import (
	"github.com/quic-go/quic-go"

	"github.com/postern-dev/postern/transport"
)

// name is the transport's name in the config, the log and Info.
const name = "quic"

// The windows of DESIGN D4, in bytes. The connection's window is shared by all streams, so it must exceed what streams that
// nobody reads can hold (DESIGN D2): it has room for 256 of them, be they new or grown to their maximum. More than that
// freeze the connection until one is read or ended; the mux of the other transports has no such window.
const (
	initialStreamWindow     = 256 << 10
	maxStreamWindow         = 1 << 20
	initialConnectionWindow = 64 << 20
	maxConnectionWindow     = 256 << 20
)

// defaultMaxStreams is how many streams the far end may have open where the options say nothing.
const defaultMaxStreams = 2

// config is the configuration of both ends; maxStreams bounds what the far end may open.
func config(maxStreams int) *quic.Config {
	return &quic.Config{
		// quic-go gives the whole handshake twice this time.
		HandshakeIdleTimeout: transport.HandshakeTimeout / 2,
		// RFC 9000 §10.1 restarts the idle timer with the probe, so it alone would notice a silence after twelve seconds;
		// Conn.watch holds to DeadAfter.
		MaxIdleTimeout:                 transport.DeadAfter,
		KeepAlivePeriod:                transport.ProbeAfter,
		InitialStreamReceiveWindow:     initialStreamWindow,
		MaxStreamReceiveWindow:         maxStreamWindow,
		InitialConnectionReceiveWindow: initialConnectionWindow,
		MaxConnectionReceiveWindow:     maxConnectionWindow,
		MaxIncomingStreams:             int64(orDefault(maxStreams, defaultMaxStreams)),
		MaxIncomingUniStreams:          -1, // none: the wire has no use for them
		EnableDatagrams:                true,
		// The least that RFC 9000 §14.1 allows: 1,228 bytes with the headers of IP and UDP pass where the library's 1,280 do not, in a
		// tunnel with an MTU of 1,280. Discovery finds out what more the path carries.
		InitialPacketSize: 1200,
	}
}

func orDefault(n, d int) int {
	if n == 0 {
		return d
	}
	return n
}
