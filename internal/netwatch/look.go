package netwatch

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// look says where this machine is, by its addresses and, where the system tells, its default gateways.
func look() (Network, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return Network{}, err
	}
	gateways, gwErr := gateways()
	var all []address
	for _, i := range interfaces {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagLoopback != 0 {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			return Network{}, errors.Join(err, gwErr)
		}
		for _, a := range addrs {
			if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Addr().IsGlobalUnicast() {
				all = append(all, address{i.Name, prefix})
			}
		}
	}
	return describe(all, gateways), gwErr
}

// address is an address of an interface.
type address struct {
	device string
	prefix netip.Prefix
}

// gateway is where packets go that have no better route.
type gateway struct {
	device string
	addr   netip.Addr
}

// describe makes a Network of what was seen. A machine that moves within a network, or gets a new address there, keeps the ID: it
// is made of the gateways and of the networks of the interfaces that lead to them. Without a gateway all interfaces count.
func describe(all []address, gateways []gateway) Network {
	var state, id []string
	for _, g := range gateways {
		state = append(state, "via "+g.addr.String()+" "+g.device)
		id = append(id, "via "+g.addr.WithZone("").String())
	}
	for _, a := range all {
		state = append(state, a.prefix.String()+" "+a.device)
		if len(gateways) == 0 || slices.ContainsFunc(gateways, func(g gateway) bool { return g.device == a.device }) {
			id = append(id, network(a.prefix).String())
		}
	}
	return Network{ID: digest(id), State: digest(state)}
}

// network is the part of a prefix that does not change with the address: at most the first half of IPv6.
func network(p netip.Prefix) netip.Prefix {
	bits := p.Bits()
	if p.Addr().Is6() {
		bits = min(bits, 64)
	}
	return netip.PrefixFrom(p.Addr(), bits).Masked()
}

// digest names a set of lines; empty for none.
func digest(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	slices.Sort(lines)
	sum := sha256.Sum256([]byte(strings.Join(slices.Compact(lines), "\n")))
	return hex.EncodeToString(sum[:8])
}
