package allow

import "net/netip"

// class says which rules besides those with an address may permit an address.
type class uint8

const (
	ordinary class = iota // names, zones and *
	loopback              // localhost and *
	guarded               // none: link-local, metadata, multicast, broadcast, unspecified
)

// classify returns the class of an address that unwrap returned.
func classify(a netip.Addr) class {
	switch {
	case a.IsLoopback():
		return loopback
	case a.IsLinkLocalUnicast(), a.IsMulticast(), isUnspecified(a), isMetadata(a),
		a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return guarded
	default:
		return ordinary
	}
}

// isUnspecified counts all of 0.0.0.0/8 in, "this host on this network" (RFC 1122 §3.2.1.3), and all of ::/96, IPv6 addresses made of
// IPv4 ones that are given up since RFC 4291 §2.5.5.1: systems differ in what they do with them.
func isUnspecified(a netip.Addr) bool {
	if a.Is4() {
		return a.As4()[0] == 0
	}
	b := a.As16()
	return [12]byte(b[:12]) == [12]byte{}
}

// isMetadata knows the addresses outside of 169.254.0.0/16 and fe80::/10 at which clouds hand credentials to their machines.
func isMetadata(a netip.Addr) bool {
	switch a.String() {
	case "100.100.100.200", // Alibaba
		"168.63.129.16",                 // Azure
		"192.0.0.192",                   // Oracle
		"fd00:ec2::254", "fd00:ec2::23", // Amazon: instances, pods
		"fd20:ce::254": // Google
		return true
	}
	return false
}

// unwrap returns the address that rules are matched with: the IPv4 address within a mapped (RFC 4291 §2.5.5.2), NAT64
// (RFC 6052 §2.1, RFC 8215) or 6to4 (RFC 3056 §2) one, else the address itself. It is not ok for what nothing can permit: no address at
// all, one with a zone, and one below 64:ff9b:1::/48 whose IPv4 part is not known to be the last 32 bits.
func unwrap(a netip.Addr) (_ netip.Addr, ok bool) {
	if !a.IsValid() || a.Zone() != "" {
		return netip.Addr{}, false
	}
	if a.Is4() || a.Is4In6() {
		return a.Unmap(), true
	}
	b := a.As16()
	switch wrapping(b) {
	case nat64:
		return netip.AddrFrom4([4]byte(b[12:])), true
	case nat64Local:
		// The network chooses the length of its prefix, and with it the place of the IPv4 address (RFC 6052 §2.2). With zeros
		// before the last 32 bits every other reading is within 0.0.0.0/8; anything else could mean two addresses.
		if [6]byte(b[6:12]) != [6]byte{} {
			return netip.Addr{}, false
		}
		return netip.AddrFrom4([4]byte(b[12:])), true
	case sixToFour:
		return netip.AddrFrom4([4]byte(b[2:6])), true
	default:
		return a, true
	}
}

// wrap is a range of IPv6 addresses that stand for IPv4 ones; its value is the length of the range's prefix.
type wrap int

const (
	notWrapped wrap = 0
	sixToFour  wrap = 16 // 2002::/16
	nat64Local wrap = 48 // 64:ff9b:1::/48
	nat64      wrap = 96 // 64:ff9b::/96
)

func wrapping(b [16]byte) wrap {
	switch {
	case [12]byte(b[:12]) == [12]byte{0x00, 0x64, 0xff, 0x9b}:
		return nat64
	case [6]byte(b[:6]) == [6]byte{0x00, 0x64, 0xff, 0x9b, 0x00, 0x01}:
		return nat64Local
	case b[0] == 0x20 && b[1] == 0x02:
		return sixToFour
	default:
		return notWrapped
	}
}
