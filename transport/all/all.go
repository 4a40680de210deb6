// Package all is the table of the transports: a new one is a folder beside this one and a line in here.
//
//	maker, ok := all.Transports()["tls"]
//	if !ok {
//		return fmt.Errorf("there is no transport %q", name)
//	}
//	conn, err := maker.Dial(transport.DialOptions{TLS: cfg}).Dial(ctx, "relay.example.com:4242")
package all

import (
	"github.com/postern-dev/postern/transport"
	"github.com/postern-dev/postern/transport/quic"
	"github.com/postern-dev/postern/transport/tls"
	"github.com/postern-dev/postern/transport/websocket"
)

// Transports returns every transport by the name it has in the config, the log and the metrics. The map is the caller's.
func Transports() map[string]transport.Maker {
	return map[string]transport.Maker{
		"quic": {Network: transport.NetworkUDP, Listen: quic.Listen, Dial: quic.Dialer},
		"tls":  {Network: transport.NetworkTCP, Listen: tls.Listen, Dial: tls.Dialer},
		"websocket": {
			Network: transport.NetworkWeb, Listen: websocket.Listen, Dial: websocket.Dialer,
			Paths: []string{websocket.Path}, NewWeb: websocket.New,
		},
	}
}
