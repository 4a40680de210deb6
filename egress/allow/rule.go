package allow

import (
	"net/netip"
	"path"
	"strings"

	"github.com/postern-dev/postern"
)

type kind uint8

const (
	everything  kind = iota // *
	exactName               // name
	zone                    // *.name
	localhost               // localhost
	addresses               // an address or a range of them
	service                 // name.service
	serviceZone             // *.name.service; *.service has no name
	unixPath                // name is a path with *
)

// rule is one pattern, read. Rules can be compared with ==.
type rule struct {
	kind   kind
	name   string       // canonical; see kind
	prefix netip.Prefix // of addresses: masked, and never within a range that unwrap takes apart
	ports  postern.PortRange
}

// everyPort is a rule without ports. There is no port 0.
func everyPort() postern.PortRange { return postern.PortRange{Low: 1, High: 65535} }

// permitsAddress decides about a host and the address it is dialled at, whose class is given. Ports are checked by the caller.
func (r rule) permitsAddress(host string, addr netip.Addr, c class) bool {
	switch r.kind {
	case everything:
		return c != guarded
	case exactName:
		return c == ordinary && host == r.name
	case zone:
		return c == ordinary && inZone(host, r.name)
	case localhost:
		return c == loopback || c == ordinary && host == r.name
	case addresses:
		return r.prefix.Contains(addr)
	default:
		return false
	}
}

// may reports whether the rule could permit an address of t, which has a name.
func (r rule) may(t postern.Target) bool { return r.ports.Contains(t.Port) && r.mayName(t.Host) }

// mayName reports whether a name could have an address that the rule permits.
func (r rule) mayName(host string) bool {
	switch r.kind {
	case everything, localhost, addresses:
		// Any name may resolve to an address that these permit.
		return true
	case exactName:
		return host == r.name
	case zone:
		return inZone(host, r.name)
	default:
		return false
	}
}

func (r rule) permitsService(name string) bool {
	switch r.kind {
	case everything:
		return r.ports == everyPort() // *:443 speaks of ports, and services have none
	case service:
		return name == r.name
	case serviceZone:
		return r.name == "" || inZone(name, r.name)
	default:
		return false
	}
}

func (r rule) permitsUnix(p string) bool {
	switch r.kind {
	case everything:
		return r.ports == everyPort()
	case unixPath:
		// In a path with "..", what a pattern shows is not what the kernel opens.
		return path.Clean(p) == p && glob(r.name, p)
	default:
		return false
	}
}

// inZone reports whether name is zone or lies below it, with a dot between.
func inZone(name, zone string) bool {
	below, ok := strings.CutSuffix(name, zone)
	return ok && (below == "" || len(below) > 1 && below[len(below)-1] == '.')
}

// glob matches folder by folder: a * stands for any characters but a slash. Nothing else is special.
func glob(pattern, p string) bool {
	patterns, parts := strings.Split(pattern, "/"), strings.Split(p, "/")
	if len(patterns) != len(parts) {
		return false
	}
	for i := range parts {
		if !globPart(patterns[i], parts[i]) {
			return false
		}
	}
	return true
}

func globPart(pattern, s string) bool {
	pieces := strings.Split(pattern, "*")
	if len(pieces) == 1 {
		return pattern == s
	}
	first, last := pieces[0], pieces[len(pieces)-1]
	if len(s) < len(first)+len(last) || !strings.HasPrefix(s, first) || !strings.HasSuffix(s, last) {
		return false
	}
	s = s[len(first) : len(s)-len(last)]
	// The earliest place of each piece leaves the most for those after it.
	for _, piece := range pieces[1 : len(pieces)-1] {
		_, after, found := strings.Cut(s, piece)
		if !found {
			return false
		}
		s = after
	}
	return true
}

// String writes the rule in the one form that Patterns uses.
func (r rule) String() string {
	switch r.kind {
	case everything:
		return "*" + r.portSuffix()
	case zone:
		return "*." + r.name + r.portSuffix()
	case addresses:
		return r.prefixString() + r.portSuffix()
	case service:
		return r.name + serviceSuffix
	case serviceZone:
		if r.name == "" {
			return "*" + serviceSuffix
		}
		return "*." + r.name + serviceSuffix
	case unixPath:
		return unixPrefix + r.name
	default:
		return r.name + r.portSuffix()
	}
}

func (r rule) portSuffix() string {
	if r.ports == everyPort() {
		return ""
	}
	return ":" + r.ports.String()
}

// prefixString writes a single address without its length, and IPv6 in brackets where a port follows.
func (r rule) prefixString() string {
	addr, length := r.prefix.Addr().String(), ""
	if !r.prefix.IsSingleIP() {
		length = strings.TrimPrefix(r.prefix.String(), addr)
	}
	if r.prefix.Addr().Is6() && r.ports != everyPort() {
		addr = "[" + addr + "]"
	}
	return addr + length
}
