package mux

import (
	"net"
	"testing"

	"github.com/postern-dev/postern/transport"
	"github.com/postern-dev/postern/transport/transporttest"
)

func TestContractOverTCP(t *testing.T) {
	transporttest.Run(t, func(t *testing.T) (relay, agent transport.Conn) {
		return over(tcpPair(t))
	})
}

// A net.Pipe has no buffer: every write waits until the far end reads, which finds whoever waits for the wrong thing.
func TestContractOverPipe(t *testing.T) {
	transporttest.Run(t, func(t *testing.T) (relay, agent transport.Conn) {
		return over(net.Pipe())
	})
}
