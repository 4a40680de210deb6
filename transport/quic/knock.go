package quic

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// errClosedPort is why a dial ends whose address has nobody listening.
var errClosedPort = errors.New("quic: the port is closed")

// knock ends the returned context when the machine at to says that nobody listens there (ICMP port unreachable). QUIC's own socket is
// not connected, so that the connection survives a change of network, and the system tells such a socket nothing: without this a
// closed port would look like a firewall that drops UDP, and cost the whole time for the handshake. The knock is one
// datagram that is no packet of QUIC (RFC 9000 §17.2, Fixed Bit), which whoever listens passes over. stop ends it and waits.
func knock(ctx context.Context, network string, to netip.AddrPort) (dialling context.Context, stop func()) {
	dialling, cancel := context.WithCancelCause(ctx)
	udp, err := net.DialUDP(network, nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		// The dial itself says why.
		return dialling, func() { cancel(nil) }
	}
	var listening sync.WaitGroup
	listening.Go(func() {
		if refused(udp) {
			cancel(errClosedPort)
		}
	})
	return dialling, func() {
		// Neither can fail in a way that matters: the Read returns.
		_ = udp.SetReadDeadline(time.Unix(1, 0))
		listening.Wait()
		_ = udp.Close()
		cancel(nil)
	}
}

// refused sends the knock and waits for a refusal or the read deadline.
func refused(udp *net.UDPConn) bool {
	if _, err := udp.Write([]byte{0}); err != nil {
		return errors.Is(err, syscall.ECONNREFUSED)
	}
	for {
		var b [1]byte
		_, err := udp.Read(b[:])
		if err != nil {
			return errors.Is(err, syscall.ECONNREFUSED)
		}
	}
}
