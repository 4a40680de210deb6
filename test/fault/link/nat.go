//go:build linux

package link

import (
	"math/rand/v2"
	"sync"
)

// nat is a router in front of one side. It lets flows pass as they are until rebind makes it forget them; then each flow that
// its side began gets a new source port with its next packet. Errors in ICMP that quote a rewritten packet are not rewritten.
type nat struct {
	mu         sync.Mutex
	generation int               // guarded by mu, like the rest; how often it has forgotten
	outgoing   map[flow]*binding // by inside port
	incoming   map[flow]*binding // by outside port
	random     *rand.Rand
}

// flow is a connection or what UDP has in place of one. There is one address at each end, so ports tell flows apart.
type flow struct {
	protocol   byte
	port, peer uint16
}

// binding is the port by which a flow is known outside.
type binding struct {
	inside, outside uint16
	generation      int
	theirs          bool // the other side began it: it leads to a service, whose port is fixed
}

func newNAT(seed uint64) *nat {
	return &nat{
		outgoing: make(map[flow]*binding), incoming: make(map[flow]*binding),
		random: rand.New(rand.NewPCG(seed, 1)),
	}
}

func (n *nat) rebind() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.generation++
}

// leave rewrites a packet of its side, and reports whether it did.
func (n *nat) leave(p packet) (rewritten bool) {
	protocol, header, ok := p.transport()
	if !ok {
		return false
	}
	f := flow{protocol, p.port(header, sourcePort), p.port(header, destPort)}
	n.mu.Lock()
	b := n.bind(f)
	n.mu.Unlock()
	if b.outside == b.inside {
		return false
	}
	p.setPort(header, sourcePort, b.outside)
	return true
}

// bind returns the binding of a flow of its side as it is from now on.
func (n *nat) bind(f flow) binding {
	b, known := n.outgoing[f]
	if !known {
		b = &binding{inside: f.port, outside: f.port, generation: n.generation}
		n.outgoing[f], n.incoming[f] = b, b
	}
	if !b.theirs && b.generation != n.generation {
		// The old entry stays: what comes in by it is dropped, not taken for a new flow.
		old := *b
		n.incoming[flow{f.protocol, b.outside, f.peer}] = &old
		b.outside, b.generation = n.unused(f), n.generation
		n.incoming[flow{f.protocol, b.outside, f.peer}] = b
	}
	return *b
}

// unused is a random port that no flow to that peer has outside.
func (n *nat) unused(f flow) uint16 {
	for {
		port := uint16(10000 + n.random.IntN(50000))
		if _, taken := n.incoming[flow{f.protocol, port, f.peer}]; !taken {
			return port
		}
	}
}

// enter rewrites a packet that the other side sent; ok is false if no flow has that port any more.
func (n *nat) enter(p packet) (rewritten, ok bool) {
	protocol, header, hasPorts := p.transport()
	if !hasPorts {
		return false, true
	}
	f := flow{protocol, p.port(header, destPort), p.port(header, sourcePort)}
	n.mu.Lock()
	defer n.mu.Unlock()
	b, known := n.incoming[f]
	if !known {
		b = &binding{inside: f.port, outside: f.port, theirs: true}
		n.outgoing[f], n.incoming[f] = b, b
	}
	if !b.theirs && b.generation != n.generation {
		return false, false
	}
	if b.inside == b.outside {
		return false, true
	}
	p.setPort(header, destPort, b.inside)
	return true, true
}
