package mux

import (
	"net"
	"testing"

	"go.uber.org/goleak"

	"github.com/postern-dev/postern/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tcpPair returns the two ends of a TCP connection on loopback.
func tcpPair(t testing.TB) (server, client net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if client, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	return server, client
}

// over puts a Conn on each end of a road, with the limits of a relay and an agent.
func over(server, client net.Conn) (relay, agent *Conn) {
	info := transport.Info{Transport: "mux", ALPN: transport.ALPNAgent}
	return New(server, Options{Server: true, Info: info}),
		New(client, Options{MaxStreams: transport.DefaultMaxStreams, Info: info})
}
