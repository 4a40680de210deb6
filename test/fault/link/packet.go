//go:build linux

package link

import "encoding/binary"

// packet is an IPv4 packet (RFC 791 §3.1). TUN devices without flags give whole packets with their checksums in place.
type packet []byte

// Protocol numbers (RFC 790).
const (
	tcp = 6
	udp = 17
)

// Where things stand in TCP's and UDP's header (RFC 9293 §3.1, RFC 768).
const (
	sourcePort  = 0
	destPort    = 2
	tcpChecksum = 16
	udpChecksum = 6
)

// transport returns the protocol and where its header begins. It is not ok for what has no ports to see: other protocols, and
// the fragments behind the first.
func (p packet) transport() (protocol byte, header int, ok bool) {
	if len(p) < 20 || p[0]>>4 != 4 {
		return 0, 0, false
	}
	protocol, header = p[9], int(p[0]&15)*4
	fragment := binary.BigEndian.Uint16(p[6:]) & 0x1fff
	need := 0
	switch protocol {
	case tcp:
		need = 20
	case udp:
		need = 8
	}
	return protocol, header, need > 0 && fragment == 0 && header >= 20 && len(p) >= header+need
}

// isUDP reports whether it is UDP, a fragment or not.
func (p packet) isUDP() bool { return len(p) >= 20 && p[0]>>4 == 4 && p[9] == udp }

func (p packet) port(header, which int) uint16 { return binary.BigEndian.Uint16(p[header+which:]) }

// setPort rewrites a port and mends the checksum by the difference (RFC 1624 §3), which is right for first fragments too.
func (p packet) setPort(header, which int, port uint16) {
	checksum, at := header+tcpChecksum, header+which
	if p[9] == udp {
		checksum = header + udpChecksum
	}
	old, sum := binary.BigEndian.Uint16(p[at:]), binary.BigEndian.Uint16(p[checksum:])
	binary.BigEndian.PutUint16(p[at:], port)
	if p[9] == udp && sum == 0 {
		return // it has none
	}
	carry := uint32(^sum) + uint32(^old) + uint32(port)
	carry = carry>>16 + carry&0xffff
	carry += carry >> 16
	mended := ^uint16(carry)
	if p[9] == udp && mended == 0 {
		mended = 0xffff // zero would say that there is none
	}
	binary.BigEndian.PutUint16(p[checksum:], mended)
}
