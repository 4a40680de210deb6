// Package testnet is a network in memory for unit tests: streams, a listener, and throw-away certificates.
//
// It uses nothing but mutexes, channels and timers, so that everything here also works in a bubble of testing/synctest.
//
//	client, server := testnet.Pipe()      // a duplex pair with half-close, abort and deadlines
//	ln := testnet.Listen()                // a net.Listener; ln.Dial(ctx) is the other side
//	serverTLS, clientTLS := testnet.TLS(t)
//	go serve(tls.NewListener(ln, serverTLS))
//	c, err := ln.Dial(t.Context())
//	conn := tls.Client(c, clientTLS)
package testnet

import (
	"net"
	"net/netip"

	"github.com/postern-dev/postern"
)

// DefaultBuffer is how many bytes a direction of a Pipe holds before its writer waits.
const DefaultBuffer = 256 << 10

// Pipe returns the two ends of a connection that buffers DefaultBuffer bytes in each direction. Both ends have to be closed.
func Pipe() (a, b postern.Stream) { return PipeSize(DefaultBuffer) }

// PipeSize is Pipe with a buffer of size bytes in each direction, at least one.
func PipeSize(size int) (a, b postern.Stream) {
	return pipe(size, loopback(1), loopback(2))
}

func pipe(size int, addrA, addrB net.Addr) (a, b *stream) {
	ab, ba := newHalf(size), newHalf(size)
	a = &stream{in: ba, out: ab, local: addrA, remote: addrB}
	b = &stream{in: ab, out: ba, local: addrB, remote: addrA}
	return a, b
}

// loopback is the address that the ends in memory pretend to have.
func loopback(port uint16) net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port))
}
