//go:build linux

package link

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// packetOf makes a packet with the right checksum.
func packetOf(protocol byte, source, dest uint16, payload []byte) packet {
	headers := map[byte]int{tcp: 20, udp: 8}[protocol]
	p := make(packet, 20+headers+len(payload))
	p[0], p[8], p[9] = 0x45, 64, protocol
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	copy(p[12:], []byte{198, 18, 0, 1, 198, 18, 0, 2})
	binary.BigEndian.PutUint16(p[20:], source)
	binary.BigEndian.PutUint16(p[22:], dest)
	copy(p[20+headers:], payload)
	if protocol == tcp {
		p[32] = 5 << 4
		binary.BigEndian.PutUint16(p[36:], ^sum(p))
	} else {
		binary.BigEndian.PutUint16(p[24:], uint16(headers+len(payload)))
		binary.BigEndian.PutUint16(p[26:], ^sum(p))
	}
	return p
}

// sum adds up the transport's part with its pseudo header (RFC 9293 §3.1): 0xffff when the checksum in it is right.
func sum(p packet) uint16 {
	total := uint32(p[9]) + uint32(len(p)-20)
	for i := 12; i < len(p); i += 2 {
		if i+1 == len(p) {
			total += uint32(p[i]) << 8
		} else {
			total += uint32(binary.BigEndian.Uint16(p[i:]))
		}
	}
	for total > 0xffff {
		total = total>>16 + total&0xffff
	}
	return uint16(total)
}

func TestPortsAreRewrittenWithTheirChecksums(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		protocol := []byte{tcp, udp}[random.IntN(2)]
		payload := make([]byte, random.IntN(60))
		for i := range payload {
			payload[i] = byte(random.Uint32())
		}
		p := packetOf(protocol, uint16(random.Uint32()), uint16(random.Uint32()), payload)
		if sum(p) != 0xffff {
			t.Fatalf("the test's own packet has a bad checksum: % x", p)
		}
		port := uint16(random.Uint32())
		_, header, ok := p.transport()
		if !ok {
			t.Fatalf("no ports are seen in % x", p)
		}
		p.setPort(header, sourcePort, port)
		p.setPort(header, destPort, port+1)
		if sum(p) != 0xffff || p.port(header, sourcePort) != port || p.port(header, destPort) != port+1 {
			t.Fatalf("port %d in % x: the sum is %x", port, p, sum(p))
		}
	}
}

func TestAUDPPacketWithoutChecksumStaysWithout(t *testing.T) {
	p := packetOf(udp, 1, 2, []byte("x"))
	p[26], p[27] = 0, 0
	p.setPort(20, sourcePort, 9)
	if p[26] != 0 || p[27] != 0 {
		t.Errorf("it has the checksum %x", p[26:28])
	}
}

func TestPacketsWithoutPortsPass(t *testing.T) {
	n := newNAT(1)
	n.rebind()
	fragment := packetOf(udp, 1, 2, make([]byte, 30))
	fragment[7] = 5 // an offset
	ping := packetOf(tcp, 1, 2, nil)
	ping[9] = 1
	for name, p := range map[string]packet{
		"nothing": {}, "short": packetOf(udp, 1, 2, nil)[:27], "IPv6": append(packet{0x60}, make([]byte, 60)...),
		"a fragment": fragment, "ICMP": ping, "a header that is too short": append(packet{0x41}, make([]byte, 60)...),
	} {
		if n.leave(p) {
			t.Errorf("%s was rewritten", name)
		}
		if rewritten, ok := n.enter(p); rewritten || !ok {
			t.Errorf("%s coming in: rewritten %v, passes %v", name, rewritten, ok)
		}
	}
}

// TestRebinding follows a flow that a side began, and one that the other began, through two rebindings.
func TestRebinding(t *testing.T) {
	n := newNAT(1)
	out := func() packet { return packetOf(udp, 5000, 443, nil) }
	service := func() packet { return packetOf(tcp, 22, 6000, nil) }
	if n.leave(out()) {
		t.Fatal("a flow is rewritten before any rebinding")
	}
	if rewritten, ok := n.enter(packetOf(tcp, 6000, 22, nil)); rewritten || !ok {
		t.Fatal("a flow that comes in does not pass")
	}
	ports := map[uint16]bool{5000: true}
	old := uint16(5000)
	for range 2 {
		n.rebind()
		if _, ok := n.enter(packetOf(udp, 443, old, nil)); ok {
			t.Error("what is sent to the old port passes")
		}
		p := out()
		if !n.leave(p) || ports[p.port(20, sourcePort)] {
			t.Fatalf("the flow comes from port %d", p.port(20, sourcePort))
		}
		now := p.port(20, sourcePort)
		ports[now] = true
		answer := packetOf(udp, 443, now, nil)
		if rewritten, ok := n.enter(answer); !rewritten || !ok || answer.port(20, destPort) != 5000 {
			t.Errorf("the answer goes to port %d, passes %v", answer.port(20, destPort), ok)
		}
		if again := out(); !n.leave(again) || again.port(20, sourcePort) != now {
			t.Errorf("the next packet comes from port %d, not %d", again.port(20, sourcePort), now)
		}
		if _, ok := n.enter(packetOf(udp, 443, old, nil)); ok {
			t.Error("what is sent to the old port passes")
		}
		if n.leave(service()) {
			t.Error("a service has another port")
		}
		old = now
	}
}
