// Package gate bounds how many connections strangers may hold: in all, and per source (an IPv4 address or an IPv6 /64).
package gate

import (
	"net"
	"net/netip"
	"sync"
)

// Gate counts connections of those who have not authenticated yet. The zero value has the default limits. All methods may be
// called concurrently.
type Gate struct {
	// PerSource is how many connections one source may hold before it authenticates; 0 means 256.
	PerSource int
	// Total is how many connections all strangers together may hold; 0 means 8192.
	Total int

	mu      sync.Mutex
	total   int // guarded by mu, like sources
	sources map[netip.Prefix]int
}

// The default limits: a browser or an ssh client opens tens, a NAT hides some hundreds of people.
const (
	defaultPerSource = 256
	defaultTotal     = 8192
)

// Enter counts one connection from addr in, or reports that the limit is reached. The caller calls leave when
// the connection has authenticated or ended, whichever is first; further calls do nothing.
func (g *Gate) Enter(addr net.Addr) (leave func(), ok bool) {
	source := Source(addr)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.total >= orDefault(g.Total, defaultTotal) || g.sources[source] >= orDefault(g.PerSource, defaultPerSource) {
		return func() {}, false
	}
	if g.sources == nil {
		g.sources = make(map[netip.Prefix]int)
	}
	g.total++
	g.sources[source]++
	return sync.OnceFunc(func() { g.leave(source) }), true
}

func (g *Gate) leave(source netip.Prefix) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.total--
	if g.sources[source]--; g.sources[source] == 0 {
		delete(g.sources, source)
	}
}

// Source is the part of an address that one party can be assumed to hold: an IPv4 address or an IPv6 /64. Addresses
// that are not IP (unix sockets) are all one source.
func Source(addr net.Addr) netip.Prefix {
	ap, ok := addr.(interface{ AddrPort() netip.AddrPort })
	if !ok {
		return netip.Prefix{}
	}
	ip := ap.AddrPort().Addr().Unmap().WithZone("")
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	prefix, err := ip.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return prefix
}

func orDefault(n, d int) int {
	if n == 0 {
		return d
	}
	return n
}
