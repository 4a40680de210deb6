// Package gate bounds how many connections strangers may hold: in all, and per source (an IPv4 address or an IPv6 /64).
//
//	leave, ok := g.Admit(c.RemoteAddr(), func() { c.Close() })
//	if !ok {
//		return c.Close()
//	}
//	defer leave() // or as soon as the far end has authenticated
package gate

import (
	"container/list"
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

	mu      sync.Mutex // guards what follows
	total   int
	sources map[netip.Prefix]*source
	queue   list.List // of *stranger: those that can be sent away, by age
}

// source is what one source holds.
type source struct {
	total int
	queue list.List // of *stranger: those that can be sent away, by age
}

// stranger is one connection inside.
type stranger struct {
	from            netip.Prefix
	sendAway        func()
	among, inSource *list.Element // nil if it cannot be sent away
	gone            bool
}

// The default limits: a browser or an ssh client opens tens, a NAT hides some hundreds of people.
const (
	defaultPerSource = 256
	defaultTotal     = 8192
)

// Enter is Admit for a connection that cannot be sent away.
func (g *Gate) Enter(addr net.Addr) (leave func(), ok bool) { return g.Admit(addr, nil) }

// Admit counts one connection from addr in. When the limit is reached the oldest one makes room, of the same source or of all: who
// means it has authenticated within moments, so that those who hold connections open without ever doing so lock nobody out.
// sendAway is called for that, at most once and not after leave; it must not block. Where it is nil a connection stays,
// and where nobody can be sent away Admit reports that the limit is reached. The caller calls leave when the
// connection has authenticated or ended, whichever is first; further calls do nothing.
func (g *Gate) Admit(addr net.Addr, sendAway func()) (leave func(), ok bool) {
	n := &stranger{from: Source(addr), sendAway: sendAway}
	oldest, ok := g.admit(n)
	if oldest != nil {
		oldest.sendAway()
	}
	if !ok {
		return func() {}, false
	}
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.leave(n)
	}, true
}

// admit counts n in, and returns who has to go for it.
func (g *Gate) admit(n *stranger) (oldest *stranger, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	from := g.sources[n.from]
	if from == nil {
		from = new(source)
	}
	var full *list.List
	switch {
	case from.total >= orDefault(g.PerSource, defaultPerSource):
		full = &from.queue
	case g.total >= orDefault(g.Total, defaultTotal):
		full = &g.queue
	}
	if full != nil {
		first := full.Front()
		if first == nil {
			return nil, false
		}
		oldest = first.Value.(*stranger)
		g.leave(oldest)
	}
	if g.sources == nil {
		g.sources = make(map[netip.Prefix]*source)
	}
	g.sources[n.from] = from // leave may just have forgotten it
	from.total++
	g.total++
	if n.sendAway != nil {
		n.among, n.inSource = g.queue.PushBack(n), from.queue.PushBack(n)
	}
	return oldest, true
}

// leave counts n out, once. mu is held.
func (g *Gate) leave(n *stranger) {
	if n.gone {
		return
	}
	n.gone = true
	from := g.sources[n.from]
	g.total--
	from.total--
	if n.among != nil {
		g.queue.Remove(n.among)
		from.queue.Remove(n.inSource)
	}
	if from.total == 0 {
		delete(g.sources, n.from)
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
