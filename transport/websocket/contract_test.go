package websocket

import (
	"context"
	"testing"

	"github.com/postern-dev/postern/internal/testnet"
	"github.com/postern-dev/postern/transport"
	"github.com/postern-dev/postern/transport/transporttest"
)

// maker is the transport for URLs of one scheme.
func maker(scheme string) transport.Maker {
	return transport.Maker{Network: transport.NetworkWeb, Listen: Listen, Dial: func(o transport.DialOptions) transport.Dialer {
		return schemed{scheme, Dialer(o)}
	}}
}

type schemed struct {
	scheme string
	transport.Dialer
}

func (d schemed) Dial(ctx context.Context, addr string) (transport.Conn, error) {
	return d.Dialer.Dial(ctx, d.scheme+"://"+addr)
}

// Over http TLS runs inside. Over https, where none does, transport/all tests it with the other transports.
func TestContractWithTLSInside(t *testing.T) {
	transporttest.RunListener(t, maker("http"))
}

// Behind somebody else's TLS it runs inside that.
func TestContractWithTLSInsideTLS(t *testing.T) {
	transporttest.Run(t, func(t *testing.T) (relay, agent transport.Conn) {
		r := startRelay(t)
		other, _ := testnet.Certificate(t)
		dialer := Dialer(transport.DialOptions{TLS: r.client, MaxStreams: transport.DefaultMaxStreams})
		agent, err := dialer.Dial(t.Context(), "https://"+terminate(t, other, r.addr))
		if err != nil {
			t.Fatal(err)
		}
		return <-r.conns, agent
	})
}
